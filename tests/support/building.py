"""Short words for making machines and actions in tests."""

from typing import Any, Final

import numpy as np

from hacdbs_sim.model import (
    Bitmap,
    ClearDirtyLog,
    Compared,
    DirtyLog,
    FaultType,
    GetDirtyLog,
    Gfns,
    GuestRead,
    GuestWrite,
    MemslotFlags,
    MigrationSpec,
    PageRanges,
    SetMemslot,
    VmConfig,
    VmSpec,
)
from tests.support.faults import fault
from tests.support.machine import Machine

MIB = 1 << 20
GIB = 1 << 30
LOG = int(MemslotFlags.LOG_DIRTY_PAGES)
READONLY = int(MemslotFlags.READONLY)


def gfns(*numbers: int) -> Gfns:
    return Gfns(np.array(numbers, np.uint64))


def ranges(*pairs: tuple[int, int]) -> PageRanges:
    return PageRanges(
        np.array([first for first, _ in pairs], np.uint64),
        np.array([count for _, count in pairs], np.uint64),
    )


def bitmap(npages: int, pages: set[int]) -> Bitmap:
    words = [0] * -(-npages // 64)
    for page in pages:
        words[page // 64] |= 1 << page % 64
    return Bitmap(np.array(words, np.uint64))


def pages_of(words: Any) -> set[int]:
    """The pages whose bits are set, without the code under test."""
    return {
        number * 64 + bit
        for number, word in enumerate(int(word) for word in words)
        for bit in range(64)
        if word >> bit & 1
    }


def machine(npages: int = 0, *, base_gfn: int = 0, flags: int = LOG, **config: Any) -> Machine:
    """A machine, with slot 0 of `npages` pages from `base_gfn` if any are requested."""
    backing = config.pop("backing", None)
    made = Machine(VmConfig(**config))
    if npages:
        size = made.config.page_size
        made.perform(
            SetMemslot(
                slot=0,
                guest_phys_addr=base_gfn * size,
                memory_size=npages * size,
                flags=flags,
                backing=backing,
            )
        )
    return made


def set_log(made: Machine, *, on: bool, slot: int = 0) -> None:
    """Turn logging of a slot on or off, all else as it is."""
    made.perform(made.memslot(slot).with_flags(LOG if on else 0))


def write(made: Machine, *pairs: tuple[int, int]) -> None:
    made.perform(GuestWrite(pages=ranges(*pairs)))


def read(made: Machine, *pairs: tuple[int, int]) -> None:
    made.perform(GuestRead(pages=ranges(*pairs)))


def arm(made: Machine, kind: FaultType, **rules: Any) -> str:
    """Arm a fault; fields of its class and of its `when`, by name. Return its id."""
    when: dict[str, Any] = {
        key: rules.pop(key)
        for key in ("op", "slot", "cpu", "batch", "index", "gfn")
        if key in rules
    }
    return made.perform(fault(kind, when=when, **rules)).fault_id


def get(made: Machine, slot: int = 0, **rest: Any) -> DirtyLog:
    return made.perform(GetDirtyLog(slot=slot, **rest))


def clear(made: Machine, *pairs: tuple[int, int], slot: int = 0, **rest: Any) -> DirtyLog:
    return made.perform(ClearDirtyLog(slot=slot, pages=ranges(*pairs), **rest))


def states(made: Machine, gfn: int, count: int) -> list[tuple[int, int, int | None, str]]:
    """Stage 2 as (gfn, count, level, state)."""
    page = made.stage2(gfn, count, 10_000)
    assert page.next_gfn is None
    return [(run.gfn, run.count, run.level, run.state.value) for run in page.runs]


NOTHING_COMPARED: Final = Compared(
    vm=VmSpec(), migration=MigrationSpec(), variants=(), omitted_parts=0
)
"""What a comparison shows whose tasks a test makes itself."""
