"""Errors that the fleet raises, beside those of the simulated KVM."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from typing_extensions import override

from hacdbs_sim.model.errors import KvmError


class FleetError(KvmError, is_abstract=True):
    """An error of the fleet: it does not come from an ioctl, so it has no errno."""

    @override
    def __init_subclass__(cls, *, code: str, title: str = "", status: int = 0) -> None:
        cls.code = code
        super().__init_subclass__()
        cls.title = title or cls.title
        cls.status = status or cls.status


class NoSuchVmError(FleetError, code="no_such_vm", title="No such VM"):
    """No VM of that id lives; it may have been deleted, or reset with its session."""


class NoSuchSessionError(FleetError, code="no_such_session"):
    """No session of that id exists."""


class SessionResetError(FleetError, code="session_reset", title="The session was reset"):
    """The session was reset or deleted while the call was in flight; nothing was made."""


class SessionExistsError(FleetError, code="session_exists", title="The session exists"):
    """A session of that id exists already."""


class DefaultSessionError(FleetError, code="default_session", title="The default session stays"):
    """The session `default` always exists; it can be reset, not deleted."""


class SessionLimitError(FleetError, code="session_limit", title="Too many sessions"):
    """The service holds as many sessions as it takes."""


class VmLimitError(FleetError, code="vm_limit", title="Too many VMs"):
    """The service holds as many VMs as HACDBS_MAX_VMS allows."""


class PageLimitError(FleetError, code="page_limit", title="Too many pages"):
    """The VM's slots would hold more pages than HACDBS_MAX_PAGES_PER_VM allows."""


class StateBytesLimitError(FleetError, code="state_bytes_limit", title="Too many bytes of state"):
    """The planes and bitmaps of all VMs would exceed HACDBS_MAX_STATE_BYTES."""


class TrafficLimitError(
    FleetError, code="traffic_limit", title="Too many bytes of requests in flight"
):
    """Requests in flight hold what HACDBS_MAX_TRAFFIC_BYTES allows, and went on to while this one waited."""


class RequestTooLargeError(
    FleetError, code="request_too_large", title="The request takes too many bytes", status=413
):
    """The body, what is made of it, or the answer would exceed one request's part of HACDBS_MAX_TRAFFIC_BYTES."""


class FaultLimitError(FleetError, code="fault_limit", title="Too many faults"):
    """The VM has as many armed faults as one VM takes."""


class WorkloadLimitError(FleetError, code="workload_limit", title="Too many workloads"):
    """The VM has as many workloads as one VM takes."""


class EventReaderLimitError(
    FleetError, code="event_reader_limit", title="Too many readers of events"
):
    """As many callers wait for events as the service takes."""


class NoSuchMigrationError(FleetError, code="no_such_migration"):
    """No migration of that id is kept; it may have gone with its session, or for newer ones."""


class NoSuchComparisonError(FleetError, code="no_such_comparison"):
    """No comparison of that id is kept; it may have gone with its session, or for newer ones."""


class NoSuchCopyError(FleetError, code="no_such_copy"):
    """The VM has no copy of that id."""


class CopyLimitError(FleetError, code="copy_limit", title="Too many copies"):
    """The VM has as many copies as one VM takes."""


class MigrationRunningError(FleetError, code="migration_running", title="The VM is being migrated"):
    """The VM is being migrated: one migration at a time."""


class MigrationLimitError(FleetError, code="migration_limit", title="Too many migrations"):
    """As many migrations and comparisons run as the service takes."""


class NoSuchScenarioError(FleetError, code="no_such_scenario"):
    """The session has no scenario, or no builtin scenario has that name."""


class SenselessScenarioError(
    FleetError, code="senseless_scenario", title="The scenario makes no sense"
):
    """The scenario names a VM that it does not have, or two by one key."""


class IdempotencyKeyReusedError(
    FleetError,
    code="idempotency_key_reused",
    title="The idempotency key has served another request",
    status=422,
):
    """The Idempotency-Key has served another request."""


class IdempotencyKeyInFlightError(
    FleetError, code="idempotency_key_in_flight", title="The first request is in flight"
):
    """The first request with this Idempotency-Key is still being served."""


class IdempotencyKeyLimitError(
    FleetError, code="idempotency_key_limit", title="Too many answers to keep"
):
    """There is no room to keep one more answer for retries."""


class AnswerNotKeptError(FleetError, code="answer_not_kept", title="The answer was not kept"):
    """The first request with this Idempotency-Key was served; its answer was too large to keep."""


class SetupRefusedError(Exception):
    """A part of a VM to be made (`memslots`, `faults`, `workloads`) was refused for a cause."""

    def __init__(self, part: str, index: int, cause: KvmError) -> None:
        super().__init__(f"{part}[{index}]: {cause.detail}")
        self.part = part
        self.index = index
        self.cause = cause


@contextmanager
def within(outer_of: Callable[[str], str]) -> Generator[None]:
    """Name a refused part or field of a VM by its place in the body; `outer_of` says what it is in."""
    try:
        yield
    except SetupRefusedError as refused:
        part = f"{outer_of(refused.part)}/{refused.part}"
        raise SetupRefusedError(part, refused.index, refused.cause) from refused
    except KvmError as refused:
        if refused.field is not None:
            refused.field = f"{outer_of(refused.field).replace('/', '.')}.{refused.field}"
        raise
