"""Memslots that change during a migration: their generation counts, not their length."""

from typing import Any, TypeVar

import pytest
from typing_extensions import override

from hacdbs_sim import model as a
from hacdbs_sim.model import (
    LayoutChange,
    MigrationStatus,
    Phase,
    Point,
    Reason,
    Scheduled,
    SchedulePoint,
)
from hacdbs_sim.vmm import LiveMigration, Report
from tests.support.machine import Machine
from tests.unit.vmm.source import (
    FIRST_GFN,
    LOGS,
    MS,
    NPAGES,
    US,
    frames,
    migrated,
    quiet,
    sent,
    slot,
    slow,
    source,
    spec,
    until,
)

T = TypeVar("T")

AT_PASS_1 = SchedulePoint(iteration=1)
OTHER = slot(1, 64)
CHANGES: dict[str, list[a.Action[Any]]] = {
    "replaced": [
        a.GuestWrite(pages=frames(5)),
        a.DeleteMemslot(slot=0),
        slot(0, NPAGES, flags=LOGS),
    ],
    "replaced by another size": [a.DeleteMemslot(slot=0), slot(0, 100)],
    "appeared": [OTHER],
    "moved": [slot(0, NPAGES, flags=LOGS, moved_by=1 << 25)],
    "went": [a.DeleteMemslot(slot=0)],
    "logging_ended": [slot(0, NPAGES)],
    "logging_ended and begun again": [slot(0, NPAGES), slot(0, NPAGES, flags=LOGS)],
}
every_change = pytest.mark.parametrize("change", list(CHANGES))


def changed(change: str, how: LayoutChange, at: SchedulePoint = AT_PASS_1, **fields: Any) -> Report:
    schedule = tuple(Scheduled(at=at, action=action) for action in CHANGES[change])
    return migrated(source(flags=LOGS), on_layout_change=how, schedule=schedule, **fields)


def changes_of(report: Report) -> list[tuple[int, str]]:
    return [(each.slot, each.change) for each in report.changed_slots]


@every_change
@pytest.mark.parametrize("full", [True, False])
def test_by_default_a_change_ends_the_migration_and_nothing_of_the_slot_is_proved(
    change: str, *, full: bool
) -> None:
    schedule = tuple(Scheduled(iteration=1, action=action) for action in CHANGES[change])

    report = migrated(source(flags=LOGS), full_first_pass=full, schedule=schedule)

    number = 1 if change == "appeared" else 0
    assert (report.status, report.reason) == (MigrationStatus.FAILED, Reason.MEMORY_LAYOUT_CHANGED)
    assert report.refused is not None
    assert report.refused.code == "memory_layout_changed"
    assert f"slot {number}" in report.refused.detail
    assert changes_of(report) == [(number, change.split(maxsplit=1)[0])]
    assert not report.verification.verified
    assert report.verification.unproved_slots == (number,)
    assert all(each.problem is None for each in report.scheduled)


@every_change
@pytest.mark.parametrize("full", [True, False])
def test_a_change_that_is_followed_is_proved(change: str, *, full: bool) -> None:
    schedule = tuple(Scheduled(iteration=1, action=action) for action in CHANGES[change])
    machine = source(flags=LOGS)

    report = migrated(
        machine,
        full_first_pass=full,
        on_layout_change=LayoutChange.FOLLOW,
        schedule=schedule,
    )

    assert report.status is MigrationStatus.COMPLETED
    assert len(report.changed_slots) == 1
    assert report.verification.verified
    assert report.verification.lost_pages == 0
    assert report.verification.current_pages == sum(each.npages for each in machine.memslots())


@pytest.mark.parametrize(
    ("change", "pages"),
    [
        ("replaced", NPAGES),
        ("replaced by another size", 100),
        ("appeared", 64),
        ("went", 0),
        ("moved", 0),
        ("logging_ended", NPAGES),
    ],
)
def test_what_is_new_is_sent_whole_and_what_moved_is_not_sent_again(
    change: str, pages: int
) -> None:
    schedule = tuple(Scheduled(iteration=1, action=action) for action in CHANGES[change])

    report = migrated(quiet(), on_layout_change=LayoutChange.FOLLOW, schedule=schedule)

    assert sum(sent(report)) == NPAGES + pages


@every_change
def test_a_change_that_is_ignored_proves_nothing_of_the_slot(change: str) -> None:
    report = changed(change, LayoutChange.IGNORE)

    assert report.status is MigrationStatus.COMPLETED
    assert len(report.changed_slots) == 1
    assert not report.verification.verified
    assert report.verification.unproved_slots == (report.changed_slots[0].slot,)


@every_change
@pytest.mark.parametrize("how", list(LayoutChange))
@pytest.mark.parametrize(
    "at",
    [
        SchedulePoint(phase=Phase.SETUP),
        SchedulePoint(phase=Phase.SETUP, point=Point.END),
        SchedulePoint(iteration=0),
        SchedulePoint(ns=1),
        SchedulePoint(ns=4_096 * US - 1),
        SchedulePoint(phase=Phase.ACTIVE, point=Point.END),
        SchedulePoint(phase=Phase.DEVICE),
        SchedulePoint(phase=Phase.DEVICE, point=Point.AFTER_LAST_GET),
        SchedulePoint(phase=Phase.DEVICE, point=Point.END),
    ],
    ids=repr,
)
@pytest.mark.parametrize("postcopy", [None, a.PostcopySpec(after_iterations=1)])
def test_at_whatever_moment_it_is_noticed_and_never_proved_by_mistake(
    change: str, how: LayoutChange, at: SchedulePoint, postcopy: a.PostcopySpec | None
) -> None:
    report = changed(change, how, at, postcopy=postcopy)

    proof = report.verification
    assert len(report.changed_slots) == 1
    match how:
        case LayoutChange.FAIL:
            assert report.reason is Reason.MEMORY_LAYOUT_CHANGED
            assert not proof.verified
        case LayoutChange.IGNORE:
            assert report.status is MigrationStatus.COMPLETED
            assert not proof.verified
        case LayoutChange.FOLLOW:
            assert report.status is MigrationStatus.COMPLETED
            assert proof.verified
            assert proof.lost_pages in (0, 64, 100, NPAGES)


def test_a_slot_that_is_named_and_comes_back_later_is_followed_too() -> None:
    schedule = (
        Scheduled(iteration=1, action=a.DeleteMemslot(slot=0)),
        Scheduled(iteration=2, action=slot(0, 100)),
    )
    machine = source(writes_per_second=0)
    machine.perform(slot(1, 10))
    machine.perform(a.AddSequential(slot=1, writes_per_second=250_000))

    report = migrated(
        machine, slots=(0, 1), on_layout_change=LayoutChange.FOLLOW, schedule=schedule
    )

    assert changes_of(report) == [(0, "went"), (0, "appeared")]
    assert report.verification.verified
    assert report.verification.current_pages == 110


@pytest.mark.parametrize("change", ["appeared", "replaced by another size"])
@pytest.mark.parametrize("point", [Point.BEGIN, Point.END])
def test_a_slot_that_is_new_in_the_setup_and_followed_logs_for_the_migration_only(
    change: str, point: Point
) -> None:
    at = SchedulePoint(phase=Phase.SETUP, point=point)
    schedule = tuple(Scheduled(at=at, action=action) for action in CHANGES[change])
    machine = source()

    report = migrated(machine, on_layout_change=LayoutChange.FOLLOW, schedule=schedule)

    assert report.status is MigrationStatus.COMPLETED
    assert report.verification.lost_pages == 0
    assert not any(each.is_logging for each in machine.memslots())


def test_a_slot_that_is_not_named_may_appear() -> None:
    schedule = (Scheduled(iteration=1, action=OTHER),)

    report = migrated(source(), slots=(0,), schedule=schedule)

    assert report.status is MigrationStatus.COMPLETED
    assert report.verification.verified
    assert report.changed_slots == ()


@pytest.mark.parametrize(("flags", "fails"), [(0, False), (LOGS, True)])
def test_where_it_takes_the_slots_that_log_a_new_one_counts_if_it_logs(
    flags: int, *, fails: bool
) -> None:
    schedule = (Scheduled(iteration=1, action=slot(1, 64, flags=flags)),)

    report = migrated(source(flags=LOGS), enable_logging=False, schedule=schedule)

    assert (report.status is MigrationStatus.FAILED) is fails


@pytest.mark.parametrize("change", ["appeared", "replaced", "went"])
def test_a_change_before_a_cancel_is_noticed_too(change: str) -> None:
    machine = source()
    migration = LiveMigration(machine, spec(**slow()))
    until(migration, "active")
    for action in CHANGES[change]:
        machine.perform(action)

    migration.cancel()
    report = migration.run()

    assert report.status is MigrationStatus.CANCELLED
    assert len(report.changed_slots) == 1
    assert not report.verification.verified


def test_a_slot_that_goes_before_its_chunk_is_cleared_after_the_copy_is_followed() -> None:
    machine = source(writes_per_second=250, npages=1_000)
    schedule = (
        Scheduled(at=SchedulePoint(ns=500 * MS), action=a.DeleteMemslot(slot=0)),
        Scheduled(at=SchedulePoint(ns=500 * MS), action=slot(0, 500)),
    )

    report = LiveMigration(
        machine,
        spec(
            **slow(
                clear_order=a.ClearOrder.AFTER_COPY,
                on_layout_change=LayoutChange.FOLLOW,
                schedule=schedule,
            )
        ),
    ).run()

    assert report.status is MigrationStatus.COMPLETED
    assert changes_of(report) == [(0, "replaced")]


def test_versions_that_end_on_the_way_end_it_unproved() -> None:
    machine = source()
    migration = LiveMigration(machine, spec())
    until(migration, "active")

    machine.perform(a.NeedVersions(needed=False))
    report = migration.run()

    assert report.refused is not None
    assert report.refused.code == "versions_ended"
    assert not report.verification.verified


def test_versions_that_end_and_begin_again_prove_only_what_is_sent_after_that() -> None:
    """What was written in between is not known, so nothing read before is taken as current."""
    machine = source(writes_per_second=0)
    migration = LiveMigration(machine, spec(**slow()))
    until(migration, "active")
    migration.step()
    migration.step()
    assert migration.report().stats.normal > 0

    machine.perform(a.NeedVersions(needed=False))
    machine.perform(a.GetDirtyLog(slot=0))
    machine.perform(a.GuestWrite(pages=frames(0)))
    machine.perform(a.NeedVersions(needed=True))
    report = migration.run()

    assert report.verification.lost_pages > 0


def test_a_guest_frame_of_the_moved_slot_is_read_where_it_is_now() -> None:
    moved = [Scheduled(iteration=1, action=action) for action in CHANGES["moved"]]
    shifted = a.PageRanges(frames(0).first + (1 << 13), frames(0).count)
    write = Scheduled(iteration=2, action=a.GuestWrite(pages=shifted))

    report = migrated(source(), on_layout_change=LayoutChange.FOLLOW, schedule=(*moved, write))

    assert frames(0).first[0] == FIRST_GFN
    assert report.verification.verified
    assert report.verification.lost_pages == 0


def test_a_link_that_breaks_when_a_slot_has_gone_leaves_nothing_of_it_to_send() -> None:
    breaks = a.LinkEvent(type=a.LinkEventType.FAILURE, iteration=1)
    machine = quiet(npages=100)
    machine.perform(slot(1, 100))

    report = migrated(
        machine,
        on_layout_change=LayoutChange.FOLLOW,
        schedule=(Scheduled(iteration=1, action=a.DeleteMemslot(slot=1)),),
        link=a.LinkSpec(events=(breaks,)),
    )

    assert report.reason is Reason.LINK_FAILED
    assert changes_of(report) == [(1, "went")]
    assert report.remaining_pages == 0
    assert report.verification.lost_pages == 0


class Hasty(Machine):
    """A machine of which another thread deletes slot 1 as soon as somebody has listed the slots."""

    @override
    def query(self, query: a.Query[T]) -> T:
        answer = super().query(query)
        if isinstance(query, a.ListMemslots) and len(self._slots) > 1:
            self.perform(a.DeleteMemslot(slot=1))
        return answer


def test_a_slot_that_goes_while_the_slots_are_listed_is_not_migrated() -> None:
    machine = Hasty(a.VmConfig())
    machine.perform(slot(0, 100))
    machine.perform(slot(1, 100))

    report = migrated(machine)

    assert [each.slot for each in report.verification.slots] == [0]
    assert report.verification.verified
