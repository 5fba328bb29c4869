"""What one side is at present, and the events that report its changes."""

import time
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from hacdbs_sim.qmp.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

Event: TypeAlias = dict[str, Any]


class RunState(StrEnum):
    """QMP's RunState, as far as migrations have it."""

    RUNNING = "running"
    PAUSED = "paused"
    INMIGRATE = "inmigrate"
    FINISH_MIGRATE = "finish-migrate"
    POSTMIGRATE = "postmigrate"


class Status(StrEnum):
    """QMP's MigrationStatus."""

    NONE = "none"
    SETUP = "setup"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    ACTIVE = "active"
    POSTCOPY_ACTIVE = "postcopy-active"
    POSTCOPY_PAUSED = "postcopy-paused"
    POSTCOPY_RECOVER_SETUP = "postcopy-recover-setup"
    POSTCOPY_RECOVER = "postcopy-recover"
    COMPLETED = "completed"
    FAILED = "failed"
    COLO = "colo"
    PRE_SWITCHOVER = "pre-switchover"
    DEVICE = "device"
    WAIT_UNPLUG = "wait-unplug"

    @property
    def is_running(self) -> bool:
        """Whether a migration goes on."""
        return self not in _AT_REST

    @property
    def is_postcopy(self) -> bool:
        """Whether the guest runs at the destination, and pages are missing there."""
        return self.value.startswith("postcopy")


_AT_REST: Final = frozenset({Status.NONE, Status.CANCELLED, Status.COMPLETED, Status.FAILED})


class State:
    """What one side is.

    Args:
        run_state: At first.

    Attributes:
        run_state: Whether its guest runs, or why not.
        settings: The capabilities and parameters of its migrations.
        listeners: Called with each event.
    """

    def __init__(self, run_state: RunState) -> None:
        self.run_state = run_state
        self.settings = Settings()
        self.listeners: list[Callable[[Event], None]] = []

    def emit(self, name: str, data: Event | None = None) -> None:
        """Report an event now."""
        microseconds = time.time_ns() // 1_000
        seconds, rest = divmod(microseconds, 1_000_000)
        event: Event = {
            "timestamp": {"seconds": seconds, "microseconds": rest},
            "event": name,
            **({} if data is None else {"data": data}),
        }
        for listener in tuple(self.listeners):
            listener(event)

    def emit_status(self, status: Status) -> None:
        """Report that a migration has another status, if the capability `events` is set."""
        if self.settings.capabilities["events"]:
            self.emit("MIGRATION", {"status": status.value})

    def emit_pass(self, number: int) -> None:
        """Report that a pass begins, if the capability `events` is set."""
        if self.settings.capabilities["events"]:
            self.emit("MIGRATION_PASS", {"pass": number})

    def stop(self, run_state: RunState) -> None:
        """Stop the guest, and report it."""
        self.run_state = run_state
        self.emit("STOP")

    def resume(self) -> None:
        """Let the guest run, and report it."""
        self.run_state = RunState.RUNNING
        self.emit("RESUME")
