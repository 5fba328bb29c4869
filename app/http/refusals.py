"""The refusals of each operation, for the OpenAPI document.

The model's operations declare what the machine refuses; refusals that follow from the path, the headers
or the body of an operation are derived; a table has the rest.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from hacdbs_sim.model import (
    ACTIONS,
    QUERIES,
    AddFault,
    AddWorkload,
    MigrationCommand,
    RunGuest,
    SetMemslot,
    errors,
)
from hacdbs_sim.model.problems import ProblemType
from hacdbs_sim.vmm import errors as vmm
from hacdbs_sim.wire.codec import TooManyRangesError
from hacdbs_sim.wire.problems import INVALID_REQUEST, MALFORMED_BODY, type_of

from ..service import errors as fleet
from ..service.idempotency_store import IDEMPOTENCY_KEY
from . import problems as http
from .middleware import TOKEN_FREE_PATHS
from .preconditions import IF_MATCH, IF_NONE_MATCH
from .responses import PROBLEM_MEDIA_TYPE

CODES: Final = "x-problem-codes"
"""Extension under which a documented refusal names the `code`s of its problem documents."""

_OF_OPERATIONS: Final = {each.op: each.refusals for each in (*ACTIONS, *QUERIES)}
"""What the machine refuses, as the model's actions and queries declare it."""

_ACCESSES: Final = ("guest_write", "guest_read", "host_write", "host_unmap")
_REGION: Final = (*SetMemslot.refusals, fleet.PageLimitError, fleet.StateBytesLimitError)
_WINDOW: Final = (
    errors.NoSuchMemslotError,
    errors.WindowOutsideMemslotError,
    errors.InvalidArgumentError,
)
_PARTS: Final = (*_REGION, *AddFault.refusals, *AddWorkload.refusals)
_RUN: Final = (fleet.MigrationLimitError, vmm.InvalidMigrationError)

_OF_STATE: Final = (vmm.InvalidMigrationStateError,)
"""A migration that cannot do this in its phase, or has ended."""

_TRAFFIC: Final = (fleet.TrafficLimitError, fleet.RequestTooLargeError)
"""An operation that reads a body, or makes an answer that may be long, and finds no room."""

_MAKES: Final = ("create_vm", "put_scenario", "start_migration", "start_comparison", "start_copy")
"""Operations that make something in a session, which may be reset meanwhile."""

_GIVES_UP: Final = (errors.InvalidArgumentError, fleet.StateBytesLimitError)

_OF_SERVICE: Final[Mapping[str, tuple[type[errors.KvmError], ...]]] = {
    "get_dirty_log": (TooManyRangesError, *_TRAFFIC),
    "peek_dirty_log": (TooManyRangesError, *_TRAFFIC),
    **dict.fromkeys(_ACCESSES, (errors.InvalidArgumentError,)),  # octets that are not whole words
    **dict.fromkeys(("host_discard", "hint_free"), _GIVES_UP),
    "track_versions": (fleet.StateBytesLimitError,),
    "create_session": (fleet.SessionExistsError, fleet.SessionLimitError),
    "delete_session": (fleet.DefaultSessionError,),
    "create_vm": (fleet.NoSuchSessionError, fleet.VmLimitError, *_PARTS),
    "list_events": (fleet.EventReaderLimitError,),
    "put_scenario": (
        fleet.SenselessScenarioError,
        fleet.VmLimitError,
        *_REGION,
        *AddFault.refusals,
    ),
    "get_scenario": (fleet.NoSuchScenarioError,),
    "report_scenario": (fleet.NoSuchScenarioError,),
    "delete_scenario": (fleet.NoSuchScenarioError,),
    "list_vms": (fleet.NoSuchSessionError, *_TRAFFIC),
    "set_memslot": _REGION,
    "calc_dirty_rate": (
        vmm.InvalidDirtyRateError,
        vmm.DirtyRateMeasuringError,
        fleet.StateBytesLimitError,
        errors.CopyToUserError,
    ),
    "start_migration": (
        fleet.NoSuchVmError,
        fleet.MigrationRunningError,
        fleet.StateBytesLimitError,
        *_RUN,
        fleet.NoSuchSessionError,
        fleet.VmLimitError,
    ),
    "update_migration": (*_OF_STATE, vmm.InvalidMigrationError),
    **{f"{command.value}_migration": _OF_STATE for command in MigrationCommand},
    "list_migrations": (fleet.NoSuchSessionError,),
    "start_comparison": (fleet.NoSuchSessionError, *_RUN, *_PARTS),
    "list_comparisons": (fleet.NoSuchSessionError,),
    "create_copy": (fleet.NoSuchCopyError, fleet.CopyLimitError, fleet.StateBytesLimitError),
    "receive_copy": (*_WINDOW, *RunGuest.refusals, fleet.StateBytesLimitError),
    "verify_copy": _WINDOW,
    "start_copy": (fleet.NoSuchSessionError, fleet.VmLimitError, fleet.StateBytesLimitError),
    "add_fault": (fleet.FaultLimitError, fleet.StateBytesLimitError),
    "add_workload": (fleet.WorkloadLimitError, fleet.StateBytesLimitError),
}
"""What the service adds, by operation id, beside the names in its path."""

_BY_ANY_BACKEND: Final = (
    "get_vm",
    "delete_vm",
    "list_memslots",
    "get_memslot",
    "list_faults",
    "list_workloads",
    "get_clock",
    "query_dirty_rate",
    "run_batch",
    "list_copies",
    "get_copy",
    "delete_copy",
    "receive_copy",
    "verify_copy",
    "start_copy",
)
"""Operations on a VM that each backend has."""

_ON_HOST_KVM: Final = (
    *_ACCESSES,
    "get_dirty_log",
    "clear_dirty_log",
    "update_vm",
    "set_memslot",
    "delete_memslot",
)
"""Operations that the host's kernel performs, where a VM is one of its own."""

_MAKES_VMS: Final = ("create_vm", "put_scenario", "start_comparison")

_NAMED_IN_PATH: Final[Mapping[str, ProblemType]] = {
    "{vm_id}": type_of(fleet.NoSuchVmError),
    "{session_id}": type_of(fleet.NoSuchSessionError),
    "{migration_id}": type_of(fleet.NoSuchMigrationError),
    "{comparison_id}": type_of(fleet.NoSuchComparisonError),
    "{copy_id}": type_of(fleet.NoSuchCopyError),
    "{code}": http.NO_SUCH_PATH,
    "{name}": type_of(fleet.NoSuchScenarioError),
}
_OF_HEADERS: Final[Mapping[str, tuple[ProblemType, ...]]] = {
    IDEMPOTENCY_KEY: (
        http.BODY_TOO_LARGE,  # with a key, the body is read whether the operation has one or not
        type_of(fleet.IdempotencyKeyReusedError),
        type_of(fleet.IdempotencyKeyInFlightError),
        type_of(fleet.IdempotencyKeyLimitError),
        type_of(fleet.AnswerNotKeptError),
        *map(type_of, _TRAFFIC),
    ),
    IF_MATCH: (http.PRECONDITION_FAILED,),
    IF_NONE_MATCH: (http.PRECONDITION_FAILED,),
}
"""The refusals of each header, apart from its syntax."""

_OF_BODIES: Final = (
    MALFORMED_BODY,
    http.BODY_TOO_LARGE,
    http.UNSUPPORTED_MEDIA_TYPE,
    *map(type_of, _TRAFFIC),
)

_HEADERS: Final[Mapping[int, Mapping[str, str]]] = {
    http.UNAUTHORIZED.status: {"WWW-Authenticate": "The scheme to use: Bearer."},
    http.UNSUPPORTED_MEDIA_TYPE.status: {
        "Accept-Post": "The media types that the operation reads."
    },
}
"""The headers of a refusal of each status, and their descriptions."""


def refusals_of(path: str, operation: Mapping[str, Any]) -> frozenset[ProblemType]:
    """Return the refusals of an operation of the document; `path` is its template."""
    operation_id = operation["operationId"]
    found = {http.BAD_REQUEST, http.HOST_NOT_ALLOWED, http.ORIGIN_NOT_ALLOWED, INVALID_REQUEST}
    for table in (_OF_OPERATIONS, _OF_SERVICE):
        found.update(map(type_of, table.get(operation_id, ())))
    found.update(problem for name, problem in _NAMED_IN_PATH.items() if name in path)
    for parameter in operation.get("parameters", ()):
        found.update(_OF_HEADERS.get(parameter["name"], ()))
    found.update(type_of(error) for error in _of_backends(path, operation_id))
    if "requestBody" in operation:
        found.update(_OF_BODIES)
    if path not in TOKEN_FREE_PATHS:
        found.add(http.UNAUTHORIZED)
    if operation_id in _MAKES:
        found.add(type_of(fleet.SessionResetError))
    if operation_id == "get_readyz":
        found.add(http.NOT_READY)
    return frozenset(found)


def _of_backends(path: str, operation_id: str) -> Iterator[type[errors.KvmError]]:
    """List what an operation is refused with because of the VM's backend."""
    if operation_id in _MAKES_VMS:
        yield errors.BackendUnavailableError
    makes_or_migrates = operation_id in _MAKES_VMS or operation_id == "start_migration"
    if makes_or_migrates or ("{vm_id}" in path and operation_id not in _BY_ANY_BACKEND):
        yield errors.NotSupportedByBackendError
    if operation_id in (*_MAKES_VMS, *_ON_HOST_KVM):
        yield errors.HostKernelError


def responses_of(path: str, operation: Mapping[str, Any]) -> dict[str, Any]:
    """Describe the refusals of an operation, by status."""
    codes: dict[int, list[str]] = {}
    for problem in refusals_of(path, operation):
        codes.setdefault(problem.status, []).append(problem.code)
    return {str(status): _response(status, sorted(codes[status])) for status in sorted(codes)}


def _response(status: int, codes: list[str]) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": "Refused: " + ", ".join(f"`{code}`" for code in codes) + ".",
        CODES: codes,
        "content": {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if (headers := _HEADERS.get(status)) is not None:
        response["headers"] = {
            name: {"description": description, "required": True, "schema": {"type": "string"}}
            for name, description in headers.items()
        }
    return response
