"""A walk: actions of every kind, drawn from what a machine holds at the moment.

Sizes are picked, not drawn freely: slots that straddle blocks and fill arrays must come up often.
Illegal actions are drawn as well, seldom enough that they do not take the walk over.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from hacdbs_sim.model import (
    Action,
    Bitmap,
    ClearDirtyLog,
    DeleteFault,
    DeleteFaults,
    DeleteMemslot,
    FaultType,
    GetDirtyLog,
    Gfns,
    GuestRead,
    GuestWrite,
    GuestWriteMemory,
    HintFree,
    HostDiscard,
    HostUnmap,
    HostWrite,
    LogOp,
    MemslotInfo,
    PageRanges,
    PageSet,
    SetCpu,
    SetMemslot,
    UpdateVm,
    VmConfig,
)
from tests.property.dice import Dice
from tests.property.impossible import IMPOSSIBLE
from tests.property.setups import BLOCK_GFNS, SIZES, leaf_sizes
from tests.property.walking_guest import (
    add_workload,
    advance_clock,
    remove_workload,
    remove_workloads,
    run_guest,
    track_versions,
)
from tests.support.faults import fault
from tests.support.scalar_model import ScalarMachine
from tests.support.strategies import BASE_GFNS, page_ranges

SLOTS: Final = 3

FAULTS: Final = (
    *(kind for kind in FaultType for _ in range(2)),
    *(FaultType.STRUCTF, FaultType.IPAF, FaultType.IPAHACF, FaultType.SPLIT_ENOMEM) * 2,
)
"""Faults as often as they are to be armed: those that need a place seldom meet an entry there."""

WHOLE_CALL: Final = (FaultType.UNIT_BUSY, FaultType.ENTRIES_ENOMEM, FaultType.COPY_TO_USER)

Draw: TypeAlias = Callable[["Walk"], Action[Any] | tuple[Action[Any], ...]]
"""Draws an action, or some that belong together."""


@dataclass(slots=True)
class Walk:
    """Draws the next action for the machine that a model stands for.

    Attributes:
        dice: Where choices come from.
        model: What the machine holds now.
        scale: Which sizes new slots have (`SIZES`).
    """

    dice: Dice
    model: ScalarMachine
    scale: str

    @property
    def config(self) -> VmConfig:
        return self.model.config

    def slots(self) -> tuple[MemslotInfo, ...]:
        return self.model.memslots()

    def logged(self) -> tuple[MemslotInfo, ...]:
        return tuple(slot for slot in self.slots() if slot.dirty_count is not None)

    def kind(self) -> str:
        """Draw the kind of the next action; where blocks fit, they are what it is about."""
        some = KINDS if self.scale == "words" else (*KINDS, *("clean_blocks",) * 15)
        return self.dice.pick(some)

    def next(self, kind: str) -> tuple[Action[Any], ...]:
        """Draw what comes next of a kind of `KINDS`; where it needs a slot or a log, make that."""
        draw, needs = DRAWS[kind]
        if needs and not self.slots():
            return (self.create(),)
        if needs == "log" and not self.logged():
            slot = self.dice.pick(self.slots())
            return (_region(slot, slot.guest_phys_addr, int(slot.flags) | 1),)
        drawn = draw(self)
        return drawn if isinstance(drawn, tuple) else (drawn,)

    # Memslots

    def create(self) -> Action[Any]:
        page_size = self.config.page_size
        used = {slot.slot for slot in self.slots()}
        free = [slot for slot in range(SLOTS) if slot not in used] or [0]
        npages = self.dice.pick(SIZES[page_size][self.scale])
        bases = BASE_GFNS if self.scale == "words" else (*BLOCK_GFNS * 3, *BASE_GFNS)
        clear = [
            base
            for base in bases
            if all(
                base + npages <= slot.base_gfn or slot.base_gfn + slot.npages <= base
                for slot in self.slots()
            )
        ]
        gpa = self.dice.pick((clear or BASE_GFNS) if self.dice.between(0, 9) else BASE_GFNS)
        gpa *= page_size
        apart = self.dice.pick((0, 0, 0, 0x2000 * page_size, page_size))
        size = npages * page_size
        flags = self.dice.pick((1, 1, 1, 1, 0, 0, 2, 3))
        sizes = leaf_sizes(page_size)
        backing = self.dice.pick(sizes if self.scale == "words" else (*sizes[1:] * 3, *sizes))
        return SetMemslot(
            slot=free[0],
            guest_phys_addr=gpa,
            memory_size=size,
            userspace_addr=gpa + apart,
            flags=flags,
            backing=backing,
        )

    def change_flags(self) -> Action[Any]:
        """Toggle the log mostly; READONLY never may change."""
        slot = self.dice.pick(self.slots())
        flags = int(slot.flags) ^ self.dice.pick((1, 1, 1, 1, 1, 0, 2, 3))
        return _region(slot, slot.guest_phys_addr, flags)

    def move(self) -> Action[Any]:
        slot = self.dice.pick(self.slots())
        page_size, end = self.config.page_size, 1 << self.config.ipa_bits
        gfn = self.dice.pick((*BASE_GFNS, *BASE_GFNS, end // page_size - 1))
        return _region(slot, gfn * page_size, int(slot.flags) ^ self.dice.pick((0, 0, 0, 1)))

    def change_shape(self) -> Action[Any]:
        slot = self.dice.pick(self.slots())
        page = self.config.page_size
        size = slot.memory_size + self.dice.pick((page, 0))
        return SetMemslot(
            slot=slot.slot,
            guest_phys_addr=slot.guest_phys_addr,
            memory_size=size,
            userspace_addr=slot.userspace_addr + self.dice.pick((0, page)),
            flags=int(slot.flags),
            backing=slot.backing,
        )

    def delete(self) -> Action[Any]:
        return DeleteMemslot(slot=self.dice.between(0, SLOTS - 1))

    # Accesses

    def _batch(self) -> PageSet:
        """A batch of frames: within a slot mostly, now and then around or outside every one."""
        slots = self.slots()
        if slots and self.dice.between(0, 9):
            slot = self.dice.pick(slots)
            first, npages = slot.base_gfn, slot.npages
        else:
            first, npages = self.dice.pick(((0x0FF00, 0x800), (0x30000, 64)))
        match self.dice.pick(("few", "span", "all", "stride", "spans")):
            case "few":
                some = [self.dice.between(first, first + npages - 1) for _ in range(6)]
                return Gfns(np.array(some[: self.dice.between(0, 6)], np.uint64))
            case "span":
                return page_ranges(self._span(first, npages))
            case "stride":
                step = self.dice.pick((64, 7, 3, 129))
                return Gfns(np.arange(first, first + npages, step).astype(np.uint64))
            case "spans":
                return page_ranges(*(self._span(first, npages) for _ in range(3)))
            case _:
                return page_ranges((first, npages))

    def _span(self, first: int, npages: int) -> tuple[int, int]:
        skip = self.dice.between(0, npages - 1)
        return first + skip, self.dice.between(1, npages - skip)

    def _vcpu(self) -> int:
        return self.dice.pick((0,) * 19 + (self.config.vcpus,))

    def guest_write(self) -> Action[Any]:
        return GuestWrite(pages=self._batch(), vcpu=self._vcpu())

    def guest_write_memory(self) -> Action[Any]:
        """Write ranges of bytes that begin and end anywhere in a page."""
        size = self.config.page_size
        slots = self.slots()
        base = self.dice.pick(slots).guest_phys_addr if slots else 0x0FF0_0000
        ranges = tuple(
            (base + self.dice.between(0, 64 * size), self.dice.between(1, 3 * size))
            for _ in range(self.dice.between(1, 4))
        )
        return GuestWriteMemory(gpa_ranges=ranges, vcpu=self._vcpu())

    def guest_read(self) -> Action[Any]:
        return GuestRead(pages=self._batch(), vcpu=self._vcpu())

    def host_write(self) -> Action[Any]:
        return HostWrite(pages=self._batch())

    def host_unmap(self) -> Action[Any]:
        return HostUnmap(pages=self._batch())

    def host_discard(self) -> Action[Any]:
        return HostDiscard(pages=self._batch())

    def hint_free(self) -> Action[Any]:
        return HintFree(pages=self._batch())

    def fill(self) -> Action[Any]:
        """Write a whole logging slot, so that the unit can clean whole arrays."""
        slot = self.dice.pick(self.logged())
        start = self.dice.between(0, min(70, slot.npages - 1))
        return GuestWrite(pages=page_ranges((slot.base_gfn + start, slot.npages - start)))

    def fill_and_clean(self) -> tuple[Action[Any], ...]:
        """Write a whole logging slot and clean it, in one way or the other."""
        slot = self.dice.pick(self.logged())
        start = self.dice.between(0, min(70, slot.npages - 1))
        count = slot.npages - start
        write = GuestWrite(pages=page_ranges((slot.base_gfn + start, count)))
        if self.dice.pick((True, False)):
            return write, GetDirtyLog(slot=slot.slot, trace=self._trace())
        return write, ClearDirtyLog(
            slot=slot.slot, pages=page_ranges((start, count)), trace=self._trace()
        )

    def clean_blocks(self) -> tuple[Action[Any], ...]:
        """Map a slot freely, so by blocks where it may; then log it with all bits set, and clear."""
        slot = self.dice.pick(self.slots())
        gpa = slot.guest_phys_addr
        faults: tuple[Action[Any], ...] = ()
        if len(self.model.faults()) < 4 and self.dice.pick((True, False)):
            # Whatever keeps the hook from its end leaves blocks for the software to split.
            kinds = (FaultType.UNIT_BUSY, FaultType.SPLIT_ENOMEM, FaultType.IPAHACF)
            faults = (fault(self.dice.pick(kinds), times=1),)
        return (
            *faults,
            UpdateVm(manual_dirty_log_protect2=3),
            _region(slot, gpa, int(slot.flags) & ~1),
            GuestWrite(pages=page_ranges((slot.base_gfn, slot.npages))),
            _region(slot, gpa, int(slot.flags) | 1),
            ClearDirtyLog(
                slot=slot.slot, pages=page_ranges(self._span(0, slot.npages)), trace=self._trace()
            ),
        )

    def access_beyond(self) -> Action[Any]:
        end = (1 << self.config.ipa_bits) // self.config.page_size
        pages = page_ranges((end - 1, self.dice.between(1, 2)))
        accesses: tuple[Action[Any], ...] = (
            GuestWrite(pages=pages),
            GuestRead(pages=pages),
            HostWrite(pages=pages),
            HostUnmap(pages=pages),
            HostDiscard(pages=pages),
            HintFree(pages=pages),
        )
        return self.dice.pick(accesses)

    # The dirty log

    def _cpu(self) -> int | None:
        if self.dice.between(0, 2):
            return None
        return self.dice.between(0, self.config.cpus - 1 + (self.dice.between(0, 9) == 9))

    def _trace(self) -> bool:
        return self.dice.pick((False, False, False, True))

    def get(self) -> Action[Any]:
        slot = self.dice.pick(self.logged() if self.dice.between(0, 15) else self.slots())
        return GetDirtyLog(slot=slot.slot, cpu=self._cpu(), trace=self._trace())

    def clear_all(self) -> Action[Any]:
        slot = self.dice.pick(self.logged() if self.dice.between(0, 15) else self.slots())
        pages = page_ranges((0, slot.npages))
        return ClearDirtyLog(slot=slot.slot, pages=pages, cpu=self._cpu(), trace=self._trace())

    def clear_some(self) -> Action[Any]:
        slot = self.dice.pick(self.logged())
        first = 64 * self.dice.between(0, slot.npages // 64)
        left = slot.npages - first
        num = left if self.dice.pick((True, False)) else 64 * self.dice.between(0, left // 64)
        pages: Bitmap | PageRanges
        if self.dice.pick((True, False)):
            pages = Bitmap(self._user_words(-(-num // 64)))
        else:
            pages = page_ranges(self._span(first, max(num, 1)))
        return ClearDirtyLog(
            slot=slot.slot,
            pages=pages,
            first_page=first,
            num_pages=num,
            cpu=self._cpu(),
            trace=self._trace(),
        )

    def _user_words(self, words: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
        patterns = ((1 << 64) - 1, 0x5555_5555_5555_5555, 0xFFFF_FFFF_0000_0000, 1 << 63 | 1, 0)
        some = [self.dice.pick(patterns) for _ in range(self.dice.between(1, 4))]
        if self.dice.pick((True, False)):
            some[0] = self.dice.between(0, (1 << 64) - 1)
        return np.array((some * words)[:words], np.uint64)

    def odd_clear(self) -> Action[Any]:
        slot = self.dice.pick([each.slot for each in self.logged()] or [0])
        words = self._user_words(self.dice.between(0, 2))
        first = self.dice.pick((0, 1, 64, 3008, 1 << 20))
        return ClearDirtyLog(
            slot=slot,
            pages=Bitmap(words),
            first_page=first,
            num_pages=self.dice.pick((None, 0, 1, 63, 64, 1 << 20)),
        )

    # The host, the capabilities, the faults

    def plug(self) -> Action[Any]:
        cpu = self.dice.between(0, self.config.cpus - 1 + (self.dice.between(0, 9) == 9))
        return SetCpu(cpu=cpu, online=self.dice.pick((True, False)))

    def set_manual_protect(self) -> Action[Any]:
        return UpdateVm(manual_dirty_log_protect2=self.dice.pick((0, 0, 1, 3)))

    def set_chunk(self) -> Action[Any]:
        return UpdateVm(
            eager_split_chunk_size=self.dice.pick((0, *leaf_sizes(self.config.page_size)))
        )

    def disarm(self) -> Action[Any]:
        armed = [fault.fault_id for fault in self.model.faults()]
        return DeleteFault(fault_id=self.dice.pick(armed or ["f1"]))

    def disarm_all(self) -> Action[Any]:
        return DeleteFaults()

    def arm(self) -> Action[Any]:
        """Arm a fault; where four are armed, take one off, lest no unit ever runs to its end."""
        if len(self.model.faults()) >= 4:
            return self.disarm()
        return fault(
            kind := self.dice.pick(FAULTS),
            enabled=self.dice.pick((True,) * 15 + (False,)),
            probability=self.dice.pick((1.0,) * 6 + (0.5, 0.1, 0.0)),
            after=self.dice.pick((0, 0, 0, 0, 0, 0, 1, 2)),
            every=self.dice.pick((1, 1, 1, 2, 3)),
            # What declines every call would leave nothing for the others.
            times=self.dice.pick((1, 1, 2) if kind in WHOLE_CALL else (None, None, 1, 2)),
            when=self._when(kind),
        )

    def _when(self, kind: FaultType) -> dict[str, LogOp | int | None]:
        dice = self.dice
        calls: dict[str, LogOp | int | None] = {
            "op": dice.pick((None, None, None, LogOp.GET, LogOp.CLEAR)),
            "slot": dice.pick((None, None, None, 0, 1)),
            "cpu": dice.pick((None, None, None, None, dice.between(0, self.config.cpus - 1))),
        }
        n = self.config.page_size // 8
        match kind:
            case FaultType.STRUCTF | FaultType.IPAF | FaultType.IPAHACF if dice.between(0, 2):
                # Arrays are seldom full: most places lie near the front of the first one.
                calls["batch"] = dice.pick((None, None, None, 0, 0, 1, 2))
                calls["index"] = dice.pick((None, 0, 1, 5, 31, 63, 100, n // 2 + 1, n - 1))
            case FaultType.STRUCTF | FaultType.IPAF | FaultType.IPAHACF | FaultType.SPLIT_ENOMEM:
                calls["gfn"] = self._gfn() if dice.between(0, 2) else None
            case FaultType.LOST_INTERRUPT:
                calls["batch"] = dice.pick((None, 0, 1, 2))
            case FaultType.COPY_TO_USER:
                calls["op"] = dice.pick((None, LogOp.GET))
            case _:
                pass
        return calls

    def _gfn(self) -> int:
        slots = self.slots()
        if not slots:
            return self.dice.pick(BASE_GFNS)
        slot = self.dice.pick(slots)
        return slot.base_gfn + self.dice.between(0, slot.npages - 1)

    def impossible(self) -> Action[Any]:
        return self.dice.pick(IMPOSSIBLE)


def _region(slot: MemslotInfo, gpa: int, flags: int) -> SetMemslot:
    return SetMemslot(
        slot=slot.slot,
        guest_phys_addr=gpa,
        memory_size=slot.memory_size,
        userspace_addr=slot.userspace_addr,
        flags=flags,
        backing=slot.backing,
    )


_DRAWS: Final[tuple[tuple[int, Draw, str], ...]] = (
    (4, Walk.create, ""),
    (6, Walk.change_flags, "slot"),
    (2, Walk.move, "slot"),
    (1, Walk.change_shape, "slot"),
    (1, Walk.delete, ""),
    (12, Walk.guest_write, ""),
    (2, Walk.guest_write_memory, ""),
    (6, Walk.guest_read, ""),
    (4, Walk.host_write, ""),
    (4, Walk.host_unmap, ""),
    (1, Walk.host_discard, ""),
    (2, Walk.hint_free, ""),
    (3, Walk.fill, "log"),
    (10, Walk.fill_and_clean, "log"),
    (2, Walk.clean_blocks, "slot"),
    (1, Walk.access_beyond, ""),
    (10, Walk.get, "log"),
    (7, Walk.clear_all, "log"),
    (9, Walk.clear_some, "log"),
    (2, Walk.odd_clear, ""),
    (4, Walk.plug, ""),
    (4, Walk.set_manual_protect, ""),
    (1, Walk.set_chunk, ""),
    (8, Walk.arm, ""),
    (3, Walk.disarm, ""),
    (1, Walk.disarm_all, ""),
    (2, Walk.impossible, ""),
    (4, add_workload, "slot"),
    (1, remove_workload, ""),
    (1, remove_workloads, ""),
    (7, run_guest, "slot"),
    (2, advance_clock, ""),
    (2, track_versions, ""),
)
"""How often each kind is drawn, and whether it needs a slot, or one with a log."""

DRAWS: Final = {draw.__name__: (draw, needs) for _, draw, needs in _DRAWS}

KINDS: Final = tuple(draw.__name__ for weight, draw, _ in _DRAWS for _ in range(weight))
"""Names of the kinds, each as often as it is to be drawn."""
