"""Responses: JSON is written once, by orjson, and not validated again."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson
from starlette.responses import JSONResponse, Response
from typing_extensions import override

JSON_MEDIA_TYPE: Final = "application/json"
PROBLEM_MEDIA_TYPE: Final = "application/problem+json"
OCTETS_MEDIA_TYPE: Final = "application/octet-stream"
EVENTS_MEDIA_TYPE: Final = "text/event-stream"
CSV_MEDIA_TYPE: Final = "text/csv"


class JsonResponse(JSONResponse):
    """A JSON answer."""

    @override
    def render(self, content: object) -> bytes:
        return orjson.dumps(content)


class ProblemResponse(JsonResponse):
    """A problem document."""

    media_type = PROBLEM_MEDIA_TYPE


class Answer(NamedTuple):
    """What an operation answers, by itself or as a part of a batch."""

    body: Mapping[str, Any] | None
    status: int = 200
    location: str | None = None
    etag: str | None = None

    def response(self) -> Response:
        """Make the HTTP response."""
        headers = {} if self.location is None else {"Location": self.location}
        if self.etag is not None:
            headers["ETag"] = self.etag
        if self.body is None:
            return Response(status_code=self.status, headers=headers)
        return JsonResponse(self.body, self.status, headers)


class OctetsAnswer(NamedTuple):
    """Bytes as the ioctl hands them over, and headers that describe them."""

    octets: memoryview
    headers: Mapping[str, str]

    def response(self) -> Response:
        """Make the HTTP response, which sends the bytes from where they are."""
        return Response(self.octets, headers=self.headers, media_type=OCTETS_MEDIA_TYPE)
