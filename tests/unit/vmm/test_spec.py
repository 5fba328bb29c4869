"""What a machine could not do is refused by name, and the machine is as it was."""

from typing import Any

import pytest

from hacdbs_sim.model import AutoConverge, ClearOrder, DeleteMemslot, SetMemslot
from hacdbs_sim.vmm import Precopy
from hacdbs_sim.vmm.errors import InvalidMigrationError
from tests.unit.vmm.source import LOGS, source, spec


@pytest.mark.parametrize(
    ("fields", "field", "value"),
    [
        ({"auto_converge": AutoConverge(initial=31, max=30)}, "auto_converge.initial", 31),
        ({"slots": (0, 7)}, "slots", 7),
        ({"slots": (0,), "enable_logging": False}, "slots", 0),
        ({"enable_logging": False}, "slots", 0),
    ],
)
def test_it_is_refused_with_field_bound_and_value(
    fields: dict[str, Any], field: str, value: int
) -> None:
    machine = source()

    with pytest.raises(InvalidMigrationError) as refused:
        Precopy(machine, spec(**fields))

    assert (refused.value.field, refused.value.value) == (field, value)
    assert refused.value.bound is not None
    assert machine.memslot(0).dirty_count is None
    assert machine.last_version is None


def test_a_clear_after_the_copy_needs_manual_protect() -> None:
    with pytest.raises(InvalidMigrationError, match="clear_order") as refused:
        Precopy(source(manual=0), spec(clear_order=ClearOrder.AFTER_COPY))

    assert refused.value.field == "clear_order"


def test_a_machine_without_slots_has_nothing_to_migrate() -> None:
    machine = source(writes_per_second=0)
    machine.perform(DeleteMemslot(slot=0))

    with pytest.raises(InvalidMigrationError, match="no memslot"):
        Precopy(machine, spec())


def test_without_logging_of_its_own_it_takes_the_slots_that_log() -> None:
    machine = source(writes_per_second=0)
    machine.perform(SetMemslot(slot=1, guest_phys_addr=0x8000_0000, memory_size=4096, flags=LOGS))

    precopy = Precopy(machine, spec(enable_logging=False))

    assert precopy.spec.slots == (1,)


def test_slots_are_named_once_and_in_order() -> None:
    machine = source(writes_per_second=0)
    machine.perform(SetMemslot(slot=1, guest_phys_addr=0x8000_0000, memory_size=4096))

    precopy = Precopy(machine, spec(slots=(1, 0, 1)))

    assert precopy.spec.slots == (0, 1)
