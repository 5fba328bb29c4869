"""A POST with a key: served once, and retries get the first response."""

from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from app.http.idempotency import answer_once, has_key
from app.http.responses import JsonResponse
from app.service.fleet import Fleet
from app.service.limits import Limits
from hacdbs_sim.wire import InvalidRequestError
from tests.unit.http.requests import request_of

pytestmark = pytest.mark.anyio

KEY = ("Idempotency-Key", "a-1")


class Counting:
    """A handler that counts its calls."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, request: Request) -> Response:
        self.bodies.append(await request.body())
        return JsonResponse({"calls": len(self.bodies)}, 201, {"Location": "/v1/vms/default-1"})


@pytest.fixture
def app() -> Any:
    return SimpleNamespace(
        context=SimpleNamespace(fleet=Fleet(Limits()), max_body_bytes=1_000),
    )


def sent(app: Any, *keys: tuple[str, str], body: bytes = b"{}") -> Request:
    return request_of(*keys, body=body, app=app, route=SimpleNamespace(operation_id="create_vm"))


async def test_a_request_that_is_sent_again_is_not_served_again(app: Any) -> None:
    handle = Counting()

    first = await answer_once(sent(app, KEY), handle)
    again = await answer_once(sent(app, KEY), handle)

    assert handle.bodies == [b"{}"]
    assert (again.status_code, again.body) == (first.status_code, first.body)
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotent-replayed"] == "true"


async def test_another_key_is_another_request(app: Any) -> None:
    handle = Counting()

    await answer_once(sent(app, KEY), handle)
    await answer_once(sent(app, ("Idempotency-Key", "a-2")), handle)

    assert len(handle.bodies) == 2


@pytest.mark.parametrize("key", ["", "a b"])
async def test_a_key_has_visible_characters_only(app: Any, key: str) -> None:
    handle = Counting()

    with pytest.raises(InvalidRequestError):
        await answer_once(sent(app, ("Idempotency-Key", key)), handle)

    assert handle.bodies == []


async def test_a_session_that_does_not_exist_keeps_no_key(app: Any) -> None:
    handle = Counting()
    body = b'{"session_id": "nowhere"}'

    for _ in range(2):
        await answer_once(sent(app, KEY, body=body), handle)

    assert handle.bodies == [body] * 2


def test_a_key_is_found_whatever_its_case() -> None:
    assert has_key(request_of(("IDEMPOTENCY-KEY", "x")))
    assert not has_key(request_of())
