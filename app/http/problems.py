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

_OF_HTTP: Final = {each.code: each for each in (MALFORMED_BODY, INVALID_REQUEST)}


def _of_http(status: int, code: str, meaning: str, title: str = "") -> ProblemType:
    kind = problem_type(code, status, title or code.replace("_", " ").capitalize(), meaning)
    _OF_HTTP[code] = kind
    return kind


BAD_REQUEST: Final = _of_http(400, "bad_request", "The request could not be understood as HTTP.")
HOST_NOT_ALLOWED: Final = _of_http(
    400, "host_not_allowed", "The Host header names a host that HACDBS_ALLOWED_HOSTS does not list."
)
ORIGIN_NOT_ALLOWED: Final = _of_http(
    403, "origin_not_allowed", "A browser sent the request from a page of another origin."
)
UNAUTHORIZED: Final = _of_http(
    401, "unauthorized", "The service asks for a bearer token, and this one is missing or wrong."
)
NO_SUCH_PATH: Final = _of_http(
    404, "no_such_path", "Nothing is served at this path; `/` lists where to start."
)
METHOD_NOT_ALLOWED: Final = _of_http(
    405, "method_not_allowed", "The path has other methods; the Allow header names them."
)
NOT_READY: Final = _of_http(409, "not_ready", "The service is stopping and takes no new work.")
PRECONDITION_FAILED: Final = _of_http(
    412,
    "precondition_failed",
    "If-Match or If-None-Match does not hold: somebody else has changed the VM or the slot.",
)
BODY_TOO_LARGE: Final = _of_http(
    413,
    "body_too_large",
    "The request's body is larger than HACDBS_MAX_BODY_BYTES, or than its operation could need.",
    title="The body is too large",
)
UNSUPPORTED_MEDIA_TYPE: Final = _of_http(
    415,
    "unsupported_media_type",
    "The Content-Type is missing, or not one that the operation reads; Accept-Post names those.",
)
SERVICE_STOPPED: Final = _of_http(
    503,
    "service_stopped",
    "The service was stopped before the call had ended. What the call did is gone with the service.",
)
INTERNAL_ERROR: Final = _of_http(
    500,
    "internal_error",
    "A defect of the service; the log has its traceback under the request's id.",
)


def all_problems() -> Mapping[str, ProblemType]:
    """Return all problem types, by code."""
    return {each.code: each for each in map(type_of, leaves())} | _OF_HTTP


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
