"""Faults at guest frames of slots that do not begin at 0, and calls that run nothing."""

from dataclasses import replace

import pytest

from hacdbs_sim.model import (
    AcceleratorOutcome,
    AcceleratorReport,
    EntryError,
    ErrorReason,
    FaultType,
    Features,
    HostUnmap,
    HostWrite,
    KernelProfile,
    LastHit,
    LogOp,
    known,
)
from hacdbs_sim.model.errors import Errno
from tests.support.building import (
    MIB,
    arm,
    clear,
    get,
    gfns,
    machine,
    ranges,
    set_log,
    write,
)

BASE = 0x40000


def test_an_entry_fault_names_a_guest_frame_not_a_page_of_the_slot() -> None:
    made = machine(128, base_gfn=BASE)
    fault = arm(made, FaultType.IPAHACF, gfn=BASE + 9)
    write(made, (BASE + 3, 50))

    report = get(made).accelerator

    assert report is not None
    assert report.error == EntryError(reason=ErrorReason.IPAHACF, batch=0, index=6, gfn=BASE + 9)
    assert made.fault(fault).last_hit == LastHit(
        opportunity=1, op=LogOp.GET, slot=0, cpu=0, batch=0, index=6, gfn=BASE + 9
    )


def test_a_split_fault_names_a_guest_frame_and_fails_its_block_alone() -> None:
    made = machine(
        1536,
        base_gfn=BASE,
        flags=0,
        backing=2 * MIB,
        manual_dirty_log_protect2=3,
        eager_split_chunk_size=4096,
    )
    write(made, (BASE, 1536))
    set_log(made, on=True)
    fault = arm(made, FaultType.SPLIT_ENOMEM, gfn=BASE + 600)

    report = clear(made, (0, 1536)).accelerator

    assert report is not None
    assert report.error == EntryError(reason=ErrorReason.IPAHACF, batch=1, index=0, gfn=BASE + 512)
    assert made.fault(fault).last_hit == LastHit(
        opportunity=1, op=LogOp.CLEAR, slot=0, cpu=0, batch=None, index=None, gfn=BASE + 600
    )


def test_a_split_fault_without_a_frame_fails_every_block() -> None:
    made = machine(
        1024, flags=0, backing=2 * MIB, manual_dirty_log_protect2=3, eager_split_chunk_size=4096
    )
    write(made, (0, 1024))
    set_log(made, on=True)
    fault = arm(made, FaultType.SPLIT_ENOMEM)

    got = clear(made, (0, 1024))

    assert got.accelerator is not None
    assert (got.accelerator.blocks_split, known(got.software).blocks_split) == (0, 0)
    assert made.fault(fault).last_hit == LastHit(
        opportunity=1, op=LogOp.CLEAR, slot=0, cpu=0, batch=None, index=None, gfn=None
    )


def test_an_index_one_past_the_last_entry_does_not_hit() -> None:
    made = machine(64)
    fault = arm(made, FaultType.IPAF, index=5)
    write(made, (0, 5))

    assert known(get(made).software).ran is False
    write(made, (0, 6))
    assert known(get(made).software).ran is True
    assert (made.fault(fault).opportunities, made.fault(fault).hits) == (2, 1)


def test_a_call_that_declines_names_its_cpu_and_has_an_empty_trace_if_one_was_asked_for() -> None:
    made = machine(64, cpus=3, features=Features(hacdbs=False))

    plain, traced = get(made, cpu=2).accelerator, get(made, cpu=2, trace=True).accelerator

    declined = AcceleratorReport(cpu=2, outcome=AcceleratorOutcome.DECLINED, errno=Errno.ENXIO)
    assert plain == declined
    assert traced == replace(declined, trace=(), trace_omitted=0)


def test_v1_takes_no_entries_at_all_for_a_good_end() -> None:
    made = machine(128, kernel=KernelProfile.V1)
    write(made, (3, 1))

    report = clear(made, (64, 64), first_page=64, num_pages=64).accelerator

    assert report == AcceleratorReport(cpu=0, outcome=AcceleratorOutcome.CLEANED)


def test_v1_finds_no_block_where_every_page_is_a_leaf_of_its_own() -> None:
    made = machine(128, kernel=KernelProfile.V1, eager_split_chunk_size=2 * MIB)
    write(made, (0, 128))

    report = get(made).accelerator

    assert report is not None
    assert report.error == EntryError(reason=ErrorReason.IPAHACF, batch=0, index=0, gfn=0)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("gone", [(5,), (5, 70), (70, 200), (255,)])
def test_a_page_unmapped_since_the_last_clean_stops_the_unit(
    gone: tuple[int, ...], whole: bool
) -> None:
    """Whatever is remembered of a slot whose pages could all be cleaned, of all words or of one."""
    made = machine(256)
    write(made, (0, 256))
    get(made)
    made.perform(HostUnmap(pages=gfns(*gone)))
    made.perform(HostWrite(pages=ranges((0, 256))))
    word = gone[0] // 64 * 64

    if whole:
        report = get(made).accelerator
    else:
        report = clear(made, (word, 64), first_page=word, num_pages=64).accelerator

    assert report is not None
    index = gone[0] if whole else gone[0] - word
    assert report.error == EntryError(reason=ErrorReason.IPAF, batch=0, index=index, gfn=gone[0])
