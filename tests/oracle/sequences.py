"""Sequences of operations on one VM: drawn at random, one action at a time, from what is there.

A draw knows the slots that were really made, so most of what it asks is legal and interesting, and
about a quarter is illegal on purpose. What x86-64 and arm64 need not answer alike is the business of
`tests.oracle.ground`, whose rules say what is left out and why; the draws here keep clear of most of
it (slot ids below 32763, guest physical addresses below 6 GiB, memory inside one arena).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hacdbs_sim.host_kvm.memory import HUGE_PAGE_SIZE, PAGE_SIZE
from hacdbs_sim.model import (
    Bitmap,
    ClearDirtyLog,
    GetDirtyLog,
    Gfns,
    GuestRead,
    GuestWrite,
    HostUnmap,
    HostWrite,
    SetMemslot,
    UpdateVm,
)
from tests.oracle.ground import ARENA_BYTES, LOG, READONLY, USER_BASE, Ground, Known, OracleAction
from tests.oracle.setups import Setup

Draw: TypeAlias = Callable[[Random, Ground], OracleAction]

SLOT_IDS: Final = (0, 1, 2, 63, 509, 32762)
BAD_SLOT_IDS: Final = (32767, 40000, 65535, 2 << 16, (7 << 16) + 1, (1 << 32) - 1)
BASES: Final = (0, 16 << 20, 4 << 30)
NPAGES: Final = (1, 2, 63, 64, 65, 127, 128, 130, 191, 300, 511, 512, 513, 640, 1024, 1027, 2048)
HUGE_NPAGES: Final = (512, 513, 700, 1024, 1027, 1600, 2048, 4096)
BAD_ALIGNMENTS: Final = (1, 8, 512, 2048, 4095)
KERNEL_ADDRESS: Final = 0xFFFF_8000_0000_0000
MAX_SLOTS: Final = 5

_ARENA_PAGES: Final = ARENA_BYTES // PAGE_SIZE
_ALL_ONES: Final = np.uint64(0xFFFF_FFFF_FFFF_FFFF)


@dataclass(frozen=True, slots=True)
class Sequence:
    """A way to make a VM, and actions on it."""

    setup: Setup
    actions: tuple[OracleAction, ...]


def draw(rng: Random, ground: Ground) -> OracleAction:
    """Draw the next action of a sequence."""
    if len(ground.slots) < 1 + rng.randrange(2) and rng.random() < 0.8:
        return _create(rng, ground)
    (kind,) = rng.choices(list(_WEIGHTS), weights=list(_WEIGHTS.values()))
    return kind(rng, ground)


# Memslots


def _region(rng: Random, ground: Ground, npages: int, flags: int) -> SetMemslot:
    slot = rng.choice(SLOT_IDS)
    return SetMemslot(
        slot=slot,
        guest_phys_addr=_place(rng, ground),
        memory_size=npages * PAGE_SIZE,
        userspace_addr=USER_BASE + rng.randrange(_ARENA_PAGES - npages) * PAGE_SIZE,
        flags=flags,
    )


def _place(rng: Random, ground: Ground) -> int:
    start = rng.choice(BASES) + rng.randrange(8) * HUGE_PAGE_SIZE
    if ground.backing > PAGE_SIZE and rng.random() < 0.8:
        return start
    return start + rng.randrange(512) * PAGE_SIZE


def _npages(rng: Random, ground: Ground) -> int:
    if ground.backing > PAGE_SIZE:
        return rng.choice(HUGE_NPAGES)
    return rng.choice(NPAGES) if rng.random() < 0.8 else rng.randint(1, 600)


def _create(rng: Random, ground: Ground) -> SetMemslot:
    """Create a slot; the place may be taken (EEXIST), the id too (EINVAL, or a change)."""
    if len(ground.slots) >= MAX_SLOTS:
        return _delete(rng, ground)
    flags = rng.choices((LOG, 0, LOG | READONLY, READONLY), (12, 5, 2, 1))[0]
    region = _region(rng, ground, _npages(rng, ground), flags)
    free = [slot for slot in SLOT_IDS if slot not in ground.slots]
    slot = rng.choice(free) if rng.random() < 0.9 else region.slot
    user = region.userspace_addr
    assert user is not None
    if ground.backing > PAGE_SIZE:  # a huge page must lie alike in both address spaces
        most = ARENA_BYTES - region.memory_size - HUGE_PAGE_SIZE
        user = USER_BASE + rng.randrange(most // HUGE_PAGE_SIZE) * HUGE_PAGE_SIZE
        user += region.guest_phys_addr % HUGE_PAGE_SIZE
    return replace(region, slot=slot, userspace_addr=user)


def _move(rng: Random, ground: Ground) -> SetMemslot:
    """Move a slot, perhaps onto another one, perhaps with other flags in the same call."""
    if not ground.slots:
        return _create(rng, ground)
    known = rng.choice(list(ground.slots.values()))
    flags = known.region.flags ^ (LOG if rng.random() < 0.2 else 0)
    target = _place(rng, ground)
    if rng.random() < 0.3:  # onto its own old range in part
        target = known.region.guest_phys_addr + rng.choice((1, 64, 512)) * PAGE_SIZE
    return replace(known.region, guest_phys_addr=target, flags=flags)


def _toggle_flags(rng: Random, ground: Ground) -> SetMemslot:
    """Turn logging of a slot on or off; or change nothing at all."""
    if not ground.slots:
        return _create(rng, ground)
    known = rng.choice(list(ground.slots.values()))
    return replace(known.region, flags=known.region.flags ^ (LOG if rng.random() < 0.85 else 0))


def _delete(rng: Random, ground: Ground) -> SetMemslot:
    """Delete a slot, there or not, with whatever flags and addresses."""
    there = list(ground.slots)
    slot = rng.choice(there) if there and rng.random() < 0.8 else rng.choice(SLOT_IDS)
    address = rng.randrange(1 << 20) * PAGE_SIZE
    user = USER_BASE + rng.randrange(_ARENA_PAGES) * PAGE_SIZE
    return SetMemslot(
        slot=slot,
        guest_phys_addr=address,
        memory_size=0,
        userspace_addr=user,
        flags=rng.choice((0, LOG, READONLY, LOG | READONLY)),
    )


def _spoil(rng: Random, ground: Ground) -> SetMemslot:
    """Break one rule of the ioctl, or several, on a slot that is there or is not."""
    region = _create(rng, ground)
    if ground.slots and rng.random() < 0.6:
        region = rng.choice(list(ground.slots.values())).region
    for _ in range(rng.choice((1, 1, 1, 2))):
        region = rng.choice(_SPOILERS)(rng, region)
    return region


def _spoil_slot(rng: Random, region: SetMemslot) -> SetMemslot:
    return replace(region, slot=rng.choice(BAD_SLOT_IDS))


def _spoil_flags(rng: Random, region: SetMemslot) -> SetMemslot:
    # 4 is KVM_MEM_GUEST_MEMFD, which this ioctl (the first of its kind) does not know.
    return replace(region, flags=region.flags | rng.choice((4, 8, 1 << 15, 1 << 31)))


def _spoil_alignment(rng: Random, region: SetMemslot) -> SetMemslot:
    name = rng.choice(("guest_phys_addr", "memory_size", "userspace_addr"))
    return replace(region, **{name: getattr(region, name) + rng.choice(BAD_ALIGNMENTS)})


def _spoil_size(rng: Random, region: SetMemslot) -> SetMemslot:
    npages = region.memory_size // PAGE_SIZE
    other = rng.choice((npages + 1, max(npages - 1, 1), 1 << 31, 1 << 40))
    return replace(region, memory_size=other * PAGE_SIZE)


def _spoil_user(rng: Random, region: SetMemslot) -> SetMemslot:
    assert region.userspace_addr is not None
    nearby = region.userspace_addr + PAGE_SIZE * rng.choice((1, -1, 512))
    return replace(region, userspace_addr=rng.choice((nearby, KERNEL_ADDRESS)))


def _spoil_wrap(rng: Random, region: SetMemslot) -> SetMemslot:
    return replace(region, guest_phys_addr=(1 << 64) - rng.choice((1, 2)) * PAGE_SIZE)


def _spoil_readonly(_: Random, region: SetMemslot) -> SetMemslot:
    return replace(region, flags=region.flags ^ READONLY)


_SPOILERS: Final = (
    _spoil_slot,
    _spoil_flags,
    _spoil_alignment,
    _spoil_size,
    _spoil_user,
    _spoil_wrap,
    _spoil_readonly,
)


def _manual_protect(rng: Random, _: Ground) -> UpdateVm:
    return UpdateVm(
        manual_dirty_log_protect2=rng.choices((0, 1, 3, 2, 4, 7, 1 << 40), (6, 6, 8, 1, 1, 1, 1))[0]
    )


# Accesses


def _pages(rng: Random, npages: int) -> NDArray[np.int64]:  # noqa: PLR0911 - one return a shape
    """Choose pages of a slot: dense, sparse, repeated, strided, at the seams of words, or all."""
    match rng.randrange(7):
        case 0:
            first = rng.randrange(npages)
            return np.arange(first, min(first + rng.choice((2, 64, 100, 513)), npages))
        case 1:
            return _few_pages(rng, npages, rng.choice((1, 3, 10, 40)))
        case 2:
            few = [rng.randrange(npages) for _ in range(4)]
            return np.array([rng.choice(few) for _ in range(30)])
        case 3:
            return np.arange(rng.randrange(npages), npages, rng.choice((2, 7, 63, 64, 65, 512)))
        case 4:
            seams = [page for page in (0, 62, 63, 64, 65, 127, 128, 511, 512) if page < npages]
            return np.array([*seams, npages - 1])
        case 5:
            return np.array([npages - 1 - rng.randrange(min(npages, 65))])
        case _:
            return np.arange(min(npages, 600))


def _few_pages(rng: Random, npages: int, count: int = 4) -> NDArray[np.int64]:
    return np.array([rng.randrange(npages) for _ in range(count)])


def _gfns(rng: Random, slots: list[Known]) -> Gfns:
    """Choose guest frames, of some of these slots for the most part."""
    if not slots:
        return Gfns(np.array([rng.randrange(1 << 12)], np.uint64))
    gfns = np.empty(0, np.int64)
    for known in rng.choices(slots, k=rng.choice((1, 1, 1, 1, 2))):
        # Each access to a READONLY slot may be an exit: few of them, for speed.
        readonly = known.region.flags & READONLY
        pages = (_few_pages if readonly else _pages)(rng, known.npages)
        gfns = np.append(gfns, known.base_gfn + pages)
        if rng.random() < 0.05:  # past the slot's end: another slot, or none
            gfns = np.append(gfns, known.base_gfn + known.npages + rng.randrange(3))
    if rng.random() < 0.2:
        gfns = np.array(rng.sample(list(gfns), len(gfns)))
    return Gfns(gfns.astype(np.uint64))


def _write(rng: Random, ground: Ground) -> GuestWrite:
    logging = [known for known in ground.slots.values() if known.is_logging]
    every = list(ground.slots.values())
    return GuestWrite(pages=_gfns(rng, logging if rng.random() < 0.85 else every))


def _read(rng: Random, ground: Ground) -> GuestRead:
    silent = [known for known in ground.slots.values() if not known.is_logging]
    return GuestRead(pages=_gfns(rng, silent))


def _few_gfns(rng: Random, ground: Ground) -> Gfns:
    return Gfns(_gfns(rng, list(ground.slots.values())).gfns[:8])


def _host_write(rng: Random, ground: Ground) -> HostWrite:
    return HostWrite(pages=_few_gfns(rng, ground))


def _host_unmap(rng: Random, ground: Ground) -> HostUnmap:
    return HostUnmap(pages=_few_gfns(rng, ground))


# The dirty log


def _log_id(rng: Random, ground: Ground) -> int:
    """Choose a slot; one that logs, most of the time."""
    if not ground.slots or rng.random() < 0.05:
        return rng.choice(SLOT_IDS + BAD_SLOT_IDS)
    logging = [slot for slot, known in ground.slots.items() if known.region.flags & LOG]
    return rng.choice(logging if logging and rng.random() < 0.9 else list(ground.slots))


def _get(rng: Random, ground: Ground) -> GetDirtyLog:
    return GetDirtyLog(slot=_log_id(rng, ground))


def _clear(rng: Random, ground: Ground) -> ClearDirtyLog:
    slot = _log_id(rng, ground)
    known = ground.slots.get(slot)
    npages = known.npages if known else rng.choice(NPAGES)
    first_page, num_pages = _window(rng, npages)
    words = _user_words(rng, ground.last_got.get(slot), first_page, min(num_pages, _ARENA_PAGES))
    return ClearDirtyLog(slot=slot, pages=Bitmap(words), first_page=first_page, num_pages=num_pages)


def _window(rng: Random, npages: int) -> tuple[int, int]:  # noqa: PLR0911 - one return a shape
    """Choose first_page and num_pages; illegal ones too."""
    words = -(-npages // 64)
    first = 64 * rng.randrange(words)
    match rng.randrange(12):
        case 0 | 1 | 2 | 3:
            return 0, npages
        case 4 | 5:
            return first, npages - first
        case 6 | 7:
            return first, min(64 * rng.randint(0, words), npages - first)
        case 8:
            return first, rng.choice((npages - first + 1, npages + 64, _ARENA_PAGES, (1 << 32) - 1))
        case 9:
            return first + rng.choice((1, 32, 63)), rng.choice((0, 64, npages))
        case 10:
            return first, rng.randint(0, npages - first)
        case _:
            return rng.choice((64 * words, 64 * words + 64, 1 << 40)), rng.choice((0, 1, 64))


def _user_words(
    rng: Random, last_got: bytes | None, first_page: int, num_pages: int
) -> NDArray[np.uint64]:
    """Choose the user's bitmap: what the last get gave, all, none, or any bits, past the end too."""
    count = -(-num_pages // 64)
    match rng.randrange(5):
        case 0 | 1 if last_got is not None:
            start = min(first_page // 64, 1 << 20)
            part = np.frombuffer(last_got, np.uint64)[start : start + count]
            return np.append(part, np.zeros(count - len(part), np.uint64))
        case 0 | 1 | 2:
            return np.full(count, _ALL_ONES)
        case 3:
            return np.frombuffer(rng.randbytes(8 * count), np.uint64).copy()
        case _:
            words = np.zeros(count, np.uint64)
            for _ in range(rng.choice((0, 1, 2, 5)) if count else 0):
                words[rng.randrange(count)] |= np.uint64(1 << rng.randrange(64))
            return words


_WEIGHTS: Final[dict[Draw, int]] = {
    _write: 30,
    _clear: 24,
    _get: 20,
    _toggle_flags: 6,
    _read: 4,
    _host_write: 2,
    _host_unmap: 2,
    _spoil: 5,
    _create: 4,
    _manual_protect: 3,
    _move: 3,
    _delete: 2,
}
