"""Idempotency-Key: a retried POST gets the response to the first request.

Implements draft-ietf-httpapi-idempotency-key-header. A key is valid within the session that the request
names; every response is kept, including refusals, once the key has been read.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable
from typing import Final

import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from hacdbs_sim.model import DEFAULT_SESSION
from hacdbs_sim.wire import InvalidRequestError, MalformedBodyError, error_at
from hacdbs_sim.wire.cutting import abridged, whole

from ..service.errors import NoSuchSessionError
from ..service.fleet import SESSIONS_SCOPE, Fleet, resets_scope
from ..service.idempotency_store import IDEMPOTENCY_KEY, KeptAnswer
from .accept import accepts
from .bodies import decode, read_body
from .deps import context_of
from .rendering import REFUSALS, refusal_response
from .responses import OCTETS_MEDIA_TYPE

REPLAYED_HEADER: Final = "Idempotent-Replayed"
"""Marks a response that was kept from the key's first request."""

COPIED_BYTES: Final = 1 << 16

KEY_PATTERN: Final = r"^[!-~]{1,255}$"
_OF_SESSION: Final = frozenset({"vm_id", "migration_id", "comparison_id"})
"""Path parameters whose value begins with the id of a session."""

_KEY: Final = re.compile(KEY_PATTERN.removesuffix("$") + r"\Z")


class _NewVm(BaseModel):
    """The part of a new VM that names its session."""

    session_id: str = DEFAULT_SESSION


class _New(_NewVm):
    """The part of a body that names a session: directly, or by a VM."""

    vm_id: str | None = None
    vm: _NewVm | None = None


def _new_of(body: bytes) -> _New:
    return _New.model_validate(abridged(body, whole(body)))


async def answer_once(
    request: Request, handle: Callable[[Request], Awaitable[Response]]
) -> Response:
    """Serve a POST that has a key: perform the first request, repeat its response to retries."""
    key = _key_of(request)
    body = await read_body(request)

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    request = Request(request.scope, receive)
    fleet = context_of(request).fleet
    fingerprint = await _fingerprint(request, body)
    scope = await _scope_of(request, body, fleet)
    if scope is None:
        # Refused, and nothing changes: a session that is created meanwhile is not for this call
        return await handle(request)
    claim = fleet.idempotency.begin(scope, key, fingerprint)  # at once: the session is still there
    if isinstance(claim, KeptAnswer):
        response = Response(claim.body, claim.status)
        response.raw_headers = list(claim.headers)
        response.headers[REPLAYED_HEADER] = "true"
        return response
    answer = None
    try:
        try:
            response = await handle(request)
        except REFUSALS as refused:
            response = refusal_response(request, refused)
        headers = tuple(response.raw_headers)
        answer = KeptAnswer(response.status_code, headers, _kept(response.body))
    finally:
        # After any exception something may have been done, so a retry must not do it again.
        claim(answer)
    return response


def _kept(body: bytes | memoryview) -> bytes:
    """Return a body to be kept; a short one as a copy, for orjson's bytes take 4 KiB, however few they are."""
    return bytes(memoryview(body)) if len(body) < COPIED_BYTES else bytes(body)


def has_key(request: Request) -> bool:
    """Return whether a request has a key."""
    return IDEMPOTENCY_KEY in request.headers


def _key_of(request: Request) -> str:
    key = request.headers[IDEMPOTENCY_KEY]
    if _KEY.match(key) is None:
        detail = "a key is 1 to 255 visible ASCII characters"
        error = error_at("header", IDEMPOTENCY_KEY, detail, bound=KEY_PATTERN, value=key)
        raise InvalidRequestError((error,))
    return key


async def _scope_of(request: Request, body: bytes, fleet: Fleet) -> str | None:
    """Return the scope of a request's key; None if what the request names does not exist."""
    named = request.path_params
    try:
        for name in _OF_SESSION & named.keys():
            return fleet.session_id_of(named[name])
        if "session_id" in named:
            return resets_scope(fleet.session(named["session_id"]).session_id)
        if request.scope["route"].operation_id == "create_session":
            return SESSIONS_SCOPE
        new = await decode(_new_of, body or b"{}")
        if new.vm_id is not None:
            return fleet.session_id_of(new.vm_id)
        return fleet.session((new.vm or new).session_id).session_id
    except (NoSuchSessionError, ValidationError, MalformedBodyError):
        return None


async def _fingerprint(request: Request, body: bytes) -> bytes:
    """Return the digest that identifies a request."""
    head = (
        request.scope["path"],
        request.scope["query_string"].decode("latin-1"),
        request.headers.get("content-type", ""),
        accepts(
            OCTETS_MEDIA_TYPE, request
        ),  # not the header's text: only the form of the response counts
    )
    digest = hashlib.sha256(orjson.dumps(head))
    await decode(digest.update, body)
    return digest.digest()
