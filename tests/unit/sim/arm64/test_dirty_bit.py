"""The accelerated clear: ranks, frontiers, hook order, faults, profiles, registers."""

from typing import Any

import pytest

from hacdbs_sim.model import (
    AcceleratorOutcome,
    AcceleratorReport,
    DirtyLog,
    EntryError,
    ErrorReason,
    FaultType,
    Features,
    GuestWrite,
    HostUnmap,
    HostWrite,
    KernelProfile,
    RunTrace,
    SetCpu,
    SoftwareReport,
    UpdateVm,
    known,
    words,
)
from hacdbs_sim.sim.arm64.clear_plan import plan_clear
from hacdbs_sim.sim.arm64.sysregs import ErrReason, Hacdbscons
from tests.support.building import (
    GIB,
    MIB,
    arm,
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
from tests.support.machine import Machine
from tests.unit.sim.read_back import dirty_pages


@pytest.fixture(params=[1, 3, words.TILE_WORDS], autouse=True)
def tile_words(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every figure holds whatever the size of a tile."""
    monkeypatch.setattr(words, "TILE_WORDS", request.param)


def report(outcome: DirtyLog) -> AcceleratorReport:
    assert outcome.accelerator is not None
    return outcome.accelerator


def cons(made: Machine, cpu: int = 0) -> Hacdbscons:
    return Hacdbscons.decode(made.cpu(cpu).hacdbscons_el2.raw)


@pytest.mark.parametrize(
    ("pages", "runs", "end"),
    [
        (1, 1, (ErrReason.IPAHACF, 1)),
        (511, 1, (ErrReason.IPAHACF, 511)),
        (512, 1, (ErrReason.NOF, 512)),
        (513, 2, (ErrReason.IPAHACF, 1)),
        (1536, 3, (ErrReason.NOF, 512)),
        (1600, 4, (ErrReason.IPAHACF, 64)),
    ],
)
def test_without_a_failure_the_unit_cleans_all_in_full_arrays_and_a_rest(
    pages: int, runs: int, end: tuple[ErrReason, int]
) -> None:
    made = machine(1600)
    write(made, (0, pages))

    got = get(made)

    assert report(got) == AcceleratorReport(
        cpu=0, outcome=AcceleratorOutcome.CLEANED, batches=runs, entries=pages, cleaned=pages
    )
    assert got.software == SoftwareReport()
    assert states(made, 0, pages) == [(0, pages, 3, "writable_clean")]
    assert cons(made) == Hacdbscons(*end)
    view = made.cpu(0)
    assert (view.interrupts, view.runs, view.entries, view.cleaned) == (runs, runs, pages, pages)


@pytest.mark.parametrize(("page_size", "capacity"), [(4096, 512), (16384, 2048), (65536, 8192)])
def test_an_array_is_one_page_of_entries(page_size: int, capacity: int) -> None:
    made = machine(capacity + 1, page_size=page_size)
    write(made, (0, capacity + 1))

    assert report(get(made)).batches == 2
    assert cons(made) == Hacdbscons(ErrReason.IPAHACF, 1)


def test_nothing_dirty_runs_nothing_and_leaves_the_registers_alone() -> None:
    made = machine(64, cpus=1)
    write(made, (0, 3))
    get(made)

    assert report(get(made)) == AcceleratorReport(cpu=0, outcome=AcceleratorOutcome.CLEANED)
    assert cons(made) == Hacdbscons(ErrReason.IPAHACF, 3)


def test_a_failure_in_the_third_array_of_the_second_clear() -> None:
    """The example of docs/kernel.md S.3, every figure by hand.

    Pages 5 to 2004: the entry of rank 1024 + 7 is page 1036. The third array ends with rank 1535,
    page 1540, bit 4 of word 24; so word 24, pages 1536 to 1599, is the frontier. The array returns
    505 entries, the frontier its 59 pages above.
    """
    made = machine(2100, cpus=1)
    fault = arm(made, FaultType.IPAF, after=1, times=1, batch=2, index=7, op="clear")
    write(made, (5, 2000))
    assert report(clear(made, (0, 2100))).outcome is AcceleratorOutcome.CLEANED
    assert made.fault(fault).hits == 0
    write(made, (5, 2000))

    got = clear(made, (0, 2100))

    assert report(got) == AcceleratorReport(
        cpu=0,
        outcome=AcceleratorOutcome.PARTIAL,
        errno=report(got).errno,
        batches=3,
        entries=1536,
        cleaned=1031,
        requeued=505 + 59,
        error=EntryError(reason=ErrorReason.IPAF, batch=2, index=7, gfn=1036),
    )
    assert report(got).errno == "EAGAIN"
    assert got.software == SoftwareReport(
        ran=True, words=32 - 16, pages=2000 - 1031, write_protected=2000 - 1031
    )
    assert (got.dirty_count, got.remaining_count, got.flush_tlb) == (2000, 0, True)
    assert cons(made) == Hacdbscons(ErrReason.IPAF, 7)
    hit = made.fault(fault).last_hit
    assert hit is not None
    assert (hit.opportunity, hit.op, hit.batch, hit.index, hit.gfn) == (2, "clear", 2, 7, 1036)


@pytest.mark.parametrize("rank", [0, 1, 63, 64, 511, 512, 700, 1099])
def test_a_get_keeps_in_its_snapshot_what_hardware_and_software_cleaned(rank: int) -> None:
    made = machine(1100)
    arm(made, FaultType.STRUCTF, batch=rank // 512, index=rank % 512)
    write(made, (0, 1100))

    got = get(made)

    assert dirty_pages(got) == set(range(1100))
    assert report(got).cleaned == rank
    assert known(got.software).pages == 1100 - rank
    assert states(made, 0, 1100) == [(0, 1100, 3, "writable_clean")]


def test_natural_failures_are_judged_by_the_leaf() -> None:
    made = machine(640)
    write(made, (0, 300))
    made.perform(HostWrite(pages=gfns(100)))  # already dirty: stays WD
    made.perform(HostUnmap(pages=gfns(200)))  # dirty but unmapped: IPAF
    got = get(made)
    assert report(got).error == EntryError(reason=ErrorReason.IPAF, batch=0, index=200, gfn=200)

    read(made, (400, 1))
    made.perform(HostWrite(pages=gfns(400)))  # dirty but read-only: IPAHACF
    assert report(get(made)).error == EntryError(
        reason=ErrorReason.IPAHACF, batch=0, index=0, gfn=400
    )

    made.perform(HostWrite(pages=gfns(10)))  # dirty and already clean: no failure
    assert report(get(made)).outcome is AcceleratorOutcome.CLEANED


def test_a_block_that_is_not_split_stops_the_unit() -> None:
    made = machine(1024, flags=0, backing=2 * MIB, manual_dirty_log_protect2=3)
    write(made, (0, 1), (512, 1))
    set_log(made, on=True)

    got = clear(made, (0, 1024))

    assert report(got).error == EntryError(reason=ErrorReason.IPAHACF, batch=0, index=0, gfn=0)
    assert report(got).requeued == 512
    assert got.software == SoftwareReport(ran=True, words=16, pages=1024, write_protected=2)


def test_in_init_set_mode_the_hook_splits_first_and_then_cleans() -> None:
    made = machine(
        2048, flags=0, backing=2 * MIB, manual_dirty_log_protect2=3, eager_split_chunk_size=2 * MIB
    )
    write(made, (0, 1), (512, 1), (1024, 1), (1536, 1))
    set_log(made, on=True)

    got = clear(made, (100, 500))

    assert report(got).blocks_split == 2
    assert report(got).cleaned == 500
    assert states(made, 0, 2048) == [
        (0, 100, 3, "writable_dirty"),
        (100, 500, 3, "writable_clean"),
        (600, 424, 3, "writable_dirty"),
        (1024, 1024, 2, "writable_dirty"),
    ]


@pytest.mark.parametrize("index", [40, 10])
def test_a_failure_splits_up_to_the_frontier_and_software_splits_the_rest(index: int) -> None:
    """n = 512 and blocks of 512 pages, shifted by 32 so that a word straddles two blocks."""
    made = machine(
        2048,
        base_gfn=512 - 32,
        flags=0,
        backing=2 * MIB,
        manual_dirty_log_protect2=3,
        eager_split_chunk_size=4096,
    )
    write(made, (480, 2048))
    set_log(made, on=True)
    arm(made, FaultType.STRUCTF, batch=0, index=index)

    got = clear(made, (0, 2048))

    # Entries 0..511 end in word 7, pages 448..511; blocks begin at pages 32, 544 and 1056.
    assert report(got).blocks_split == 1
    assert report(got).requeued == 512 - index
    assert known(got.software).blocks_split == 2
    # The pages up to 543 after the entries cleaned, two blocks, the 480 pages after the last one.
    assert known(got.software).write_protected == 544 - index + 2 + 480


@pytest.mark.parametrize(("chunk", "split"), [(2 * MIB, 2), (GIB, 1)])
def test_a_chunk_below_1_gib_splits_a_1_gib_block_in_two_steps(chunk: int, split: int) -> None:
    gib = GIB >> 12
    made = machine(
        gib, flags=0, backing=GIB, manual_dirty_log_protect2=3, eager_split_chunk_size=chunk
    )
    write(made, (0, 1))
    set_log(made, on=True)

    got = clear(made, (1024, 3))

    assert report(got).blocks_split == split
    if chunk == GIB:
        assert states(made, 0, gib)[0] == (0, 1024, 3, "writable_dirty")
    else:
        assert states(made, 0, gib) == [
            (0, 1024, 2, "writable_dirty"),
            (1024, 3, 3, "writable_clean"),
            (1027, 509, 3, "writable_dirty"),
            (1536, gib - 1536, 2, "writable_dirty"),
        ]


def test_splits_that_fail_leave_their_entries_to_software() -> None:
    made = machine(
        1536, flags=0, backing=2 * MIB, manual_dirty_log_protect2=3, eager_split_chunk_size=4096
    )
    write(made, (0, 1536))
    set_log(made, on=True)
    fault = arm(made, FaultType.SPLIT_ENOMEM, gfn=600)

    got = clear(made, (0, 1536))

    assert report(got).error == EntryError(reason=ErrorReason.IPAHACF, batch=1, index=0, gfn=512)
    assert (report(got).blocks_split, known(got.software).blocks_split) == (1, 1)
    assert known(got.software).write_protected == 2
    assert states(made, 0, 1536) == [
        (0, 512, 3, "writable_clean"),
        (512, 512, 2, "writable_clean"),
        (1024, 512, 3, "writable_clean"),
    ]
    assert made.fault(fault).hits == 1


def test_a_split_fault_hits_only_where_a_split_was_asked_for() -> None:
    made = machine(
        1024, flags=0, backing=2 * MIB, manual_dirty_log_protect2=3, eager_split_chunk_size=4096
    )
    write(made, (0, 1024))
    set_log(made, on=True)
    here = arm(made, FaultType.SPLIT_ENOMEM, gfn=5)
    elsewhere = arm(made, FaultType.SPLIT_ENOMEM, gfn=1_000_000)
    everywhere = arm(made, FaultType.SPLIT_ENOMEM, after=1)

    clear(made, (600, 1))
    assert [made.fault(f).hits for f in (here, elsewhere, everywhere)] == [0, 0, 0]
    clear(made, (0, 1))
    assert [made.fault(f).hits for f in (here, elsewhere, everywhere)] == [1, 0, 1]
    clear(made, (700, 1))  # its block is pages already: no split is requested
    assert [made.fault(f).hits for f in (here, elsewhere, everywhere)] == [1, 0, 1]
    assert [made.fault(f).opportunities for f in (here, elsewhere, everywhere)] == [3, 3, 3]
    clear(made, (1, 1))
    assert [made.fault(f).hits for f in (here, elsewhere, everywhere)] == [2, 0, 2]


# The hook's order


def declines(made: Machine, **rest: Any) -> str | None:
    before = made.memslot(0).dirty_count
    got = get(made, **rest)
    assert report(got).outcome is AcceleratorOutcome.DECLINED
    assert (report(got).batches, report(got).entries, report(got).requeued) == (0, 0, 0)
    assert known(got.software).pages == before
    return report(got).errno


def test_each_reason_to_decline_has_its_errno() -> None:
    assert declines(machine(64, features=Features(dbm=False, hacdbs=False))) == "ENXIO"
    assert declines(machine(64, features=Features(dbm=False))) == "EPERM"
    offline = machine(64, cpus=2)
    offline.perform(SetCpu(cpu=1, online=False))
    write(offline, (0, 9))
    assert declines(offline, cpu=1) == "EPERM"
    busy = machine(64)
    arm(busy, FaultType.UNIT_BUSY)
    write(busy, (0, 9))
    assert declines(busy) == "EPERM"
    no_buffer = machine(64)
    arm(no_buffer, FaultType.ENTRIES_ENOMEM)
    assert declines(no_buffer) == "ENOMEM"  # even when nothing is dirty


def test_an_earlier_reason_keeps_a_later_fault_from_its_opportunity() -> None:
    made = machine(64)
    busy, enomem, entry = (
        arm(made, kind) for kind in (FaultType.UNIT_BUSY, FaultType.ENTRIES_ENOMEM, FaultType.IPAF)
    )

    get(made)

    assert [made.fault(f).opportunities for f in (busy, enomem, entry)] == [1, 0, 0]
    absent = machine(64, features=Features(hacdbs=False))
    busy = arm(absent, FaultType.UNIT_BUSY)
    get(absent)
    assert absent.fault(busy).opportunities == 0


def test_the_oldest_fault_of_a_site_hits_and_all_use_their_opportunity() -> None:
    made = machine(64)
    first, second = arm(made, FaultType.UNIT_BUSY), arm(made, FaultType.UNIT_BUSY)

    get(made)

    assert [made.fault(f).hits for f in (first, second)] == [1, 0]
    assert [made.fault(f).opportunities for f in (first, second)] == [1, 1]


# Faults at entries


def test_the_lowest_rank_stops_the_unit_and_only_that_fault_hits() -> None:
    made = machine(600)
    write(made, (0, 600))
    late, early, gone = (
        arm(made, FaultType.STRUCTF, batch=1, index=3),
        arm(made, FaultType.IPAHACF, gfn=77),
        arm(made, FaultType.IPAF, batch=7),
    )

    got = get(made)

    assert report(got).error == EntryError(reason=ErrorReason.IPAHACF, batch=0, index=77, gfn=77)
    assert [made.fault(f).hits for f in (late, early, gone)] == [0, 1, 0]
    assert [made.fault(f).opportunities for f in (late, early, gone)] == [1, 1, 1]


def test_at_one_entry_structf_comes_before_ipaf_before_ipahacf_then_the_oldest() -> None:
    made = machine(64)
    faults = [
        arm(made, kind, index=3, times=1)
        for kind in (FaultType.IPAHACF, FaultType.IPAF, FaultType.STRUCTF, FaultType.STRUCTF)
    ]
    reasons = []

    for _ in range(4):
        write(made, (0, 64))
        error = report(get(made)).error
        assert error is not None
        reasons.append((error.reason.value, [made.fault(f).hits for f in faults]))

    assert reasons == [
        ("STRUCTF", [0, 0, 1, 0]),
        ("STRUCTF", [0, 0, 1, 1]),
        ("IPAF", [0, 1, 1, 1]),
        ("IPAHACF", [1, 1, 1, 1]),
    ]


def test_a_natural_failure_comes_before_an_armed_one_at_the_same_entry() -> None:
    made = machine(64)
    made.perform(HostWrite(pages=gfns(3)))
    fault = arm(made, FaultType.STRUCTF)

    got = get(made)

    assert report(got).error == EntryError(reason=ErrorReason.IPAF, batch=0, index=0, gfn=3)
    assert (made.fault(fault).hits, made.fault(fault).opportunities) == (0, 1)


def test_a_fault_at_a_gfn_without_an_entry_does_not_hit() -> None:
    made = machine(64)
    write(made, (0, 3))
    fault = arm(made, FaultType.IPAF, gfn=3)

    assert report(get(made)).outcome is AcceleratorOutcome.CLEANED
    assert (made.fault(fault).hits, made.fault(fault).opportunities) == (0, 1)


@pytest.mark.parametrize(
    ("batch", "index", "cleaned", "requeued", "interrupts"),
    [(0, 512, 512, 0, 0), (1, 512, 1024, 0, 1), (2, 76, 1100, 0, 2)],
)
def test_a_lost_interrupt_ends_the_call_after_its_whole_run(
    batch: int, index: int, cleaned: int, requeued: int, interrupts: int
) -> None:
    made = machine(1100, cpus=1)
    write(made, (0, 1100))
    fault = arm(made, FaultType.LOST_INTERRUPT, batch=batch)

    got = get(made)

    assert report(got).error == EntryError(
        reason=ErrorReason.LOST_INTERRUPT, batch=batch, index=index, gfn=None
    )
    assert report(got).batches == batch + 1
    assert (report(got).cleaned, report(got).requeued) == (cleaned, requeued)
    assert known(got.software).pages == 1100 - cleaned
    assert made.cpu(0).interrupts == interrupts
    reason = ErrReason.NOF if index == 512 else ErrReason.IPAHACF
    assert cons(made) == Hacdbscons(reason, index)
    assert made.fault(fault).hits == 1
    assert dirty_pages(got) == set(range(1100))


def test_a_lost_interrupt_puts_the_rest_of_its_frontier_back() -> None:
    made = machine(1100, cpus=1)
    write(made, (5, 1095))
    arm(made, FaultType.LOST_INTERRUPT)

    got = get(made)

    # The first array ends with page 516, bit 4 of word 8: 59 pages of that word go back.
    assert (report(got).cleaned, report(got).requeued) == (512, 59)
    assert known(got.software).pages == 1095 - 512


def test_a_lost_interrupt_in_a_run_that_fails_reports_itself_and_both_hit() -> None:
    made = machine(1100, cpus=1)
    write(made, (0, 1100))
    entry = arm(made, FaultType.IPAF, batch=1, index=9)
    lost = arm(made, FaultType.LOST_INTERRUPT, batch=1)

    got = get(made)

    assert report(got).error == EntryError(
        reason=ErrorReason.LOST_INTERRUPT, batch=1, index=9, gfn=521
    )
    assert cons(made) == Hacdbscons(ErrReason.IPAF, 9)
    assert (made.cpu(0).interrupts, made.cpu(0).runs) == (1, 2)
    assert (made.fault(entry).hits, made.fault(lost).hits) == (1, 1)


def test_an_entry_fault_after_a_lost_interrupt_is_never_reached() -> None:
    made = machine(1100)
    write(made, (0, 1100))
    entry = arm(made, FaultType.IPAF, batch=1, index=9)
    lost = arm(made, FaultType.LOST_INTERRUPT)

    assert report(get(made)).cleaned == 512
    assert (made.fault(entry).hits, made.fault(lost).hits) == (0, 1)


def test_a_lost_interrupt_of_a_run_that_never_comes_does_not_hit() -> None:
    made = machine(1100)
    write(made, (0, 1100))
    lost = arm(made, FaultType.LOST_INTERRUPT, batch=2)
    arm(made, FaultType.IPAF, batch=1)

    got = report(get(made)).error
    assert got is not None
    assert got.reason is ErrorReason.IPAF
    assert made.fault(lost).hits == 0


def test_the_lowest_lost_run_wins_then_the_oldest_fault() -> None:
    made = machine(1100)
    write(made, (0, 1100))
    faults = [arm(made, FaultType.LOST_INTERRUPT, batch=batch) for batch in (1, 0, 0)]

    assert report(get(made)).batches == 1
    assert [made.fault(f).hits for f in faults] == [0, 1, 0]


# Profiles


def test_v1_takes_a_full_last_array_for_a_failure() -> None:
    made = machine(1100, kernel=KernelProfile.V1)
    write(made, (0, 1024))

    got = get(made)

    assert report(got).outcome is AcceleratorOutcome.PARTIAL
    assert (report(got).errno, report(got).error, report(got).requeued) == ("EAGAIN", None, 0)
    assert got.software == SoftwareReport(ran=True)
    assert (got.dirty_count, dirty_pages(got)) == (1024, set(range(1024)))
    write(made, (0, 1023))
    assert report(get(made)).outcome is AcceleratorOutcome.CLEANED
    assert report(get(made)).outcome is AcceleratorOutcome.CLEANED  # nothing dirty


@pytest.mark.parametrize(("chunk", "ttwl"), [(0, 3), (4096, 3), (2 * MIB, 2), (GIB, 1)])
def test_v1_takes_the_level_of_its_entries_from_the_chunk_size(chunk: int, ttwl: int) -> None:
    made = machine(64, kernel=KernelProfile.V1, eager_split_chunk_size=chunk)
    write(made, (0, 3))

    got = get(made, trace=True)

    assert report(got).trace == (
        RunTrace(size=3, cleaned=3 if ttwl == 3 else 0, first_gfn=0, last_gfn=2, ttwl=ttwl),
    )
    if ttwl != 3:
        assert report(got).error == EntryError(reason=ErrorReason.IPAHACF, batch=0, index=0, gfn=0)


def test_v1_cleans_a_block_whole_where_the_level_fits() -> None:
    made = machine(
        1024,
        flags=0,
        backing=2 * MIB,
        manual_dirty_log_protect2=3,
        eager_split_chunk_size=2 * MIB,
        kernel=KernelProfile.V1,
    )
    write(made, (0, 1024))
    set_log(made, on=True)
    made.perform(UpdateVm(manual_dirty_log_protect2=1))  # so that nothing is split

    got = clear(made, (5, 3))

    assert (report(got).outcome, report(got).cleaned) == (AcceleratorOutcome.CLEANED, 3)
    assert states(made, 0, 1024) == [(0, 512, 2, "writable_clean"), (512, 512, 2, "writable_dirty")]
    made.perform(UpdateVm(manual_dirty_log_protect2=3))
    assert report(clear(made, (600, 1))).error == EntryError(
        reason=ErrorReason.IPAHACF, batch=0, index=0, gfn=600
    )


def test_v1_cleans_only_blocks_of_its_own_level() -> None:
    gib = GIB >> 12
    made = machine(
        2 * gib,
        flags=0,
        backing=GIB,
        manual_dirty_log_protect2=3,
        eager_split_chunk_size=2 * MIB,
        kernel=KernelProfile.V1,
    )
    write(made, (0, 2 * gib))
    set_log(made, on=True)
    clear(made, (0, 1))  # the first GiB: 2 MiB blocks but for the first one
    made.perform(UpdateVm(manual_dirty_log_protect2=1))

    assert report(clear(made, (512, 600))).cleaned == 600
    assert report(clear(made, (gib, 1))).error == EntryError(
        reason=ErrorReason.IPAHACF, batch=0, index=0, gfn=gib
    )
    assert states(made, 512, 2 * gib - 512) == [
        (512, 1024, 2, "writable_clean"),
        (1536, gib - 1536, 2, "writable_dirty"),
        (gib, gib, 1, "writable_clean"),
    ]


def test_the_fixed_profile_always_means_the_page_level() -> None:
    made = machine(64, eager_split_chunk_size=2 * MIB)
    write(made, (0, 3))

    assert report(get(made, trace=True)).trace == (
        RunTrace(size=3, cleaned=3, first_gfn=0, last_gfn=2, ttwl=3),
    )


# Trace and plan


def test_the_trace_reports_each_run() -> None:
    made = machine(2000, base_gfn=100)
    write(made, (110, 700), (1500, 500))
    arm(made, FaultType.IPAF, batch=2, index=4)

    got = report(get(made, trace=True))

    assert got.trace == (
        RunTrace(size=512, cleaned=512, first_gfn=110, last_gfn=621, ttwl=3),
        RunTrace(size=512, cleaned=512, first_gfn=622, last_gfn=1823, ttwl=3),
        RunTrace(size=176, cleaned=4, first_gfn=1824, last_gfn=1999, ttwl=3),
    )
    assert got.trace_omitted == 0
    assert report(get(made, trace=True)).trace == ()
    assert report(get(made)).trace is None


def test_a_window_without_dirty_pages_has_no_run_to_trace() -> None:
    made = machine(256)
    write(made, (0, 3))

    got = report(clear(made, (64, 64), first_page=64, num_pages=64, trace=True))

    assert (got.outcome, got.batches, got.trace) == (AcceleratorOutcome.CLEANED, 0, ())
    assert made.memslot(0).dirty_count == 3


def test_the_trace_keeps_the_first_4096_runs() -> None:
    pages = 4100 * 512
    made = machine(pages)
    write(made, (0, pages))

    got = report(get(made, trace=True))

    assert got.trace is not None
    assert (len(got.trace), got.trace_omitted) == (4096, 4)
    assert got.trace[-1] == RunTrace(
        size=512, cleaned=512, first_gfn=4095 * 512, last_gfn=4096 * 512 - 1, ttwl=3
    )


def test_a_plan_follows_from_the_rank_alone() -> None:
    plan = plan_clear(1000, 512, None, None)

    assert (plan.runs, plan.entries, plan.cleaned, plan.gave_up) == (2, 1000, 1000, False)
    assert plan_clear(0, 512, None, None).runs == 0


def test_a_sparse_log_in_a_large_slot_costs_no_other_answer() -> None:
    made = machine(200_000)
    dirty = {3, 64, 70, 5000, 131_071, 131_072, 199_999}
    made.perform(GuestWrite(pages=gfns(*dirty)))
    arm(made, FaultType.STRUCTF, index=4)

    got = get(made)

    assert dirty_pages(got) == dirty
    assert report(got).error == EntryError(
        reason=ErrorReason.STRUCTF, batch=0, index=4, gfn=131_071
    )
    assert (report(got).requeued, known(got.software).words) == (3, 3)
    assert made.perform(GuestWrite(pages=ranges((3, 1), (199_999, 1)))).permission_faults == 2
