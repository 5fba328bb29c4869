"""Failures of calls, as exceptions."""

import json
import re
from typing import Any, Final

import httpx

from hacdbs_sim.model import BatchResult  # noqa: TC001 - an attribute's type

__tracebackhide__ = True


class ClientError(Exception):
    """Base of the exceptions of this client."""


class TransportError(ClientError):
    """There was no response; `may_be_done` if the service may have performed the request.

    Attributes:
        cause: httpx's error.
    """

    def __init__(self, call: str, cause: httpx.RequestError, *, may_be_done: bool) -> None:
        self.may_be_done = may_be_done
        self.cause = cause
        name = type(cause).__name__
        if may_be_done or not isinstance(cause, httpx.ConnectError | httpx.ConnectTimeout):
            super().__init__(f"{call}: {name}: {cause}")
            return
        url = str(cause.request.url.join("/")).removesuffix("/")
        super().__init__(
            f"no service at {url}: {str(cause) or name};"
            " start one with `hacdbs-sim serve`, or give the URL of another (HACDBS_URL)"
        )


class ServiceRestartedError(ClientError):
    """Another start of the service has answered: nothing that this client has seen is there any more.

    Its ids may name other things by now, so each call raises this until `accept_restart`.

    Attributes:
        before: The instance that answered before.
        now: The instance that has answered now.
    """

    def __init__(self, call: str, before: str, now: str) -> None:
        self.before = before
        self.now = now
        super().__init__(
            f"{call}: the service was restarted: its instance was {before}, and is {now} now."
            " What this client made is gone; accept_restart() goes on with the new one"
        )


class UnexpectedResponseError(ClientError):
    """A response that is not one of this service: most likely another server listens there."""


class WaitTimeoutError(ClientError, TimeoutError):
    """The awaited event did not happen in time.

    Attributes:
        cause: The last error of the wait for a service; None in other waits.
    """

    def __init__(self, message: str, cause: Exception | None = None) -> None:
        self.cause = cause
        super().__init__(message)


class ProblemError(ClientError):
    """The service refused a call.

    `status`, `code`, `title`, `detail`, `errno`, `ioctl` and `errors` are those of the problem
    document (RFC 9457); docs/errors.md explains each code.

    Attributes:
        request_id: The call's id in the service's log.
        problem: The whole document.
        earlier: In a batch, the results of the actions before the one refused: those are done.
    """

    def __init__(
        self, call: str, status: int, problem: dict[str, Any], request_id: str | None = None
    ) -> None:
        self.status = status
        self.problem = problem
        self.code: str | None = problem.get("code")
        self.title: str | None = problem.get("title")
        self.detail: str | None = problem.get("detail")
        self.errno: str | None = problem.get("errno")
        self.ioctl: str | None = problem.get("ioctl")
        self.errors: list[dict[str, Any]] = problem.get("errors", [])
        self.request_id = request_id
        self.earlier: tuple[BatchResult, ...] = ()
        code = [self.code] if self.code else []
        remedy = ["(set HACDBS_TOKEN)"] if status == 401 else []
        said = [f"{call}: {status}", *code, self._what_is_wrong(), *remedy]
        super().__init__(" ".join(filter(None, said)))

    def _what_is_wrong(self) -> str:
        """Say once what is wrong: the detail repeats the first part of the request at fault."""
        detail = self.detail or ""
        is_repeated = any(each["detail"] in detail for each in self.errors)
        return "; ".join([*([] if is_repeated else [detail]), *map(_part_at_fault, self.errors)])


def _part_at_fault(error: dict[str, Any]) -> str:
    """Describe a part of a request: where it is, what is wrong with it, and its value."""
    place, detail = f"{error['in']} {error['pointer']}".rstrip(), error["detail"]
    value = error.get("value")
    if value is None or re.search(rf"(?<!\w){re.escape(str(value))}(?!\w)", detail):
        return f"{place}: {detail}"
    return f"{place}: {detail} (got {json.dumps(value, ensure_ascii=False)})"


class BadRequestError(ProblemError):
    """400: malformed JSON, or a Host that is not allowed."""


class NotAllowedError(ProblemError):
    """401, 403: no token or a wrong one, or a page of another origin."""


class NotFoundError(ProblemError):
    """404: what the request names does not exist."""


class ConflictError(ProblemError):
    """409: the machine's state, or a configured limit, forbids it; `errno` is the ioctl's."""


class PreconditionFailedError(ProblemError):
    """412: the VM or the slot has changed since the ETag that was given."""


class InvalidRequestError(ProblemError):
    """413, 415, 422: the published schema, or the size of bodies, forbids it."""


class ServiceDefectError(ProblemError):
    """500: a defect of the service; its log has the traceback under `request_id`."""


_BY_STATUS: Final[dict[int, type[ProblemError]]] = {
    400: BadRequestError,
    **dict.fromkeys((401, 403), NotAllowedError),
    404: NotFoundError,
    409: ConflictError,
    412: PreconditionFailedError,
    **dict.fromkeys((413, 415, 422), InvalidRequestError),
    500: ServiceDefectError,
}


def problem_error(
    call: str, status: int, problem: dict[str, Any], request_id: str | None = None
) -> ProblemError:
    """Return the exception of a problem document."""
    return _BY_STATUS.get(status, ProblemError)(call, status, problem, request_id)


def refusal_of(call: str, response: httpx.Response) -> ProblemError:
    """Return the exception of a response that refuses a call, even one of a proxy."""
    try:
        problem = json.loads(response.content)
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {"detail": response.text[:200]}
    request_id = response.headers.get("X-Request-Id")
    return problem_error(call, response.status_code, problem, request_id)
