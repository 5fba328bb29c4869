"""What a machine could not do is refused by name, and the machine is as it was."""

from typing import Any

import pytest

from hacdbs_sim.model import (
    AutoConverge,
    ClearOrder,
    DeleteMemslot,
    LinkEvent,
    LinkEventType,
    LinkSpec,
    Phase,
    Point,
    Scheduled,
    SchedulePoint,
    TimeoutStrategy,
)
from hacdbs_sim.vmm import LiveMigration
from hacdbs_sim.vmm.errors import InvalidMigrationError
from tests.unit.vmm.source import LOGS, quiet, slot, source, spec

DOWN = LinkSpec(events=(LinkEvent(type=LinkEventType.DOWN, at_ns=1),))
RATE = LinkSpec(
    events=(
        LinkEvent(type=LinkEventType.FAILURE, at_ns=1),
        LinkEvent(type=LinkEventType.RATE, at_ns=1),
    )
)
LATE = SchedulePoint(phase=Phase.ACTIVE, point=Point.AFTER_LAST_GET)


@pytest.mark.parametrize(
    ("fields", "field", "value"),
    [
        ({"auto_converge": AutoConverge(initial=31, max=30)}, "auto_converge.initial", 31),
        ({"slots": (0, 7)}, "slots", 7),
        ({"slots": (0,), "enable_logging": False}, "slots", 0),
        ({"enable_logging": False}, "slots", None),
        ({"full_first_pass": False}, "full_first_pass", False),
        ({"timeout_strategy": TimeoutStrategy.POSTCOPY}, "timeout_strategy", "postcopy"),
        ({"link": DOWN}, "link.events.0.duration_ns", None),
        ({"link": RATE}, "link.events.1.bytes_per_second", None),
        ({"schedule": (Scheduled(iteration=1),)}, "schedule.0", None),
    ],
)
def test_it_is_refused_with_field_bound_and_value(
    fields: dict[str, Any], field: str, value: object
) -> None:
    machine = source()

    with pytest.raises(InvalidMigrationError) as refused:
        LiveMigration(machine, spec(**fields))

    assert (refused.value.field, refused.value.value) == (field, value)
    assert refused.value.bound is not None
    assert machine.memslot(0).dirty_count is None
    assert machine.last_version is None


def test_a_point_after_the_last_get_is_of_the_phase_device_only() -> None:
    items = (Scheduled(at=LATE, action=DeleteMemslot(slot=0)),)

    with pytest.raises(InvalidMigrationError, match="after_last_get") as refused:
        LiveMigration(source(), spec(schedule=items))

    assert refused.value.field == "schedule.0.at.point"


def test_a_clear_after_the_copy_needs_manual_protect() -> None:
    with pytest.raises(InvalidMigrationError, match="clear_order") as refused:
        LiveMigration(source(manual=0), spec(clear_order=ClearOrder.AFTER_COPY))

    assert refused.value.field == "clear_order"


def test_a_machine_without_slots_has_nothing_to_migrate() -> None:
    machine = quiet()
    machine.perform(DeleteMemslot(slot=0))

    with pytest.raises(
        InvalidMigrationError, match="has no memslot, so there is nothing to migrate"
    ):
        LiveMigration(machine, spec())


def test_without_logging_of_its_own_it_takes_the_slots_that_log() -> None:
    machine = quiet()
    machine.perform(slot(1, 1, flags=LOGS))

    migration = LiveMigration(machine, spec(enable_logging=False))

    assert migration.spec.slots == (1,)


def test_slots_are_named_once_and_in_order() -> None:
    machine = quiet()
    machine.perform(slot(1, 1))

    migration = LiveMigration(machine, spec(slots=(1, 0, 1)))

    assert migration.spec.slots == (0, 1)
