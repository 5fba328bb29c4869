"""Guest and host accesses: faults by kind, MMIO exits, what enters the log."""

import re
from dataclasses import replace

import numpy as np
import pytest

from hacdbs_sim.model import (
    AccessOutcome,
    Features,
    GuestRead,
    GuestWrite,
    HostUnmap,
    HostWrite,
    PageRanges,
    PageSet,
    SetMemslot,
    UpdateVm,
)
from hacdbs_sim.model.errors import GfnBeyondIpaSpaceError, NoSuchVcpuError
from tests.support.building import (
    GIB,
    LOG,
    MIB,
    READONLY,
    clear,
    get,
    gfns,
    machine,
    ranges,
    read,
    set_log,
    states,
    write,
)
from tests.unit.sim.read_back import dirty_pages


def outcome(**counts: int) -> AccessOutcome:
    return AccessOutcome(**counts)


def test_a_first_write_takes_a_translation_fault_and_a_second_none() -> None:
    made = machine(128)

    first = made.perform(GuestWrite(pages=gfns(5, 9, 5)))
    second = made.perform(GuestWrite(pages=gfns(9, 5)))

    assert first == outcome(pages=3, newly_dirty=2, translation_faults=2)
    assert second == outcome(pages=2)


def test_a_read_maps_read_only_and_unlogged_then_a_write_takes_a_permission_fault() -> None:
    made = machine(128)

    assert made.perform(GuestRead(pages=gfns(5))) == outcome(pages=1, translation_faults=1)
    assert states(made, 5, 1) == [(5, 1, 3, "read_only")]
    assert made.perform(GuestWrite(pages=gfns(5))) == outcome(
        pages=1, newly_dirty=1, permission_faults=1
    )
    assert states(made, 5, 1) == [(5, 1, 3, "writable_dirty")]
    assert made.perform(GuestRead(pages=gfns(5))) == outcome(pages=1)


@pytest.mark.parametrize("access", [GuestRead, GuestWrite, HostWrite])
@pytest.mark.parametrize("pages", [gfns(128), ranges((128, 1)), gfns(128, 128), ranges((128, 7))])
def test_pages_outside_every_slot_exit_as_mmio(
    access: type[GuestRead | GuestWrite | HostWrite], pages: PageSet
) -> None:
    made = machine(128)

    met = made.perform(access(pages=pages))

    assert met == outcome(pages=met.pages, mmio_exits=met.pages)
    assert met.pages in {1, 2, 7}


@pytest.mark.parametrize("access", [GuestRead, GuestWrite, HostWrite])
@pytest.mark.parametrize("flags", [0, LOG, READONLY, LOG | READONLY])
def test_one_page_has_the_outcome_of_the_same_page_named_twice(
    access: type[GuestRead | GuestWrite | HostWrite], flags: int
) -> None:
    once, twice = machine(128, flags=flags), machine(128, flags=flags)

    for gfn in (9, 9, 127):
        met, met_twice = (
            once.perform(access(pages=gfns(gfn))),
            twice.perform(access(pages=gfns(gfn, gfn))),
        )

        assert met_twice == replace(met, pages=2, mmio_exits=2 * met.mmio_exits)
    assert states(once, 0, 128) == states(twice, 0, 128)


@pytest.mark.parametrize(("dbm", "cleaned"), [(True, "writable_clean"), (False, "read_only")])
def test_a_cleaned_page_faults_on_its_next_write(dbm: bool, cleaned: str) -> None:
    made = machine(128, features=Features(dbm=dbm))
    write(made, (5, 1))
    get(made)

    assert states(made, 5, 1) == [(5, 1, 3, cleaned)]
    assert made.perform(GuestWrite(pages=gfns(5))) == outcome(
        pages=1, newly_dirty=1, permission_faults=1
    )


def test_without_dbm_a_written_page_is_plain_read_write() -> None:
    made = machine(64, features=Features(dbm=False))

    write(made, (5, 1))

    assert states(made, 5, 1) == [(5, 1, 3, "read_write")]


def test_accesses_that_no_slot_takes_are_mmio_exits_with_repeats() -> None:
    made = machine(64, base_gfn=64)
    made.perform(
        SetMemslot(slot=1, guest_phys_addr=256 * 4096, memory_size=64 * 4096, flags=READONLY)
    )

    assert made.perform(GuestWrite(pages=gfns(1, 1, 70, 300, 130))).mmio_exits == 4
    assert made.perform(GuestRead(pages=gfns(1, 1, 70, 300, 130))).mmio_exits == 3
    assert made.perform(GuestWrite(pages=ranges((60, 8), (62, 4)))).mmio_exits == 6
    assert made.perform(HostWrite(pages=ranges((60, 8), (300, 2)))).mmio_exits == 6
    assert made.perform(HostUnmap(pages=ranges((60, 8)))).mmio_exits == 0


def test_one_batch_reaches_all_slots_it_names() -> None:
    made = machine(64, base_gfn=0)
    made.perform(SetMemslot(slot=1, guest_phys_addr=64 * 4096, memory_size=64 * 4096, flags=LOG))
    made.perform(SetMemslot(slot=2, guest_phys_addr=1000 * 4096, memory_size=64 * 4096, flags=LOG))

    made.perform(GuestWrite(pages=ranges((60, 8), (1000, 2))))
    made.perform(GuestWrite(pages=gfns(1063, 64, 3)))

    assert dirty_pages(made.peek_dirty_log(0)) == {60, 61, 62, 63, 3}
    assert dirty_pages(made.peek_dirty_log(1)) == {0, 1, 2, 3}
    assert dirty_pages(made.peek_dirty_log(2)) == {0, 1, 63}


def test_a_batch_may_pass_over_a_slot_without_naming_it() -> None:
    made = machine(64)
    for slot in (1, 2):
        made.perform(
            SetMemslot(
                slot=slot, guest_phys_addr=slot * 64 * 4096, memory_size=64 * 4096, flags=LOG
            )
        )

    made.perform(GuestWrite(pages=gfns(3, 130)))
    made.perform(GuestWrite(pages=ranges((5, 1), (140, 1))))

    assert [view.dirty_count for view in made.memslots()] == [2, 0, 2]


@pytest.mark.parametrize("access", [GuestWrite, HostWrite])
def test_a_batch_adds_up_over_its_slots_and_passes_over_a_read_only_one(
    access: type[GuestWrite | HostWrite],
) -> None:
    made = machine(64, flags=READONLY)
    for slot in (1, 2):
        made.perform(
            SetMemslot(
                slot=slot, guest_phys_addr=slot * 64 * 4096, memory_size=64 * 4096, flags=LOG
            )
        )

    done = made.perform(access(pages=gfns(3, 70, 71, 130, 130)))

    assert (done.pages, done.newly_dirty, done.mmio_exits) == (5, 3, 1)


def test_faults_of_each_kind_add_up_over_the_slots_of_a_batch() -> None:
    """In each slot a clean block, a read-only page and an unmapped one; then without logging."""
    made = machine()
    bases = (0, 1 << 20)
    for slot, base in enumerate(bases):
        region = SetMemslot(
            slot=slot, guest_phys_addr=base * 4096, memory_size=8 * MIB, backing=2 * MIB
        )
        made.perform(region)
        write(made, (base, 1))
        made.perform(replace(region, flags=LOG))
        read(made, (base + 600, 1))

    logging = made.perform(
        GuestWrite(pages=gfns(*(base + at for base in bases for at in (9, 600, 700))))
    )
    for slot in (0, 1):
        set_log(made, on=False, slot=slot)
    free = made.perform(GuestWrite(pages=gfns(*(base + 1100 for base in bases))))

    assert logging == outcome(
        pages=6, newly_dirty=6, translation_faults=2, permission_faults=4, block_splits=2
    )
    assert free == outcome(pages=2, translation_faults=2, blocks_mapped=2)


@pytest.mark.parametrize(
    ("batch", "taken"),
    [
        (gfns(62, 63), []),  # all before the slot
        (gfns(128, 129), []),  # all past it
        (gfns(63, 64), [64]),
        (gfns(127, 128), [127]),
        (gfns(64, 127), [64, 127]),
        (gfns(63, 128), []),
        (ranges((62, 2), (200, 1)), []),  # one ends where the slot begins
        (ranges((128, 1), (60, 1)), []),
        (ranges((63, 2), (127, 2)), [64, 127]),
    ],
)
def test_only_the_pages_inside_a_slot_are_its_own(batch: PageSet, taken: list[int]) -> None:
    made = machine(64, base_gfn=64)

    done = made.perform(GuestWrite(pages=batch))

    assert done.mmio_exits == done.pages - len(taken)
    assert dirty_pages(made.peek_dirty_log(0)) == {gfn - 64 for gfn in taken}


def test_the_highest_page_of_a_batch_may_be_the_first_of_a_slot() -> None:
    made = machine(64)
    made.perform(SetMemslot(slot=1, guest_phys_addr=64 * 4096, memory_size=64 * 4096, flags=LOG))

    assert made.perform(GuestWrite(pages=gfns(3, 64))).newly_dirty == 2
    assert made.perform(GuestWrite(pages=gfns(4, 65))).newly_dirty == 2


def test_a_host_write_marks_the_log_and_leaves_stage_2_alone() -> None:
    made = machine(64)

    assert made.perform(HostWrite(pages=gfns(3, 3, 4))) == outcome(pages=3, newly_dirty=2)
    assert made.perform(HostWrite(pages=gfns(3))) == outcome(pages=1)
    assert states(made, 0, 64) == [(0, 64, None, "unmapped")]
    assert dirty_pages(get(made)) == {3, 4}


def test_a_host_write_to_a_slot_without_a_log_only_counts() -> None:
    assert machine(64, flags=0).perform(HostWrite(pages=gfns(3))) == outcome(pages=1)


def test_a_host_unmap_unmaps_and_leaves_the_log() -> None:
    made = machine(64)
    write(made, (3, 4))

    assert made.perform(HostUnmap(pages=gfns(4, 5))) == outcome(pages=2)

    assert [state for *_, state in states(made, 3, 4)] == [
        "writable_dirty",
        "unmapped",
        "writable_dirty",
    ]
    assert dirty_pages(made.peek_dirty_log(0)) == {3, 4, 5, 6}
    assert made.perform(GuestWrite(pages=gfns(4))) == outcome(pages=1, translation_faults=1)


def test_a_host_unmap_takes_a_whole_block() -> None:
    made = machine(1024, flags=0, backing=2 * MIB)
    write(made, (0, 1), (512, 1))

    made.perform(HostUnmap(pages=gfns(100)))

    assert states(made, 0, 1024) == [(0, 512, None, "unmapped"), (512, 512, 2, "writable_dirty")]


def test_without_logging_a_fault_maps_the_largest_block_inside_the_slot() -> None:
    """A 1 GiB block, 2 MiB blocks before and after it, pages at the ragged ends."""
    gib = GIB >> 12
    made = machine(2 * gib, base_gfn=gib - 512 - 3, flags=0, backing=GIB)

    done = made.perform(
        GuestWrite(
            pages=gfns(gib - 515, gib - 512, gib - 1, gib, 2 * gib - 1, 2 * gib, 3 * gib - 516)
        )
    )

    assert done == outcome(pages=7, translation_faults=5, blocks_mapped=3)
    assert states(made, gib - 515, 2 * gib) == [
        (gib - 515, 1, 3, "writable_dirty"),
        (gib - 514, 2, None, "unmapped"),
        (gib - 512, 512, 2, "writable_dirty"),
        (gib, gib, 1, "writable_dirty"),
        (2 * gib, 512, 2, "writable_dirty"),
        (2 * gib + 512, gib - 1028, None, "unmapped"),
        (3 * gib - 516, 1, 3, "writable_dirty"),
    ]


@pytest.mark.parametrize(("page_size", "block_pages"), [(4096, 512), (16384, 2048), (65536, 8192)])
def test_each_granule_has_its_block(page_size: int, block_pages: int) -> None:
    backing = block_pages * page_size
    made = machine(2 * block_pages, page_size=page_size, flags=0, backing=backing)

    assert made.perform(GuestRead(pages=gfns(block_pages))).blocks_mapped == 1
    assert states(made, 0, 2 * block_pages) == [
        (0, block_pages, None, "unmapped"),
        (block_pages, block_pages, 2, "writable_dirty"),
    ]


def test_a_block_needs_both_addresses_to_agree() -> None:
    made = machine()
    made.perform(
        SetMemslot(
            slot=0, guest_phys_addr=0, memory_size=4 * MIB, userspace_addr=0x1000, backing=2 * MIB
        )
    )

    assert made.perform(GuestWrite(pages=gfns(5))) == outcome(pages=1, translation_faults=1)
    assert states(made, 5, 1) == [(5, 1, 3, "writable_dirty")]


def test_a_write_to_a_clean_block_while_logging_breaks_it_for_the_faulting_pages() -> None:
    made = machine(1536, flags=0, backing=2 * MIB)
    write(made, (0, 1), (600, 1))
    set_log(made, on=True)  # chunk 0: write-protected, not split

    done = made.perform(GuestWrite(pages=gfns(7, 3, 3, 700, 1400)))

    assert done == outcome(
        pages=5, newly_dirty=4, translation_faults=2, permission_faults=2, block_splits=2
    )
    assert states(made, 0, 1536) == [
        (0, 3, None, "unmapped"),
        (3, 1, 3, "writable_dirty"),
        (4, 3, None, "unmapped"),
        (7, 1, 3, "writable_dirty"),
        (8, 692, None, "unmapped"),
        (700, 1, 3, "writable_dirty"),
        (701, 699, None, "unmapped"),
        (1400, 1, 3, "writable_dirty"),
        (1401, 135, None, "unmapped"),
    ]


def test_a_write_through_a_writable_block_while_logging_takes_no_fault() -> None:
    made = machine(512, flags=0, backing=2 * MIB, manual_dirty_log_protect2=3)
    write(made, (0, 1))
    set_log(made, on=True)

    assert made.perform(GuestWrite(pages=gfns(9))) == outcome(pages=1)
    assert made.perform(GuestRead(pages=gfns(9, 10))) == outcome(pages=2)
    assert states(made, 0, 512) == [(0, 512, 2, "writable_dirty")]


def test_blocks_come_back_by_faults_after_logging_ends() -> None:
    made = machine(1024, flags=0, backing=2 * MIB, eager_split_chunk_size=4096)
    write(made, (0, 1), (512, 1))
    set_log(made, on=True)
    assert states(made, 0, 1024) == [(0, 1024, 3, "writable_clean")]
    assert made.counters()["eager_blocks_split"] == 2
    write(made, (3, 1))
    set_log(made, on=False)

    assert made.perform(GuestWrite(pages=gfns(3))) == outcome(pages=1)  # still writable: no fault
    done = made.perform(GuestWrite(pages=gfns(9, 4, 4)))

    assert done == outcome(pages=3, permission_faults=1, blocks_mapped=1)
    assert states(made, 0, 1024) == [(0, 512, 2, "writable_dirty"), (512, 512, 3, "writable_clean")]


def test_without_logging_a_permission_fault_on_a_block_keeps_the_block() -> None:
    made = machine(1024, flags=0, backing=2 * MIB)
    write(made, (0, 1))
    set_log(made, on=True)
    set_log(made, on=False)

    done = made.perform(GuestWrite(pages=gfns(5, 6)))

    assert done == outcome(pages=2, permission_faults=1)
    assert states(made, 0, 512) == [(0, 512, 2, "writable_dirty")]


def test_the_lowest_page_of_a_batch_decides_the_kind_of_the_fault_that_maps_a_block() -> None:
    made = machine(1024, flags=LOG, backing=2 * MIB)
    read(made, (3, 1), (600, 1))
    set_log(made, on=False)

    done = made.perform(GuestWrite(pages=gfns(700, 600, 3, 2)))

    # Page 2 is unmapped (translation); page 600, read-only, comes before 700.
    assert done == outcome(pages=4, translation_faults=1, permission_faults=1, blocks_mapped=2)


def test_clean_small_blocks_are_written_before_a_fault_maps_a_large_one_over_them() -> None:
    gib = GIB >> 12
    made = machine(
        gib, flags=0, backing=GIB, eager_split_chunk_size=2 * MIB, manual_dirty_log_protect2=3
    )
    write(made, (0, 1))
    set_log(made, on=True)
    clear(made, (512 * 5, 1))  # 512 blocks of 2 MiB, the sixth of them pages
    made.perform(UpdateVm(manual_dirty_log_protect2=1))
    clear(made, (512 * 4, 1), (512 * 20, 1))  # software write-protects these two blocks whole
    made.perform(HostUnmap(pages=gfns(512 * 7)))
    set_log(made, on=False)

    done = made.perform(GuestWrite(pages=gfns(512 * 20 + 1, 512 * 7 + 3, 512 * 4 + 1)))

    # In ascending order: the clean block 4, then the hole, whose fault maps 1 GiB over block 20.
    assert done == outcome(pages=3, permission_faults=1, translation_faults=1, blocks_mapped=1)
    assert states(made, 0, gib) == [(0, gib, 1, "writable_dirty")]


def test_ranges_may_end_where_the_ipa_space_does() -> None:
    made = machine(128, ipa_bits=32)
    end = 1 << 20

    met = made.perform(GuestWrite(pages=ranges((end - 3, 3), (0, 1))))

    assert met == outcome(pages=4, newly_dirty=1, translation_faults=1, mmio_exits=3)


def test_a_batch_beyond_the_ipa_space_is_refused_whole() -> None:
    made = machine(64, ipa_bits=32)
    end = 1 << 20
    wrong: list[tuple[PageSet, int, str]] = [
        (gfns(3, end), end, "gfns"),
        (gfns(2**64 - 1), 2**64 - 1, "gfns"),
        (ranges((3, 1), (end - 1, 2)), end, "gfn_ranges"),
        (ranges((end, 1)), end, "gfn_ranges"),
        (ranges((1, 2**64 - 1)), 2**64 - 1, "gfn_ranges"),
        (ranges((1, 1), (2, 2**64 - 1)), 2**64, "gfn_ranges"),  # its end wraps to 1
    ]
    for batch, value, field in wrong:
        for action in (
            GuestWrite(pages=batch),
            GuestRead(pages=batch),
            HostWrite(pages=batch),
            HostUnmap(pages=batch),
        ):
            with pytest.raises(GfnBeyondIpaSpaceError) as caught:
                made.perform(action)
            assert (caught.value.field, caught.value.bound) == (field, end - 1)
            assert caught.value.value == value
    assert made.memslot(0).dirty_count == 0


def test_a_vcpu_that_does_not_exist_is_refused_first() -> None:
    made = machine(64, vcpus=2)

    for action in (GuestWrite(pages=gfns(1 << 40), vcpu=2), GuestRead(pages=gfns(1), vcpu=-1)):
        with pytest.raises(NoSuchVcpuError) as caught:
            made.perform(action)
        assert caught.value.bound == 1


@pytest.mark.parametrize(
    ("vcpus", "detail"),
    [
        (1, "the VM has 1 vCPU, so vcpu must be 0 (got 4)"),
        (4, "the VM has 4 vCPUs, so vcpu must be 0..3 (got 4)"),
    ],
)
def test_the_refusal_of_a_vcpu_says_how_many_there_are(vcpus: int, detail: str) -> None:
    with pytest.raises(NoSuchVcpuError, match=f"^{re.escape(detail)}$"):
        machine(64, vcpus=vcpus).perform(GuestRead(pages=gfns(1), vcpu=4))


def test_an_empty_batch_does_nothing() -> None:
    made = machine(64)
    none = PageRanges(np.empty(0, np.uint64), np.empty(0, np.uint64))

    for batch in (gfns(), none):
        assert made.perform(GuestWrite(pages=batch)) == outcome()
        assert made.perform(HostUnmap(pages=batch)) == outcome()
