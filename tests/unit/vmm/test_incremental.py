"""Incremental migrations: the destination has what neither the log nor an earlier attempt names."""

from typing import Any

import numpy as np
import pytest

from hacdbs_sim import model as a
from hacdbs_sim.model import MigrationStatus, Phase, Point, Reason, Scheduled, SchedulePoint
from hacdbs_sim.vmm import LiveMigration, Report, TransferHistory
from tests.support.machine import Machine
from tests.unit.vmm.source import LOGS, MS, NPAGES, SLOW, S, frames, quiet, sent, slot, slow, spec

TAKE = a.GetDirtyLog(slot=0)
CLEAR = a.ClearDirtyLog(
    slot=0,
    pages=a.Bitmap(np.full(1, 0xFFFF_FFFF_FFFF_FFFF, np.uint64)),
    first_page=1_984,
    num_pages=64,
)


def logging(manual: int = 0, *, npages: int = NPAGES) -> Machine:
    return quiet(manual=manual, flags=LOGS, npages=npages)


def incremental(machine: Machine, history: TransferHistory | None = None, **fields: Any) -> Report:
    return LiveMigration(machine, spec(full_first_pass=False, **fields), history).run()


def lost(report: Report) -> tuple[bool, int]:
    return report.verification.verified, report.verification.lost_pages


def test_only_pages_that_the_log_names_are_sent() -> None:
    machine = logging()
    machine.perform(a.GuestWrite(pages=frames(0, 10)))

    report = incremental(machine)

    assert sum(sent(report)) == 10
    assert lost(report) == (True, 0)


@pytest.mark.parametrize(("manual", "pages"), [(0, 1), (1, 0)])
def test_a_page_whose_bit_a_failed_get_took_is_lost(manual: int, pages: int) -> None:
    machine = logging(manual, npages=1)
    machine.perform(a.AddCopyToUser())
    machine.perform(a.GuestWrite(pages=frames(0)))

    report = incremental(machine)

    assert (report.status, report.reason) == (MigrationStatus.FAILED, Reason.REFUSED)
    assert lost(report) == (True, pages)


@pytest.mark.parametrize(
    "at",
    [
        SchedulePoint(phase=Phase.SETUP),
        SchedulePoint(phase=Phase.SETUP, point=Point.END),
        SchedulePoint(phase=Phase.ACTIVE),
        SchedulePoint(iteration=0),
    ],
    ids=["setup", "end of setup", "active", "pass 0"],
)
def test_a_page_whose_bit_another_reader_takes_before_the_first_pass_is_lost(
    at: SchedulePoint,
) -> None:
    machine = logging(npages=1)
    machine.perform(a.GuestWrite(pages=frames(0)))

    report = incremental(machine, schedule=(Scheduled(at=at, action=TAKE),))

    assert report.status is MigrationStatus.COMPLETED
    assert lost(report) == (True, 1)


def cancelled_attempt(
    machine: Machine, history: TransferHistory, pages: int, **fields: Any
) -> Report:
    """Take the bits of pages, send 128 of them in a window, and cancel."""
    machine.perform(a.GuestWrite(pages=frames(0, pages)))
    return LiveMigration(
        machine, spec(**slow(full_first_pass=False, timeout_ns=50 * MS, **fields)), history
    ).run()


@pytest.mark.parametrize("manual", [0, 1])
def test_what_an_earlier_attempt_took_and_did_not_deliver_is_sent(manual: int) -> None:
    machine, history = logging(manual), TransferHistory()
    first = cancelled_attempt(machine, history, 1_000)

    second = incremental(machine, history)

    assert (first.status, sent(first)) == (MigrationStatus.CANCELLED, [128])
    assert sum(sent(second)) == 1_000 - 128
    assert lost(first) == lost(second) == (True, 0)


def test_a_page_that_an_earlier_attempt_lost_is_still_lost() -> None:
    machine, history = logging(), TransferHistory()
    machine.perform(a.AddCopyToUser())
    machine.perform(a.GuestWrite(pages=frames(7)))
    first = incremental(machine, history)
    machine.perform(a.DeleteFaults())

    second = incremental(machine, history)

    assert first.status is MigrationStatus.FAILED
    assert second.status is MigrationStatus.COMPLETED
    assert lost(first) == lost(second) == (True, 1)
    assert second.verification.slots[0].lost_ranges == ((7, 1),)


@pytest.mark.parametrize(
    ("manual", "call", "verified"),
    [(0, TAKE, False), (1, TAKE, True), (1, CLEAR, False)],
    ids=["a get", "a get that only copies", "a clear"],
)
def test_nothing_is_proved_where_somebody_took_the_log_between_two_attempts(
    manual: int, call: a.Action[Any], *, verified: bool
) -> None:
    machine, history = logging(manual), TransferHistory()
    cancelled_attempt(machine, history, 1_000)
    machine.perform(a.GuestWrite(pages=frames(2_000)))
    machine.perform(call)

    report = incremental(machine, history)

    assert report.verification.verified is verified


def test_a_get_between_two_attempts_is_counted_though_manual_protect_is_on_around_it() -> None:
    machine, history = logging(1), TransferHistory()
    cancelled_attempt(machine, history, 1_000)
    machine.perform(a.GuestWrite(pages=frames(2_000)))
    machine.perform(a.UpdateVm(manual_dirty_log_protect2=0))
    machine.perform(TAKE)
    machine.perform(a.UpdateVm(manual_dirty_log_protect2=1))

    report = incremental(machine, history)

    assert report.verification.unproved_slots == (0,)


def test_nothing_is_proved_after_an_attempt_without_a_proof() -> None:
    machine, history = logging(), TransferHistory()
    cancelled_attempt(machine, history, 1_000, verify=False)

    second = incremental(machine, history)

    assert sum(sent(second)) == 1_000 - 128
    assert second.verification.unproved_slots == (0,)


def test_a_slot_that_did_not_log_all_the_time_since_the_attempt_is_lacking_whole() -> None:
    machine, history = quiet(manual=0), TransferHistory()
    first = LiveMigration(machine, spec(**slow(timeout_ns=50 * MS)), history).run()
    machine.perform(slot(0, NPAGES, flags=LOGS))

    second = incremental(machine, history)

    assert first.status is MigrationStatus.CANCELLED
    assert sum(sent(second)) == NPAGES - 128
    assert lost(second) == (True, 128)


def test_a_slot_made_again_since_the_attempt_is_another_one_and_is_sent_whole() -> None:
    machine, history = logging(), TransferHistory()
    cancelled_attempt(machine, history, 1_000)
    machine.perform(a.DeleteMemslot(slot=0))
    machine.perform(slot(0, NPAGES, flags=LOGS))

    report = incremental(machine, history)

    assert sum(sent(report)) == NPAGES
    assert lost(report) == (True, 0)


@pytest.mark.parametrize("slots", [None, (0,)])
def test_a_slot_that_appeared_in_an_earlier_attempt_is_sent_whole(
    slots: tuple[int, ...] | None,
) -> None:
    machine, history = logging(), TransferHistory()
    appears = Scheduled(iteration=1, action=slot(1, 64, flags=LOGS))
    first = incremental(machine, history, schedule=(appears,), slots=slots)
    machine.perform(a.GuestWrite(pages=frames(0)))

    second = incremental(machine, history)

    assert first.status is (MigrationStatus.COMPLETED if slots else MigrationStatus.FAILED)
    assert sum(sent(second)) == 1 + 64
    assert lost(second) == (True, 0)


def test_a_slot_that_an_earlier_attempt_stopped_to_migrate_is_sent_whole() -> None:
    machine, history = logging(), TransferHistory()
    off_and_on = tuple(
        Scheduled(iteration=1, action=slot(0, NPAGES, flags=flags)) for flags in (0, LOGS)
    )
    cancel = Scheduled(iteration=2, set=a.ScheduledChange(command=a.MigrationCommand.CANCEL))
    machine.perform(slot(1, 64, flags=LOGS))
    machine.perform(a.AddSequential(slot=1, writes_per_second=250_000))
    first = LiveMigration(
        machine,
        spec(on_layout_change=a.LayoutChange.IGNORE, schedule=(*off_and_on, cancel)),
        history,
    ).run()
    machine.perform(a.DeleteWorkloads())

    second = incremental(machine, history)

    assert first.status is MigrationStatus.CANCELLED
    assert sum(sent(second)) >= NPAGES
    assert lost(second) == (True, 0)


def test_once_all_is_delivered_the_attempts_before_are_forgotten() -> None:
    machine, history = logging(), TransferHistory()
    cancelled_attempt(machine, history, 1_000)
    incremental(machine, history)

    third = incremental(machine, history)

    assert sum(sent(third)) == 0
    assert lost(third) == (True, 0)


@pytest.mark.parametrize("full_first_pass", [True, False])
def test_a_page_that_a_complete_migration_lost_is_still_lost(*, full_first_pass: bool) -> None:
    machine, history = logging(), TransferHistory()
    machine.perform(a.GuestWrite(pages=frames(7)))
    write = a.GuestWrite(pages=frames(9))
    schedule = tuple(Scheduled(iteration=1, action=action) for action in (write, TAKE))
    first = LiveMigration(
        machine, spec(full_first_pass=full_first_pass, schedule=schedule), history
    ).run()

    second = incremental(machine, history)
    machine.perform(write)
    third = incremental(machine, history)

    assert first.status is second.status is MigrationStatus.COMPLETED
    assert lost(first) == lost(second) == (True, 1)
    assert sum(sent(second)) == 0
    assert second.verification.slots[0].lost_ranges == ((9, 1),)
    assert lost(third) == (True, 0)


def test_nothing_is_proved_where_somebody_took_the_log_since_a_complete_migration() -> None:
    machine, history = logging(), TransferHistory()
    LiveMigration(machine, spec(), history).run()
    machine.perform(a.GuestWrite(pages=frames(9)))
    machine.perform(TAKE)

    second = incremental(machine, history)
    third = incremental(machine, history)

    assert second.verification.unproved_slots == third.verification.unproved_slots == (0,)


def test_a_full_migration_that_is_cancelled_before_its_first_step_has_delivered_nothing() -> None:
    machine, history = logging(), TransferHistory()
    machine.perform(a.GuestWrite(pages=frames(9)))
    machine.perform(TAKE)
    migration = LiveMigration(machine, spec(), history)
    migration.cancel()
    migration.run()

    report = incremental(machine, history)

    assert sum(sent(report)) == NPAGES
    assert lost(report) == (True, 0)


def test_an_incremental_migration_that_is_cancelled_before_its_first_step_changes_nothing() -> None:
    machine, history = logging(), TransferHistory()
    cancelled_attempt(machine, history, 1_000)
    migration = LiveMigration(machine, spec(full_first_pass=False), history)
    migration.cancel()
    migration.run()

    report = incremental(machine, history)

    assert sum(sent(report)) == 1_000 - 128
    assert lost(report) == (True, 0)


def test_a_destination_that_died_has_nothing_so_the_next_attempt_sends_all() -> None:
    machine, history = logging(), TransferHistory()
    dies = a.LinkEvent(type=a.LinkEventType.DESTINATION_DIES, at_ns=S)
    first = LiveMigration(
        machine,
        spec(bandwidth_bytes_per_second=SLOW, link=a.LinkSpec(events=(dies,))),
        history,
    ).run()

    second = incremental(machine, history)

    assert (first.status, first.reason) == (MigrationStatus.FAILED, Reason.DESTINATION_DIED)
    assert sum(sent(second)) == NPAGES
    assert lost(second) == (True, 0)


def test_without_a_proof_a_retry_sends_the_same_pages() -> None:
    machine, history = logging(), TransferHistory()
    cancelled_attempt(machine, history, 1_000)

    report = incremental(machine, history, verify=False)

    assert sum(sent(report)) == 1_000 - 128
    assert not report.verification.enabled


def test_nothing_is_proved_where_somebody_took_the_log_before_it_began() -> None:
    machine = logging()
    machine.perform(a.GuestWrite(pages=frames(7)))
    migration = LiveMigration(machine, spec(full_first_pass=False))
    machine.perform(TAKE)

    report = migration.run()

    assert report.status is MigrationStatus.COMPLETED
    assert report.verification.unproved_slots == (0,)
