"""Errors that the fleet raises, beside those of the simulated KVM."""

from hacdbs_sim.model.errors import KvmError


class FleetError(KvmError):
    """An error of the fleet: it does not come from an ioctl, so it has no errno."""


class NoSuchVmError(FleetError):
    """No VM of that id lives; it may have been deleted, or reset with its session."""

    code = "no_such_vm"
    title = "No such VM"


class NoSuchSessionError(FleetError):
    """No session of that id exists."""

    code = "no_such_session"


class SessionExistsError(FleetError):
    """A session of that id exists already."""

    code = "session_exists"
    title = "The session exists"


class DefaultSessionError(FleetError):
    """The session `default` always exists; it can be reset, not deleted."""

    code = "default_session"
    title = "The default session stays"


class SessionLimitError(FleetError):
    """The service holds as many sessions as it takes."""

    code = "session_limit"
    title = "Too many sessions"


class VmLimitError(FleetError):
    """The service holds as many VMs as HACDBS_MAX_VMS allows."""

    code = "vm_limit"
    title = "Too many VMs"


class PageLimitError(FleetError):
    """The VM's slots would hold more pages than HACDBS_MAX_PAGES_PER_VM allows."""

    code = "page_limit"
    title = "Too many pages"


class StateBytesLimitError(FleetError):
    """The planes and bitmaps of all VMs would exceed HACDBS_MAX_STATE_BYTES."""

    code = "state_bytes_limit"
    title = "Too many bytes of state"


class FaultLimitError(FleetError):
    """The VM has as many armed faults as one VM takes."""

    code = "fault_limit"
    title = "Too many faults"


class WorkloadLimitError(FleetError):
    """The VM has as many workloads as one VM takes."""

    code = "workload_limit"
    title = "Too many workloads"


class EventReaderLimitError(FleetError):
    """As many callers wait for events as the service takes."""

    code = "event_reader_limit"
    title = "Too many readers of events"


class NoSuchMigrationError(FleetError):
    """No migration of that id is kept; it may have gone with its session, or for newer ones."""

    code = "no_such_migration"


class NoSuchComparisonError(FleetError):
    """No comparison of that id is kept; it may have gone with its session, or for newer ones."""

    code = "no_such_comparison"


class NoSuchCopyError(FleetError):
    """The VM has no copy of that id."""

    code = "no_such_copy"


class CopyLimitError(FleetError):
    """The VM has as many copies as one VM takes."""

    code = "copy_limit"
    title = "Too many copies"


class MigrationRunningError(FleetError):
    """The VM is being migrated: one migration at a time."""

    code = "migration_running"
    title = "The VM is being migrated"


class MigrationLimitError(FleetError):
    """As many migrations and comparisons run as the service takes."""

    code = "migration_limit"
    title = "Too many migrations"


class NoSuchScenarioError(FleetError):
    """The session has no scenario, or no builtin scenario has that name."""

    code = "no_such_scenario"


class SenselessScenarioError(FleetError):
    """The scenario names a VM that it does not have, or two by one key."""

    code = "senseless_scenario"
    title = "The scenario makes no sense"


class IdempotencyKeyReusedError(FleetError):
    """The Idempotency-Key has served another request."""

    code = "idempotency_key_reused"
    title = "The idempotency key has served another request"
    status = 422


class IdempotencyKeyInFlightError(FleetError):
    """The first request with this Idempotency-Key is still being served."""

    code = "idempotency_key_in_flight"
    title = "The first request is in flight"


class IdempotencyKeyLimitError(FleetError):
    """There is no room to keep one more answer for retries."""

    code = "idempotency_key_limit"
    title = "Too many answers to keep"


class AnswerNotKeptError(FleetError):
    """The first request with this Idempotency-Key was served; its answer was too large to keep."""

    code = "answer_not_kept"
    title = "The answer was not kept"


class SetupRefusedError(Exception):
    """A part of a VM to be made was refused; the cause is the refusal.

    Args:
        part: `memslots`, `faults` or `workloads`.
        index: Which of them, from 0.
        cause: Why.
    """

    def __init__(self, part: str, index: int, cause: KvmError) -> None:
        super().__init__(f"{part}[{index}]: {cause.detail}")
        self.part = part
        self.index = index
        self.cause = cause
