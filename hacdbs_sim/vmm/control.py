"""What a migration may be asked for, and in which of its phases."""

from typing import Final

from hacdbs_sim.model import MigrationCommand, MigrationSpec, MigrationStatus, ScheduledChange
from hacdbs_sim.vmm.errors import InvalidMigrationStateError
from hacdbs_sim.vmm.spec import check_converge

_NEEDED_STATUS: Final = {
    MigrationCommand.CONTINUE: MigrationStatus.PRE_SWITCHOVER,
    MigrationCommand.PAUSE: MigrationStatus.POSTCOPY_ACTIVE,
    MigrationCommand.RESUME: MigrationStatus.POSTCOPY_PAUSED,
}
_BEFORE_POSTCOPY: Final = frozenset(
    {MigrationCommand.SWITCH_OVER, MigrationCommand.START_POSTCOPY, MigrationCommand.CANCEL}
)
"""Once the guest runs at the destination the source has no state to go on with."""

_STOPPED: Final = frozenset({MigrationStatus.PRE_SWITCHOVER, MigrationStatus.DEVICE})
_BEFORE_STOP: Final = frozenset({MigrationCommand.SWITCH_OVER, MigrationCommand.START_POSTCOPY})
"""Once the guest is stopped it is decided where it goes on."""


def check_running(status: MigrationStatus) -> None:
    """Refuse to change a migration that has ended.

    Raises:
        InvalidMigrationStateError: It has.
    """
    if status.is_final:
        raise InvalidMigrationStateError(
            f"the migration is {status.value}, nothing of it can be changed",
            field="status",
            value=status.value,
        )


def check_change(change: ScheduledChange, status: MigrationStatus, spec: MigrationSpec) -> None:
    """Refuse a change that makes no sense in a phase of a migration.

    Raises:
        InvalidMigrationStateError: It does not.
        InvalidMigrationError: A setting makes no sense.
    """
    check_running(status)
    check_converge(change.auto_converge)
    if (problem := _problem_of(change, status, spec)) is not None:
        what = "settings" if change.command is None else change.command.value
        raise InvalidMigrationStateError(
            f"{what} cannot be applied: {problem}", field="status", value=status.value
        )


def _problem_of(
    change: ScheduledChange, status: MigrationStatus, spec: MigrationSpec
) -> str | None:
    command = change.command
    needs_postcopy = change.postcopy_bandwidth_bytes_per_second is not None
    if spec.postcopy is None and (needs_postcopy or command is MigrationCommand.START_POSTCOPY):
        return "the migration was started without postcopy"
    is_late = status.is_postcopy and command in _BEFORE_POSTCOPY
    if is_late or (status in _STOPPED and command in _BEFORE_STOP):
        return f"the migration is {status.value}"
    needed = None if command is None else _NEEDED_STATUS.get(command)
    if needed is not None and status is not needed:
        return f"the migration is {status.value}, not {needed.value}"
    return None
