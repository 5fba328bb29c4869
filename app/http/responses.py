"""Responses: the wire writes values of the model once; they are not validated again."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from starlette.responses import Response
from typing_extensions import override

from hacdbs_sim.model import DirtyLog, LogFormat, Model, Problem
from hacdbs_sim.wire import write
from hacdbs_sim.wire.codec import octets_from_words
from hacdbs_sim.wire.writer import count_elements

from ..service.vm_runtime import INLINE_WORK, WORK_PER_PART

REPORT_HEADER: Final = "Dirty-Log-Report"

JSON_MEDIA_TYPE: Final = "application/json"
PROBLEM_MEDIA_TYPE: Final = "application/problem+json"
OCTETS_MEDIA_TYPE: Final = "application/octet-stream"
EVENTS_MEDIA_TYPE: Final = "text/event-stream"
CSV_MEDIA_TYPE: Final = "text/csv"
HTML_MEDIA_TYPE: Final = "text/html"

NOT_JSON: Final[dict[str, Any]] = {}
"""Another form of a JSON body in the OpenAPI document.

Without a schema, for it is not JSON; generators of clients then use the JSON form.
"""

CREATED: Final[dict[int | str, dict[str, Any]]] = {
    201: {"description": "Created.", "content": {JSON_MEDIA_TYPE: {}}}
}
"""What a PUT may answer beside its 200."""


class JsonResponse(Response):
    """A JSON response: a value of the model, or JSON that holds such values."""

    media_type = JSON_MEDIA_TYPE

    @override
    def render(self, content: Any) -> bytes:
        return write(content)


class ProblemResponse(JsonResponse):
    """A problem document."""

    media_type = PROBLEM_MEDIA_TYPE

    def __init__(self, problem: Problem, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(problem, problem.status, dict(headers or {}))


async def respond(make: Callable[[], Response], work: int) -> Response:
    """Make a response here if that is short, else in a worker thread."""
    if work <= INLINE_WORK:
        return make()
    return await asyncio.to_thread(make)


class Answer(NamedTuple):
    """What an operation returns, by itself or as a part of a batch.

    Attributes:
        body: A value of the model; None where there is no content.
        status: The HTTP status.
        location: The path of a new resource.
        etag: The entity tag of the body.
        format: How the pages of a dirty log are written; None: as the ioctl's own bytes, beside a
            header that has the rest.
    """

    body: Model | None
    status: int = 200
    location: str | None = None
    etag: str | None = None
    format: LogFormat | None = LogFormat.RANGES

    def octets(self) -> bytes:
        """Return the body as JSON; `null` without a body."""
        log_format = self.format or LogFormat.RANGES
        return b"null" if self.body is None else write(self.body, format=log_format)

    def response(self) -> Response:
        """Return the HTTP response."""
        headers = {} if self.location is None else {"Location": self.location}
        if self.etag is not None:
            headers["ETag"] = self.etag
        if self.body is None:
            return Response(status_code=self.status, headers=headers)
        if self.format is None and isinstance(self.body, DirtyLog):
            assert self.body.bitmap is not None, "a get or a peek has a bitmap"
            report = write(self.body, format=LogFormat.SUMMARY, with_trace=False)
            octets = octets_from_words(self.body.bitmap.words)  # sent without a copy
            headers[REPORT_HEADER] = report.decode("ascii")
            return Response(octets, headers=headers, media_type=OCTETS_MEDIA_TYPE)
        return Response(self.octets(), self.status, headers, media_type=JSON_MEDIA_TYPE)


async def show(value: Model, status: int = 200, location: str | None = None) -> Response:
    """Return the response that shows a value, made in a worker thread if it is long."""
    work = WORK_PER_PART * count_elements(value)
    return await respond(Answer(value, status, location).response, work)
