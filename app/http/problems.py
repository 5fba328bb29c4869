"""Problem documents (RFC 9457): the only place that knows both KvmError and HTTP status.

A refusal of the core or the fleet finds its row by its class; a refusal of HTTP itself is a
`Refusal` that carries its row. docs/errors.md has one section per code.
"""

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Final
from urllib.parse import quote

from hacdbs_sim.model import errors as kvm
from hacdbs_sim.model.errors import Errno, KvmError
from hacdbs_sim.vmm import errors as vmm

from ..service import errors as fleet
from ..service.idempotency_store import IDEMPOTENCY_KEY
from .codec import BatchAnswerLimitError, TooManyRangesError
from .schemas.problem import Place, ProblemErrorOut, ProblemOut

MAX_VALUE_CHARS: Final = 64
MAX_SHOWN_BITS: Final = 256
MAX_EXACT: Final = (1 << 53) - 1
"""Integers beyond are shown as text: many clients would round them."""

MAX_ERRORS: Final = 20
"""The most faults of one request that a problem lists."""

IOCTLS: Final[Mapping[str, str]] = {
    "set_memslot": "KVM_SET_USER_MEMORY_REGION",
    "delete_memslot": "KVM_SET_USER_MEMORY_REGION",
    "get_dirty_log": "KVM_GET_DIRTY_LOG",
    "clear_dirty_log": "KVM_CLEAR_DIRTY_LOG",
    "update_vm": "KVM_ENABLE_CAP",
}
"""Operations that stand for an ioctl, by operation id."""


@dataclass(frozen=True, slots=True)
class ProblemType:
    """A kind of refusal."""

    code: str
    status: int
    title: str
    meaning: str

    @property
    def uri(self) -> str:
        """Value of `type`: where the meaning is served."""
        return f"/problems/{self.code}"


_KVM_STATUS: Final[Mapping[type[KvmError], tuple[int, str]]] = {
    kvm.InvalidArgumentError: (409, "Invalid argument"),
    kvm.MemslotChangedError: (409, "The memslot cannot change so"),
    kvm.MemslotOverlapError: (409, "The memslots overlap"),
    kvm.BeyondIpaSpaceError: (409, "Beyond the IPA space"),
    kvm.NoSuchMemslotError: (404, "No such memslot"),
    kvm.NoDirtyLogError: (404, "No dirty log"),
    kvm.WindowOutsideMemslotError: (409, "The window leaves the memslot"),
    kvm.CopyToUserError: (409, "Copy to userspace failed"),
    kvm.MemslotsPresentError: (409, "Memslots are present"),
    kvm.LastCpuError: (409, "The last online CPU"),
    kvm.NoSuchCpuError: (404, "No such CPU"),
    kvm.NoSuchVcpuError: (404, "No such vCPU"),
    kvm.NoSuchFaultError: (404, "No such fault"),
    kvm.GfnBeyondIpaSpaceError: (409, "A gfn beyond the IPA space"),
    kvm.SenselessFaultError: (409, "The fault makes no sense"),
    kvm.NoSuchWorkloadError: (404, "No such workload"),
    kvm.InvalidWorkloadError: (409, "The workload makes no sense"),
    kvm.TooManyWritesError: (409, "Too many writes"),
    fleet.NoSuchVmError: (404, "No such VM"),
    fleet.NoSuchSessionError: (404, "No such session"),
    fleet.SessionExistsError: (409, "The session exists"),
    fleet.DefaultSessionError: (409, "The default session stays"),
    fleet.SessionLimitError: (409, "Too many sessions"),
    fleet.VmLimitError: (409, "Too many VMs"),
    fleet.PageLimitError: (409, "Too many pages"),
    fleet.StateBytesLimitError: (409, "Too many bytes of state"),
    fleet.FaultLimitError: (409, "Too many faults"),
    fleet.WorkloadLimitError: (409, "Too many workloads"),
    fleet.EventReaderLimitError: (409, "Too many readers of events"),
    fleet.NoSuchMigrationError: (404, "No such migration"),
    fleet.NoSuchComparisonError: (404, "No such comparison"),
    fleet.MigrationRunningError: (409, "The VM is being migrated"),
    fleet.MigrationLimitError: (409, "Too many migrations"),
    vmm.InvalidMigrationError: (409, "The migration makes no sense"),
    vmm.SlotChangedError: (409, "A slot changed while it was migrated"),
    fleet.NoSuchScenarioError: (404, "No such scenario"),
    fleet.SenselessScenarioError: (409, "The scenario makes no sense"),
    fleet.IdempotencyKeyReusedError: (422, "The idempotency key has served another request"),
    fleet.IdempotencyKeyInFlightError: (409, "The first request is in flight"),
    fleet.IdempotencyKeyLimitError: (409, "Too many answers to keep"),
    fleet.AnswerNotKeptError: (409, "The answer was not kept"),
    BatchAnswerLimitError: (409, "The batch's answer is too large"),
    TooManyRangesError: (409, "Too many ranges"),
}

KVM_PROBLEMS: Final[Mapping[type[KvmError], ProblemType]] = {
    error: ProblemType(error.code, status, title, inspect.getdoc(error) or "")
    for error, (status, title) in _KVM_STATUS.items()
}

MALFORMED_BODY: Final = ProblemType(
    "malformed_body",
    400,
    "The body is not JSON",
    "Malformed JSON, NaN or Infinity, nested too deep, a lone surrogate, or not UTF-8.",
)
HOST_NOT_ALLOWED: Final = ProblemType(
    "host_not_allowed",
    400,
    "Host not allowed",
    "The Host header names a host that HACDBS_ALLOWED_HOSTS does not list.",
)
ORIGIN_NOT_ALLOWED: Final = ProblemType(
    "origin_not_allowed",
    403,
    "Origin not allowed",
    "A browser sent the request from a page of another origin.",
)
UNAUTHORIZED: Final = ProblemType(
    "unauthorized",
    401,
    "Unauthorized",
    "The service asks for a bearer token, and this one is missing or wrong.",
)
NO_SUCH_PATH: Final = ProblemType(
    "no_such_path", 404, "No such path", "Nothing is served at this path; `/` lists where to start."
)
METHOD_NOT_ALLOWED: Final = ProblemType(
    "method_not_allowed",
    405,
    "Method not allowed",
    "The path has other methods; the Allow header names them.",
)
NOT_READY: Final = ProblemType(
    "not_ready", 409, "Not ready", "The service is stopping and takes no new work."
)
PRECONDITION_FAILED: Final = ProblemType(
    "precondition_failed",
    412,
    "Precondition failed",
    "If-Match or If-None-Match does not hold: somebody else has changed the VM or the slot.",
)
BODY_TOO_LARGE: Final = ProblemType(
    "body_too_large",
    413,
    "The body is too large",
    "The request's body is larger than HACDBS_MAX_BODY_BYTES, or than its operation could need.",
)
UNSUPPORTED_MEDIA_TYPE: Final = ProblemType(
    "unsupported_media_type",
    415,
    "Unsupported media type",
    "The Content-Type is missing, or not one that the operation reads; Accept-Post names those.",
)
INVALID_REQUEST: Final = ProblemType(
    "invalid_request",
    422,
    "The request does not fit the schema",
    "A parameter or a field of the body that the published schema refuses; `errors` names each.",
)
BAD_REQUEST: Final = ProblemType(
    "bad_request", 400, "Bad request", "The request could not be understood as HTTP."
)
INTERNAL_ERROR: Final = ProblemType(
    "internal_error",
    500,
    "Internal error",
    "A defect of the service; the log has its traceback under the request's id.",
)

PROBLEMS: Final[Mapping[str, ProblemType]] = {
    problem.code: problem
    for problem in (
        *KVM_PROBLEMS.values(),
        MALFORMED_BODY,
        BAD_REQUEST,
        HOST_NOT_ALLOWED,
        ORIGIN_NOT_ALLOWED,
        UNAUTHORIZED,
        NO_SUCH_PATH,
        METHOD_NOT_ALLOWED,
        NOT_READY,
        PRECONDITION_FAILED,
        BODY_TOO_LARGE,
        UNSUPPORTED_MEDIA_TYPE,
        INVALID_REQUEST,
        INTERNAL_ERROR,
    )
}


@dataclass(slots=True)
class Refusal(Exception):  # noqa: N818 - named for what it is; it is no error of ours
    """A refusal of HTTP itself: media type, schema, authority, path."""

    problem: ProblemType
    detail: str
    errors: tuple[ProblemErrorOut, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


_HEADERS: Final = frozenset({IDEMPOTENCY_KEY})
"""Headers that a refusal of the fleet can be about."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where a refusal happened: the path, the operation, and the names its URL carried."""

    path: str
    operation_id: str | None = None
    path_names: frozenset[str] = frozenset()
    query_names: frozenset[str] = frozenset()
    takes_body: bool = True
    body_pointer: str = ""
    """Pointer of the body's part that stands for the operation: `/actions/3` in a batch."""

    def place(self, name: str) -> tuple[Place, str]:
        """Find where an argument of this name was given."""
        if name in _HEADERS:
            return "header", name
        pointer = f"{self.body_pointer}/{name.replace('.', '/')}"
        if self.body_pointer:
            return "body", pointer
        if name in self.path_names:
            return "path", name
        if name in self.query_names or not self.takes_body:
            return "query", name
        return "body", pointer


def shown(
    value: object, max_chars: int | None = MAX_VALUE_CHARS
) -> int | float | bool | str | None:
    """Give a value as a problem shows it: short, exact, and always valid JSON."""
    match value:
        case bool() | None:
            return value
        case int() if abs(value) <= MAX_EXACT:
            return value
        case float() if isfinite(value):
            return value
        case _:
            # A lone surrogate (of a URL) cannot be encoded.
            return _text_of(value)[:max_chars].encode("utf-8", "replace").decode("utf-8")


def _text_of(value: object) -> str:
    match value:
        case dict():
            return "an object"
        case list() | tuple():
            return "an array"
        case int() if value.bit_length() > MAX_SHOWN_BITS:
            return "a longer integer"
        case _:
            return str(value)


def error_at(
    place: Place, pointer: str, detail: str, *, bound: object = None, value: object = None
) -> ProblemErrorOut:
    """Describe one part of the request at fault."""
    return {
        "in": place,
        "pointer": pointer,
        "detail": detail,
        "bound": shown(bound, None),
        "value": shown(value),
    }


def document(
    problem: ProblemType,
    detail: str,
    path: str,
    errors: Iterable[ProblemErrorOut] = (),
) -> ProblemOut:
    """Make a problem document."""
    out: ProblemOut = {
        "type": problem.uri,
        "title": problem.title,
        "status": problem.status,
        "detail": detail,
        "instance": quote(path, safe="/-_.~!$&'()*+,;=:@", errors="replace"),
        "code": problem.code,
    }
    if listed := list(errors)[:MAX_ERRORS]:
        out["errors"] = listed
    return out


def _with_errno(out: ProblemOut, operation_id: str | None, errno: Errno | None) -> ProblemOut:
    ioctl = IOCTLS.get(operation_id or "")
    if errno is not None and ioctl is not None:
        out["errno"] = errno.value
        out["ioctl"] = ioctl
    return out


def kvm_document(error: KvmError, site: Site) -> ProblemOut:
    """Make the problem document of a refusal of the core or the fleet."""
    errors = []
    if error.field is not None:
        place, pointer = site.place(error.field)
        errors.append(error_at(place, pointer, error.detail, bound=error.bound, value=error.value))
    out = document(KVM_PROBLEMS[type(error)], error.detail, site.path, errors)
    return _with_errno(out, site.operation_id, error.errno)


def refusal_document(refusal: Refusal, site: Site) -> ProblemOut:
    """Make the problem document of a refusal of HTTP; a schema's refusal of an ioctl is EINVAL."""
    out = document(refusal.problem, refusal.detail, site.path, refusal.errors)
    errno = Errno.EINVAL if refusal.problem is INVALID_REQUEST else None
    return _with_errno(out, site.operation_id, errno)
