"""The dirty rate by hand: slots of 256 MiB whose pages a guest writes one after the other."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from hacdbs_sim import model
from hacdbs_sim.model import (
    AddCopyToUser,
    AddSequential,
    CalcDirtyRate,
    DirtyRateInfo,
    DirtyRateMode,
    DirtyRateStatus,
    GuestWriteMemory,
    MigrationSpec,
    MigrationStatus,
    PageRanges,
    PeekDirtyLog,
    Scheduled,
    SetMemslot,
    VmConfig,
)
from hacdbs_sim.model.errors import CopyToUserError
from hacdbs_sim.vmm import DirtyRate, DirtyTracking, LiveMigration
from hacdbs_sim.vmm.errors import (
    DirtyRateMeasuringError,
    InvalidDirtyRateError,
    InvalidMigrationError,
)
from tests.support.machine import Machine

MIB = 1 << 20
MS = 10**6
SECOND = 10**9
BASE = 0x4000_0000
PAGES = 65_536
QUARTER = 16_384
"""Pages of a quarter of a slot: 64 MiB."""

FREE = model.CostModel(**{knob.name: 0 for knob in model.KNOBS})
"""Faults take no time, so that all writes come when they are due."""

LOGS = int(model.MemslotFlags.LOG_DIRTY_PAGES)
SAMPLING = DirtyRateMode.PAGE_SAMPLING
BITMAP = DirtyRateMode.DIRTY_BITMAP


class Vm:
    """A machine, and what the VMM's readers of its logs share."""

    def __init__(self, *sizes: int, flags: int = 0, rate: int = QUARTER, **config: Any) -> None:
        self.machine = Machine(VmConfig(costs=FREE, **config))
        for slot, size in enumerate(sizes or (256 * MIB,)):
            self.machine.perform(
                SetMemslot(slot=slot, guest_phys_addr=BASE << slot, memory_size=size, flags=flags)
            )
        if rate:
            self.machine.perform(AddSequential(slot=0, writes_per_second=rate))
        self.tracking = DirtyTracking()
        self.dirty_rate = DirtyRate(self.tracking)

    def start(self, mode: DirtyRateMode = SAMPLING, **fields: Any) -> None:
        given = {"duration_ns": SECOND, **fields}
        self.dirty_rate.start(self.machine, CalcDirtyRate(mode=mode, **given))

    def measured(self, mode: DirtyRateMode = SAMPLING, **fields: Any) -> DirtyRateInfo:
        self.start(mode, **fields)
        while self.dirty_rate.is_measuring:
            self.dirty_rate.run(self.machine)
        return self.dirty_rate.info

    def migration(self, **fields: Any) -> LiveMigration:
        given = {"bandwidth_bytes_per_second": 512 * MIB, **fields}
        history = self.tracking.history
        return LiveMigration(self.machine, MigrationSpec(**given), history, tracking=self.tracking)

    def steps(self, migration: LiveMigration) -> Iterator[None]:
        """Step as the service does: a measurement ends between two steps."""
        while migration.step():
            self.dirty_rate.end_if_due(self.machine)
            yield

    def write(self, first: int, count: int) -> None:
        frames = np.array([BASE // 4096 + first], np.uint64)
        self.machine.perform(
            model.GuestWrite(pages=PageRanges(frames, np.array([count], np.uint64)))
        )

    def logged(self, slot: int = 0) -> int | None:
        return self.machine.memslot(slot).dirty_count


# Figures


def test_the_bitmap_counts_each_page_once_however_often_it_is_written() -> None:
    vm = Vm(rate=0)
    vm.machine.perform(AddSequential(slot=0, writes_per_second=100_000, num_pages=QUARTER))

    info = vm.measured(BITMAP)

    assert info == DirtyRateInfo(
        status=DirtyRateStatus.MEASURED,
        mode=BITMAP,
        duration_ns=SECOND,
        started_ns=0,
        elapsed_ns=SECOND,
        dirty_rate=64,
        dirty_pages=QUARTER,
        slots=(model.SlotDirtyRate(slot=0, npages=PAGES, dirty_pages=QUARTER),),
    )


def test_the_rate_is_rounded_down_to_mib_a_second() -> None:
    vm = Vm()

    info = vm.measured(BITMAP, duration_ns=50 * MS)

    # 819 of the 819.2 writes that fall in 50 ms: 63.98 MiB a second
    assert (info.dirty_pages, info.dirty_rate) == (819, 63)


def test_what_was_written_before_does_not_count() -> None:
    vm = Vm(rate=0, flags=LOGS)
    vm.write(0, 1_000)

    assert vm.measured(BITMAP).dirty_pages == 0
    assert vm.measured(SAMPLING).dirty_pages == 0


@pytest.mark.parametrize("manual", [0, 1, 3])
def test_the_bitmap_counts_the_same_whatever_a_get_takes(manual: int) -> None:
    vm = Vm(manual_dirty_log_protect2=manual, flags=LOGS)
    vm.write(0, 1_000)

    assert vm.measured(BITMAP).dirty_rate == 64


def test_samples_that_were_all_written_make_the_whole_memory_a_second() -> None:
    vm = Vm(256 * MIB, 512 * MIB, rate=PAGES)

    info = vm.measured()

    assert [slot.sample_pages for slot in info.slots] == [128, 256]
    assert [slot.dirty_pages for slot in info.slots] == [128, 0]
    # 128 samples of 384 in 768 MiB
    assert (info.sample_pages_per_gib, info.sample_pages, info.dirty_rate) == (512, 384, 256)


def test_samples_of_a_quarter_that_was_written_are_about_a_quarter() -> None:
    info = Vm().measured(sample_pages_per_gib=16_384)

    assert info.sample_pages == 4_096
    assert info.dirty_rate == info.dirty_pages * 256 // 4_096
    assert 58 <= info.dirty_rate <= 70  # 64 MiB/s, and 2 standard deviations of the draws are 3.5


def test_writes_of_a_byte_dirty_the_pages_that_they_touch() -> None:
    vm = Vm(rate=0)
    vm.start(BITMAP)
    vm.machine.perform(GuestWriteMemory(gpa_ranges=((BASE + 4095, 2), (BASE + 8192, 1))))
    vm.dirty_rate.run(vm.machine)

    assert vm.dirty_rate.info.dirty_pages == 3


def test_the_draws_follow_from_the_seed_and_the_number_of_the_measurement() -> None:
    first, again, other = Vm(seed=1), Vm(seed=1), Vm(seed=2)

    found = [first.measured().dirty_pages, first.measured().dirty_pages]

    assert found == [again.measured().dirty_pages, again.measured().dirty_pages]
    assert found[0] != other.measured().dirty_pages


def test_small_slots_are_not_sampled_and_count_in_a_bitmap() -> None:
    vm = Vm(128 * MIB - 4096, 128 * MIB, rate=QUARTER)

    sampled, counted = vm.measured(), vm.measured(BITMAP)

    assert [slot.skipped for slot in sampled.slots] == [True, False]
    assert (sampled.sample_pages, sampled.dirty_rate) == (64, 0)
    assert counted.dirty_rate == 64


def test_without_a_slot_to_sample_there_is_no_rate() -> None:
    info = Vm(64 * MIB).measured()

    assert (info.status, info.dirty_rate) == (DirtyRateStatus.MEASURED, None)


@pytest.mark.parametrize("mode", [SAMPLING, BITMAP])
def test_a_slot_made_again_meanwhile_does_not_count(mode: DirtyRateMode) -> None:
    vm = Vm()
    vm.start(mode)
    vm.machine.perform(model.DeleteMemslot(slot=0))
    vm.machine.perform(SetMemslot(slot=0, guest_phys_addr=BASE, memory_size=256 * MIB, flags=LOGS))
    vm.dirty_rate.run(vm.machine)

    assert [slot.skipped for slot in vm.dirty_rate.info.slots] == [True]
    assert vm.machine.memslot(0).is_logging


def test_a_guest_that_writes_more_than_a_step_takes_is_measured_in_steps() -> None:
    vm = Vm(rate=100_000_000)
    vm.start(BITMAP)
    vm.dirty_rate.run(vm.machine)
    assert vm.dirty_rate.info.status is DirtyRateStatus.MEASURING

    while vm.dirty_rate.is_measuring:
        vm.dirty_rate.run(vm.machine)

    assert (vm.dirty_rate.info.elapsed_ns, vm.dirty_rate.info.dirty_rate) == (SECOND, 256)


def test_a_paused_guest_dirties_nothing() -> None:
    vm = Vm()
    vm.start(BITMAP)

    vm.dirty_rate.run(vm.machine, is_paused=True)

    assert (vm.dirty_rate.info.elapsed_ns, vm.dirty_rate.info.dirty_rate) == (SECOND, 0)


# The machine is left as it was


@pytest.mark.parametrize("mode", [SAMPLING, BITMAP])
def test_it_leaves_neither_a_log_nor_versions_behind(mode: DirtyRateMode) -> None:
    vm = Vm()

    vm.measured(mode)

    assert not vm.machine.memslot(0).is_logging
    assert vm.machine.last_version is None


def test_sampling_does_not_touch_a_log() -> None:
    vm, alone = Vm(flags=LOGS), Vm(flags=LOGS)
    vm.measured(SAMPLING)
    alone.machine.perform(model.RunGuest(duration_ns=SECOND))

    logs = [each.machine.query(PeekDirtyLog(slot=0)) for each in (vm, alone)]
    assert logs[0] == logs[1]
    assert vm.machine.counters() == alone.machine.counters()


def test_what_versions_were_tracked_for_goes_on() -> None:
    vm = Vm()
    vm.machine.perform(model.TrackVersions(enabled=True))

    vm.measured(SAMPLING)

    assert vm.machine.last_version is not None


def test_logs_that_were_kept_before_are_kept_afterwards() -> None:
    vm = Vm(flags=LOGS)

    vm.measured(BITMAP)

    assert vm.machine.memslot(0).is_logging


# Refusals


def test_sample_pages_are_refused_in_other_modes() -> None:
    vm = Vm()

    with pytest.raises(InvalidDirtyRateError, match="in the mode page_sampling only") as refused:
        vm.start(BITMAP, sample_pages_per_gib=128)

    assert (refused.value.field, refused.value.value) == ("sample_pages_per_gib", 128)
    assert vm.dirty_rate.info.status is DirtyRateStatus.UNSTARTED


def test_dirty_rings_are_refused_where_there_are_none() -> None:
    with pytest.raises(InvalidDirtyRateError, match="only where the VM has dirty rings") as refused:
        Vm().start(DirtyRateMode.DIRTY_RING)

    assert (refused.value.field, refused.value.value) == ("mode", "dirty_ring")


def test_a_second_measurement_is_refused_and_the_first_goes_on() -> None:
    vm = Vm()
    vm.start(BITMAP)

    with pytest.raises(DirtyRateMeasuringError, match="already being measured"):
        vm.start(SAMPLING)

    vm.dirty_rate.run(vm.machine)
    assert vm.dirty_rate.info.dirty_rate == 64


def test_a_get_that_fails_at_the_beginning_refuses_it_and_leaves_no_log() -> None:
    vm = Vm()
    vm.machine.perform(AddCopyToUser(times=1))

    with pytest.raises(CopyToUserError):
        vm.start(BITMAP)

    assert not vm.machine.memslot(0).is_logging
    assert vm.measured(BITMAP).dirty_rate == 64


def test_a_get_that_fails_at_the_end_ends_it_without_a_rate() -> None:
    vm = Vm()
    vm.machine.perform(AddCopyToUser(after=1))

    info = vm.measured(BITMAP)

    assert (info.status, info.dirty_rate) == (DirtyRateStatus.MEASURED, None)
    assert info.problem is not None
    assert info.problem.code == "copy_to_user_failed"
    assert not vm.machine.memslot(0).is_logging


# Beside a migration


def test_sampling_beside_a_migration_leaves_its_report_as_it_is() -> None:
    vm, alone = Vm(rate=50_000), Vm(rate=50_000)
    converge = model.AutoConverge(initial=20)
    migration = vm.migration(auto_converge=converge, max_iterations=8)

    for index, _ in enumerate(vm.steps(migration)):
        if index == 1:
            vm.start(SAMPLING, duration_ns=123_456_789)

    assert vm.dirty_rate.info.status is DirtyRateStatus.MEASURED
    assert vm.dirty_rate.info.dirty_rate
    assert migration.report() == alone.migration(auto_converge=converge, max_iterations=8).run()


def test_it_ends_at_its_time_within_a_step_of_the_migration() -> None:
    vm = Vm(rate=1_000)
    migration = vm.migration(bandwidth_bytes_per_second=16 * MIB)

    for index, _ in enumerate(vm.steps(migration)):
        if index == 2:
            vm.start(SAMPLING, duration_ns=777 * MS)

    assert vm.dirty_rate.info.elapsed_ns == 777 * MS


@pytest.mark.parametrize("manual", [0, 1, 3])
@pytest.mark.parametrize("start_at", [1, 2, 5, 9])
def test_what_a_bitmap_takes_beside_a_migration_is_sent(manual: int, start_at: int) -> None:
    vm = Vm(rate=40_000, manual_dirty_log_protect2=manual)
    migration = vm.migration(bandwidth_bytes_per_second=256 * MIB, downtime_limit_ns=50 * MS)

    found: list[int] = []

    for index, _ in enumerate(vm.steps(migration)):
        if index >= start_at and not vm.dirty_rate.is_measuring:
            found.append(vm.dirty_rate.info.dirty_pages)
            vm.start(BITMAP, duration_ns=50 * MS)

    report = migration.report()
    assert report.status is MigrationStatus.COMPLETED
    assert report.verification.verified
    assert report.verification.lost_pages == 0
    assert len(found) > 10
    assert all(found[1:10])


def test_gets_of_the_migration_count_too() -> None:
    vm = Vm()
    migration = vm.migration(bandwidth_bytes_per_second=256 * MIB, downtime_limit_ns=50 * MS)
    passes = 0
    for index, _ in enumerate(vm.steps(migration)):
        if index == 1:
            vm.start(BITMAP, duration_ns=1_100 * MS)
        passes = migration.progress[1] if vm.dirty_rate.is_measuring else passes

    assert passes >= 1  # the log was taken in between
    assert vm.dirty_rate.info.dirty_pages == 18_022  # 1.1 s of 16,384 pages a second


def test_a_slot_that_is_logged_for_a_measurement_only_is_no_change_of_the_layout() -> None:
    vm = Vm(256 * MIB, 128 * MIB)
    vm.machine.perform(SetMemslot(slot=0, guest_phys_addr=BASE, memory_size=256 * MIB, flags=LOGS))
    migration = vm.migration(enable_logging=False)

    for index, _ in enumerate(vm.steps(migration)):
        if index == 1:
            vm.start(BITMAP, duration_ns=50 * MS)

    assert migration.status is MigrationStatus.COMPLETED
    assert vm.dirty_rate.info.status is DirtyRateStatus.MEASURED
    assert not vm.machine.memslot(1).is_logging


@pytest.mark.parametrize("mode", [SAMPLING, BITMAP])
def test_it_outlives_a_migration_that_ends_before_it(mode: DirtyRateMode) -> None:
    vm = Vm(rate=PAGES)
    migration = vm.migration(timeout_ns=100 * MS)

    for index, _ in enumerate(vm.steps(migration)):
        if index == 1:
            vm.start(mode)
    while vm.dirty_rate.is_measuring:
        vm.dirty_rate.run(vm.machine)

    assert migration.status is MigrationStatus.CANCELLED
    assert vm.dirty_rate.info.problem is None
    assert vm.dirty_rate.info.elapsed_ns == SECOND
    assert vm.dirty_rate.info.dirty_rate == 256
    assert not vm.machine.memslot(0).is_logging
    assert vm.machine.last_version is None


@pytest.mark.parametrize("mode", [SAMPLING, BITMAP])
def test_a_migration_that_begins_during_it_outlives_it(mode: DirtyRateMode) -> None:
    vm = Vm(rate=40_000)
    vm.start(mode, duration_ns=100 * MS)
    migration = vm.migration(max_iterations=4)

    for _ in vm.steps(migration):
        pass

    assert vm.dirty_rate.info.elapsed_ns == 100 * MS
    assert migration.status is MigrationStatus.COMPLETED
    assert migration.report().verification.verified
    assert not vm.machine.memslot(0).is_logging
    assert vm.machine.last_version is None


@pytest.mark.parametrize("mode", [SAMPLING, BITMAP])
def test_beside_post_copy_it_measures_the_guest_at_the_destination(mode: DirtyRateMode) -> None:
    vm = Vm(rate=40_000)
    migration = vm.migration(
        bandwidth_bytes_per_second=128 * MIB, postcopy=model.PostcopySpec(after_iterations=1)
    )

    for _ in vm.steps(migration):
        if migration.status is MigrationStatus.POSTCOPY_ACTIVE and not vm.dirty_rate.is_measuring:
            vm.start(mode, duration_ns=50 * MS)
    while vm.dirty_rate.is_measuring:
        vm.dirty_rate.run(vm.machine)

    assert vm.dirty_rate.info.dirty_rate
    assert migration.status is MigrationStatus.COMPLETED
    assert migration.report().verification.verified
    assert migration.report().verification.lost_pages == 0


def test_writes_of_bytes_that_a_migration_schedules_are_counted_and_sent() -> None:
    vm = Vm(rate=0)
    at = model.SchedulePoint(iteration=1)
    write = GuestWriteMemory(gpa_ranges=((BASE + 4095, 2),))
    migration = vm.migration(schedule=(Scheduled(at=at, action=write),))

    for index, _ in enumerate(vm.steps(migration)):
        if index == 1:
            vm.start(BITMAP, duration_ns=SECOND)
    vm.dirty_rate.run(vm.machine)

    assert vm.dirty_rate.info.dirty_pages == 2
    assert migration.report().verification.lost_pages == 0


# Without one: the next migration sends what was taken


@pytest.mark.parametrize("manual", [0, 1, 3])
def test_the_next_incremental_migration_sends_what_a_bitmap_took(manual: int) -> None:
    vm = Vm(flags=LOGS, manual_dirty_log_protect2=manual)
    vm.machine.perform(model.TrackVersions(enabled=True))
    assert vm.migration().run().status is MigrationStatus.COMPLETED
    vm.write(60_000, 1_000)  # before it, and far from what is written meanwhile

    vm.measured(BITMAP)
    report = vm.migration(full_first_pass=False).run()

    assert report.totals.sent_pages >= 1_000 + QUARTER
    assert report.verification.verified
    assert report.verification.lost_pages == 0


def test_what_the_last_get_takes_is_sent_though_manual_protect_was_on_at_the_beginning() -> None:
    vm = Vm(rate=0, flags=LOGS, manual_dirty_log_protect2=1)
    vm.start(BITMAP)
    vm.write(7, 1)
    vm.machine.perform(model.UpdateVm(manual_dirty_log_protect2=0))
    vm.dirty_rate.run(vm.machine)

    report = vm.migration(full_first_pass=False).run()

    assert vm.dirty_rate.info.dirty_pages == 1
    assert report.totals.sent_pages == 1
    assert report.verification.verified
    assert report.verification.lost_pages == 0


def test_an_incremental_migration_does_not_build_on_a_log_that_a_measurement_began() -> None:
    vm = Vm()
    vm.start(BITMAP)

    with pytest.raises(InvalidMigrationError, match="only where all slots log, 0 does not"):
        vm.migration(full_first_pass=False)
