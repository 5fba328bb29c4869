"""Refusals of HTTP itself, beside those of the model: media type, authority, path, stop.

docs/errors.md has one section per code.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from hacdbs_sim.model.problems import Problem, ProblemError, ProblemType
from hacdbs_sim.wire.problems import (
    INVALID_REQUEST,
    MALFORMED_BODY,
    Site,
    leaves,
    problem,
    problem_type,
    type_of,
)

# Classes are known once they are imported
from ..service import errors as _service_errors  # noqa: F401

HOST_NOT_ALLOWED: Final = problem_type(
    "host_not_allowed",
    400,
    "Host not allowed",
    "The Host header names a host that HACDBS_ALLOWED_HOSTS does not list.",
)
ORIGIN_NOT_ALLOWED: Final = problem_type(
    "origin_not_allowed",
    403,
    "Origin not allowed",
    "A browser sent the request from a page of another origin.",
)
UNAUTHORIZED: Final = problem_type(
    "unauthorized",
    401,
    "Unauthorized",
    "The service asks for a bearer token, and this one is missing or wrong.",
)
NO_SUCH_PATH: Final = problem_type(
    "no_such_path", 404, "No such path", "Nothing is served at this path; `/` lists where to start."
)
METHOD_NOT_ALLOWED: Final = problem_type(
    "method_not_allowed",
    405,
    "Method not allowed",
    "The path has other methods; the Allow header names them.",
)
NOT_READY: Final = problem_type(
    "not_ready", 409, "Not ready", "The service is stopping and takes no new work."
)
PRECONDITION_FAILED: Final = problem_type(
    "precondition_failed",
    412,
    "Precondition failed",
    "If-Match or If-None-Match does not hold: somebody else has changed the VM or the slot.",
)
BODY_TOO_LARGE: Final = problem_type(
    "body_too_large",
    413,
    "The body is too large",
    "The request's body is larger than HACDBS_MAX_BODY_BYTES, or than its operation could need.",
)
UNSUPPORTED_MEDIA_TYPE: Final = problem_type(
    "unsupported_media_type",
    415,
    "Unsupported media type",
    "The Content-Type is missing, or not one that the operation reads; Accept-Post names those.",
)
BAD_REQUEST: Final = problem_type(
    "bad_request", 400, "Bad request", "The request could not be understood as HTTP."
)
INTERNAL_ERROR: Final = problem_type(
    "internal_error",
    500,
    "Internal error",
    "A defect of the service; the log has its traceback under the request's id.",
)

_OF_HTTP: Final = (
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


def all_problems() -> Mapping[str, ProblemType]:
    """Return all problem types, by code."""
    known = (*map(type_of, leaves()), *_OF_HTTP)
    return {each.code: each for each in known}


@dataclass(slots=True)
class Refusal(Exception):  # noqa: N818 - it is not an error of the service
    """A refusal of HTTP itself."""

    problem: ProblemType
    detail: str
    errors: tuple[ProblemError, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


def refusal_document(refusal: Refusal, site: Site) -> Problem:
    """Return the problem document of a refusal of HTTP."""
    return problem(refusal.problem, refusal.detail, site, refusal.errors)


def plain_document(kind: ProblemType, detail: str, path: str) -> Problem:
    """Return a problem document of a request that no operation has seen."""
    return problem(kind, detail, Site(path))
