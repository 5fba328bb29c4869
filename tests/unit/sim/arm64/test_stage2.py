"""Slots whose leaves are of every level at once, and where runs of equal pages begin.

The slot begins 300 pages before a 2 MiB block that comes before its first 1 GiB block, and ends in
2 MiB blocks and pages again; so the two levels number their blocks from different pages.
"""

import numpy as np
import pytest

from hacdbs_sim.model import (
    AccessOutcome,
    EntryError,
    ErrorReason,
    FaultType,
    Features,
    GuestRead,
    GuestWrite,
    HostUnmap,
    UpdateVm,
    known,
)
from hacdbs_sim.sim.arm64.regions import stage2_of
from hacdbs_sim.sim.arm64.stage2 import Stage2
from tests.support.building import (
    GIB,
    LOG,
    MIB,
    READONLY,
    arm,
    clear,
    get,
    gfns,
    machine,
    read,
    set_log,
    states,
    write,
)
from tests.support.machine import Machine

BIG = GIB >> 12
SMALL = 512
BASE = BIG - SMALL - 300
BEFORE = BIG - SMALL
"""First frame of the small block before the large ones."""


def two_levels(large: int = 1, **config: object) -> Machine:
    """Nothing mapped: 300 pages, a small block, large blocks, 510 small ones, 212 pages."""
    return machine((large + 1) * BIG, base_gfn=BASE, flags=0, backing=GIB, **config)


def outcome(**counts: int) -> AccessOutcome:
    return AccessOutcome(**counts)


def test_a_fault_in_a_small_block_maps_it_though_larger_ones_are_allowed() -> None:
    made = two_levels()

    assert made.perform(GuestWrite(pages=gfns(BEFORE + 7))) == outcome(
        pages=1, translation_faults=1, blocks_mapped=1
    )
    assert states(made, BEFORE - 1, SMALL + 2) == [
        (BEFORE - 1, 1, None, "unmapped"),
        (BEFORE, SMALL, 2, "writable_dirty"),
        (BIG, 1, None, "unmapped"),
    ]


def test_a_read_that_maps_a_block_splits_none() -> None:
    assert two_levels().perform(GuestRead(pages=gfns(BIG + 9, BEFORE))) == outcome(
        pages=2, translation_faults=2, blocks_mapped=2
    )


def test_writes_while_logging_break_clean_blocks_of_each_level() -> None:
    made = two_levels()
    write(made, (BEFORE, 1), (BIG, 1))
    set_log(made, on=True)

    assert made.perform(GuestWrite(pages=gfns(BEFORE + 5, BIG + 5))) == outcome(
        pages=2, newly_dirty=2, permission_faults=2, block_splits=2
    )


def test_writes_without_logging_relax_the_blocks_they_name_and_no_others() -> None:
    made = two_levels()
    write(made, (BEFORE, 1), (BIG, 1), (2 * BIG, 1))
    set_log(made, on=True)
    set_log(made, on=False)

    assert made.perform(GuestWrite(pages=gfns(BEFORE + 5, BIG + 5))) == outcome(
        pages=2, permission_faults=2
    )
    assert states(made, BEFORE, SMALL + BIG + SMALL) == [
        (BEFORE, SMALL, 2, "writable_dirty"),
        (BIG, BIG, 1, "writable_dirty"),
        (2 * BIG, SMALL, 2, "writable_clean"),
    ]


def test_permission_faults_of_pages_and_of_both_block_levels_add_up() -> None:
    made = two_levels()
    set_log(made, on=True)
    read(made, (BASE, 1), (BEFORE + 3, 1), (BIG + 3, 1))
    set_log(made, on=False)

    assert made.perform(GuestWrite(pages=gfns(BASE, BEFORE + 3, BIG + 3))) == outcome(
        pages=3, permission_faults=3, blocks_mapped=2
    )
    assert states(made, BASE, 1) == [(BASE, 1, 3, "writable_dirty")]


def test_a_large_block_replaces_the_small_ones_under_it_and_no_others() -> None:
    made = two_levels(manual_dirty_log_protect2=3, eager_split_chunk_size=2 * MIB)
    write(made, (BEFORE, 1), (BIG, 1))
    set_log(made, on=True)
    clear(made, (BIG + 5 - BASE, 1))  # the large block is now 511 small ones and 512 pages
    set_log(made, on=False)
    made.perform(HostUnmap(pages=gfns(BIG + 9 * SMALL)))

    write(made, (BIG + 9 * SMALL, 1))
    before = (BEFORE, SMALL, 2, "writable_dirty")
    assert states(made, BEFORE, SMALL + BIG) == [before, (BIG, BIG, 1, "writable_dirty")]
    made.perform(HostUnmap(pages=gfns(BIG + 9 * SMALL)))

    assert states(made, BEFORE, SMALL + BIG) == [before, (BIG, BIG, None, "unmapped")]


def test_software_write_protects_a_block_of_each_level_once() -> None:
    made = two_levels(features=Features(hacdbs=False), manual_dirty_log_protect2=3)
    write(made, (BEFORE, 1), (BIG, 1), (2 * BIG, 1))
    set_log(made, on=True)
    near, far = BEFORE - BASE, BIG - BASE

    assert known(clear(made, (near, 1), (far, 1)).software).write_protected == 2
    assert known(clear(made, (near + 1, 1), (far + 1, 1)).software).write_protected == 0
    assert known(clear(made, (near + 2, 1), (2 * BIG - BASE, 1)).software).write_protected == 1


def test_enabling_logging_splits_the_blocks_of_each_level() -> None:
    made = two_levels(eager_split_chunk_size=GIB)
    write(made, (BEFORE, 1), (BIG, 1))

    set_log(made, on=True)

    assert made.counters()["eager_blocks_split"] == 2
    assert states(made, BEFORE, SMALL + BIG) == [(BEFORE, SMALL + BIG, 3, "writable_clean")]


def test_a_clear_splits_small_blocks_where_no_large_one_is_mapped() -> None:
    made = two_levels(manual_dirty_log_protect2=3, eager_split_chunk_size=2 * MIB)
    write(made, (BEFORE, 1))
    set_log(made, on=True)

    accelerator = clear(made, (BEFORE - BASE, 1)).accelerator

    assert accelerator is not None
    assert (accelerator.blocks_split, accelerator.cleaned) == (1, 1)


def test_the_small_blocks_of_a_split_large_one_lie_where_it_lay() -> None:
    made = two_levels(large=2, manual_dirty_log_protect2=3, eager_split_chunk_size=2 * MIB)
    write(made, (BIG, 1), (2 * BIG, 1))
    set_log(made, on=True)

    clear(made, (2 * BIG + SMALL - BASE, 1))

    assert states(made, BEFORE, SMALL + 2 * BIG + SMALL) == [
        (BEFORE, SMALL, None, "unmapped"),
        (BIG, BIG, 1, "writable_dirty"),
        (2 * BIG, SMALL, 2, "writable_dirty"),
        (2 * BIG + SMALL, 1, 3, "writable_clean"),
        (2 * BIG + SMALL + 1, SMALL - 1, 3, "writable_dirty"),
        (2 * BIG + 2 * SMALL, BIG - 2 * SMALL, 2, "writable_dirty"),
        (3 * BIG, SMALL, None, "unmapped"),
    ]


def test_a_failed_split_hits_though_a_smaller_level_had_nothing_to_split() -> None:
    made = two_levels(manual_dirty_log_protect2=3, eager_split_chunk_size=2 * MIB)
    write(made, (BEFORE, 1), (BIG, 1))
    set_log(made, on=True)
    fault = arm(made, FaultType.SPLIT_ENOMEM)

    clear(made, (BIG - BASE, 1))

    assert made.fault(fault).hits == 1


def test_a_read_only_block_splits_into_read_only_pages_that_no_entry_can_clean() -> None:
    made = machine(
        SMALL,
        flags=LOG | READONLY,
        backing=2 * MIB,
        manual_dirty_log_protect2=3,
        eager_split_chunk_size=2 * MIB,
    )
    read(made, (0, 1))

    accelerator = clear(made, (70, 2)).accelerator

    assert accelerator is not None
    assert accelerator.error == EntryError(reason=ErrorReason.IPAHACF, batch=0, index=0, gfn=70)
    assert accelerator.blocks_split == 1
    assert states(made, 0, SMALL) == [(0, SMALL, 3, "read_only")]


def test_a_page_whose_log_is_off_takes_a_permission_fault_and_is_not_marked() -> None:
    made = machine(64)
    write(made, (3, 1))
    get(made)
    set_log(made, on=False)

    assert made.perform(GuestWrite(pages=gfns(3))) == outcome(pages=1, permission_faults=1)


def test_clean_small_blocks_are_relaxed_until_a_fault_maps_a_large_one_over_them() -> None:
    """Three gibibytes of small blocks: holes in the first and the last, none in the second."""
    made = two_levels(large=3, manual_dirty_log_protect2=3, eager_split_chunk_size=2 * MIB)
    tail = 4 * BIG
    write(made, (BEFORE, 1), *((BIG * number, 1) for number in (1, 2, 3)), (tail, 1))
    set_log(made, on=True)
    clear(made, *((BIG * number - BASE, 1) for number in (1, 2, 3)))
    made.perform(UpdateVm(manual_dirty_log_protect2=1))
    places = {1: (6, 20, 510), 2: (10,), 3: (5, 30)}
    clean = [BIG * number + SMALL * block for number, blocks in places.items() for block in blocks]
    clear(made, *((gfn - BASE, 1) for gfn in (BEFORE, *clean, tail)))
    holes = [BIG + SMALL * 7, BIG + SMALL * 25, 3 * BIG + SMALL * 3]
    made.perform(HostUnmap(pages=gfns(*holes)))
    set_log(made, on=False)

    done = made.perform(GuestWrite(pages=gfns(BEFORE, *clean, tail, *holes)))

    # Relaxed: BEFORE, 6 of the first (before its hole), 10 of the second, the tail.
    assert done == outcome(pages=11, permission_faults=4, translation_faults=2, blocks_mapped=2)
    second = 2 * BIG + SMALL
    assert states(made, BEFORE, tail + SMALL - BEFORE) == [
        (BEFORE, SMALL, 2, "writable_dirty"),
        (BIG, BIG, 1, "writable_dirty"),
        (2 * BIG, 1, 3, "writable_clean"),
        (2 * BIG + 1, SMALL - 1, 3, "writable_dirty"),
        (second, BIG - SMALL, 2, "writable_dirty"),
        (3 * BIG, BIG, 1, "writable_dirty"),
        (tail, SMALL, 2, "writable_dirty"),
    ]


def test_a_clean_block_is_relaxed_where_no_larger_one_fits() -> None:
    made = machine(2 * SMALL, flags=0, backing=GIB)
    write(made, (0, 1))
    set_log(made, on=True)
    set_log(made, on=False)

    assert made.perform(GuestWrite(pages=gfns(9))) == outcome(pages=1, permission_faults=1)
    assert states(made, 0, SMALL) == [(0, SMALL, 2, "writable_dirty")]


def test_enabling_logging_write_protects_every_page() -> None:
    made = machine(200, flags=0)
    write(made, (0, 150))

    set_log(made, on=True)

    assert states(made, 0, 200) == [
        (0, 150, 3, "writable_clean"),
        (150, 50, None, "unmapped"),
    ]
    assert made.perform(GuestWrite(pages=gfns(0, 64, 149))) == outcome(
        pages=3, newly_dirty=3, permission_faults=3
    )


@pytest.mark.parametrize(
    ("npages", "page_size", "state_bytes"),
    [
        (1000, 4096, 3 * 16 * 8 + 1),
        (BIG, 4096, 3 * BIG // 8 + 512 + 1),
        (4095, 16384, 3 * 64 * 8 + 1),
        (1, 65536, 3 * 8),
    ],
)
def test_a_slot_takes_three_bits_a_page_and_a_byte_a_block(
    npages: int, page_size: int, state_bytes: int
) -> None:
    assert Stage2.state_bytes(npages, page_size) == state_bytes


@pytest.mark.parametrize("most", [1, 2, 3, 1000])
def test_runs_begin_where_level_or_state_changes_and_nowhere_else(most: int) -> None:
    made = machine(
        4 * SMALL + 90,
        base_gfn=SMALL - 70,
        flags=0,
        backing=2 * MIB,
        manual_dirty_log_protect2=3,
        eager_split_chunk_size=4096,
    )
    write(made, (SMALL - 70, 4 * SMALL + 90))
    made.perform(HostUnmap(pages=gfns(SMALL - 67, SMALL - 7, SMALL - 6)))
    set_log(made, on=True)
    clear(made, (70 + SMALL, 1), (70 + SMALL + 58, 64), (70 + SMALL + 200, 127))
    made.perform(UpdateVm(manual_dirty_log_protect2=1))
    clear(made, (70, 1))
    stage2 = stage2_of(made._slots.get(0))
    leaves = [stage2.leaf(page) for page in range(4 * SMALL + 90)]

    for first, end in ((0, len(leaves)), (1, 700), (64, 128), (65, 66), (127, 1500), (582, 583)):
        changes = [
            page for page in range(first, end) if page == first or leaves[page] != leaves[page - 1]
        ]
        starts = stage2.run_starts(first, end, most)
        assert starts.dtype == np.int64
        assert starts.tolist() == changes[:most]
