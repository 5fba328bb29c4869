"""A call of the service as a value: what to send, and how to read the answer. No I/O."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Generic, TypeVar
from urllib.parse import quote

import httpx
import orjson
from typing_extensions import override

from hacdbs_sim.client.answers import Answer, Page

T = TypeVar("T")
A = TypeVar("A", bound=Answer)

JSON: Final = "application/json"
OCTETS: Final = "application/octet-stream"
KEY_HEADER: Final = "Idempotency-Key"
MAX_JSON_INTEGER: Final = (1 << 53) - 1

Params = Mapping[str, str | int | bool | None]


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One call of one operation.

    Attributes:
        operation_id: As in the OpenAPI document.
        method: The HTTP method.
        path: The path, its parts quoted.
        decode: Reads an answer that is no refusal.
        params: The query; None is left out.
        headers: Headers besides those of every call.
        content: The body, if there is one.
    """

    operation_id: str
    method: str
    path: str
    decode: Callable[[httpx.Response], T]
    params: Params = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None

    @property
    def is_repeatable(self) -> bool:
        """Tell whether a second request does no harm where a first one may have been served.

        With a precondition the second could be refused because of what the first did, and look as
        if somebody else had.
        """
        if self.method == "POST":
            return KEY_HEADER in self.headers
        return not {"If-Match", "If-None-Match"} & self.headers.keys()

    def with_headers(self, headers: Mapping[str, str]) -> "Call[T]":
        """Give the same call with more headers."""
        return replace(self, headers={**self.headers, **headers})

    def arguments(self) -> dict[str, Any]:
        """Give httpx's arguments of the request."""
        return {
            "method": self.method,
            "url": self.path,
            "params": {name: value for name, value in self.params.items() if value is not None},
            "headers": dict(self.headers),
            "content": self.content,
        }

    @override
    def __str__(self) -> str:
        """Tell which call it is."""
        return f"{self.method} {self.path}"


def path(*parts: str | int) -> str:
    """Make a path; a name that would lead to another resource is refused."""
    for part in parts:
        if part in {"", ".", ".."}:
            raise ValueError(f"{part!r} is no name of anything")
    return "/" + "/".join(quote(str(part), safe="") for part in parts)


def get(operation_id: str, where: str, answer: type[A], **params: str | int | None) -> Call[A]:
    """Describe a look."""
    return Call(operation_id, "GET", where, reading(answer), params)


def listing(
    operation_id: str, where: str, item: type[A], name: str, **params: str | int | None
) -> Call[Page[A]]:
    """Describe a look at the first page of a list, whose items the answer has under a name."""
    page = Page[item]  # type: ignore[valid-type]

    def decode(answer: httpx.Response) -> Page[A]:
        body = orjson.loads(answer.content)
        return page(items=body[name], next_page_token=body["next_page_token"])

    return Call(operation_id, "GET", where, decode, params)


def after(call: Call[Page[A]], page: Page[A]) -> Call[Page[A]] | None:
    """Describe a look at the page after one; None behind the last."""
    if not page.next_page_token:
        return None
    return replace(call, params={**call.params, "page_token": page.next_page_token})


def post(
    operation_id: str,
    where: str,
    decode: Callable[[httpx.Response], T],
    body: Mapping[str, Any] | bytes | None = None,
    key: str | None = None,
    **params: str | int | bool | None,
) -> Call[T]:
    """Describe a POST; without a key it gets one of its own, so that it can be retried."""
    headers = {KEY_HEADER: key or uuid.uuid4().hex}
    queried = {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in params.items()
    }
    return _with_body(Call(operation_id, "POST", where, decode, queried, headers), body)


def change(
    operation_id: str,
    method: str,
    where: str,
    decode: Callable[[httpx.Response], T],
    body: Mapping[str, Any] | None = None,
    *,
    if_match: str | None = None,
    if_none_match: str | None = None,
) -> Call[T]:
    """Describe a PUT, PATCH or DELETE."""
    given = {"If-Match": if_match, "If-None-Match": if_none_match}
    headers = {name: value for name, value in given.items() if value is not None}
    return _with_body(Call(operation_id, method, where, decode, headers=headers), body)


def _with_body(call: Call[T], body: Mapping[str, Any] | bytes | None) -> Call[T]:
    if body is None:
        return call
    if isinstance(body, bytes):
        return replace(call, content=body, headers={**call.headers, "Content-Type": OCTETS})
    content = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
    return replace(call, content=content, headers={**call.headers, "Content-Type": JSON})


def reading(answer: type[A]) -> Callable[[httpx.Response], A]:
    """Read an answer's JSON."""
    return lambda response: answer.model_validate_json(response.content)


def reading_tagged(answer: type[A]) -> Callable[[httpx.Response], A]:
    """Read an answer's JSON, and the ETag beside it."""

    def decode(response: httpx.Response) -> A:
        etag = response.headers.get("ETag")
        return answer.model_validate({**orjson.loads(response.content), "etag": etag})

    return decode


def nothing(_: httpx.Response) -> None:
    """Read an answer that says nothing."""


def text(response: httpx.Response) -> str:
    """Read an answer that is text."""
    return response.text


def given(**fields: object) -> dict[str, Any]:
    """Give the fields that are there."""
    return {name: value for name, value in fields.items() if value is not None}


def address(value: int | str | None) -> int | str | None:
    """Write an address: JSON has no integers of 64 bits."""
    return hex(value) if isinstance(value, int) and value > MAX_JSON_INTEGER else value
