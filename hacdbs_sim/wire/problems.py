"""Problem documents (RFC 9457) of all that can be refused: codes, titles, statuses.

A refusal of the machine carries its own code, status and title; the two of a reader are here. So
scenarios and the journal know them without HTTP; docs/errors.md has one section per code.
"""

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from hacdbs_sim.model.errors import Errno, KvmError
from hacdbs_sim.model.problems import Place, Problem, ProblemError, ProblemType
from hacdbs_sim.wire.errors import MAX_ERRORS, InvalidRequestError, MalformedBodyError, error_at


def problem_type(code: str, status: int, title: str, meaning: str) -> ProblemType:
    """Return a kind of refusal, whose meaning is served under its code."""
    return ProblemType(
        type=f"/problems/{code}", code=code, title=title, status=status, meaning=meaning
    )


MALFORMED_BODY: Final = problem_type(
    "malformed_body",
    400,
    "The body is not JSON",
    "Malformed JSON, NaN or Infinity, nested too deep, a lone surrogate, or not UTF-8.",
)
INVALID_REQUEST: Final = problem_type(
    "invalid_request",
    422,
    "The request does not fit the schema",
    "A parameter or a field of the body that the published schema refuses; `errors` names each.",
)

Refused = KvmError | InvalidRequestError | MalformedBodyError


@dataclass(frozen=True, slots=True)
class Site:
    """Where a refusal happened: the path, the operation, and the names its URL carried."""

    path: str
    """The request's path."""
    ioctl: str | None = None
    """The ioctl that the operation stands for, if any."""
    path_names: frozenset[str] = frozenset()
    """Arguments in the path."""
    query_names: frozenset[str] = frozenset()
    """Arguments in the query."""
    header_names: frozenset[str] = frozenset()
    """Arguments in headers."""
    takes_body: bool = True
    """Whether other arguments are in the body, not in the query."""
    body_pointer: str = ""
    """Pointer of the body's part that stands for the operation: `/actions/3` in a batch."""

    def place(self, name: str) -> tuple[Place, str]:
        """Find where an argument of this name was given."""
        if name in self.header_names:
            return "header", name
        pointer = f"{self.body_pointer}/{name.replace('.', '/')}"
        if self.body_pointer:
            return "body", pointer
        if name in self.path_names:
            return "path", name
        if name in self.query_names or not self.takes_body:
            return "query", name
        return "body", pointer


def type_of(refusal: type[KvmError]) -> ProblemType:
    """Return the problem type of a class of errors."""
    meaning = inspect.getdoc(refusal) or ""
    return problem_type(refusal.code, refusal.status, refusal.title, meaning)


def leaves(refusal: type[KvmError] = KvmError) -> Iterable[type[KvmError]]:
    """List the classes of refusals that have been imported, those with a code."""
    if "code" in refusal.__dict__:
        yield refusal
    for inner in refusal.__subclasses__():
        yield from leaves(inner)


def problem(
    kind: ProblemType,
    detail: str,
    site: Site,
    errors: tuple[ProblemError, ...] = (),
    errno: Errno | None = None,
) -> Problem:
    """Return a problem document; its errno is there where the operation stands for an ioctl."""
    stands_for_ioctl = errno is not None and site.ioctl is not None
    return Problem(
        type=kind.type,
        title=kind.title,
        status=kind.status,
        detail=detail,
        instance=quote(site.path, safe="/-_.~!$&'()*+,;=:@", errors="replace"),
        code=kind.code,
        errno=errno.value if errno is not None and stands_for_ioctl else None,
        ioctl=site.ioctl if stands_for_ioctl else None,
        errors=errors[:MAX_ERRORS] or None,
    )


def document(refusal: Refused, site: Site) -> Problem:
    """Return the problem document of a refusal; a schema's refusal of an ioctl is EINVAL."""
    match refusal:
        case KvmError():
            errors: tuple[ProblemError, ...] = ()
            if refusal.field is not None:
                place, pointer = site.place(refusal.field)
                errors = (
                    error_at(
                        place, pointer, refusal.detail, bound=refusal.bound, value=refusal.value
                    ),
                )
            return problem(type_of(type(refusal)), refusal.detail, site, errors, refusal.errno)
        case InvalidRequestError():
            return problem(INVALID_REQUEST, refusal.detail, site, refusal.errors, Errno.EINVAL)
        case MalformedBodyError():
            return problem(MALFORMED_BODY, str(refusal), site)
