"""Every documented answer can be got, and what was got is documented: walked from the document."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest

from app.http.application import Application
from app.main import create_app
from app.service.events import ALL_EVENTS, MAX_EVENT_READERS
from app.service.idempotency_store import RECORD_BYTES, SCOPE_SHARE, KeptAnswer
from app.service.limits import MAX_SESSIONS
from app.service.traffic import Hold, TrafficBudget
from app.settings import Settings
from tests.contract.calls import (
    JSON,
    KEY,
    OTHERWISE,
    REFUSED,
    WITHOUT_ROOM,
    WORLD,
    Call,
    good,
    refused,
)
from tests.contract.sending import OPERATIONS, Connect, send
from tests.support.real_kvm import require_kvm

pytestmark = pytest.mark.anyio

DOCUMENTED = [
    (operation_id, status, code)
    for operation_id, operation in OPERATIONS.items()
    for status, code in operation.refusals()
    if code != "host_kernel_error"
]
"""Without what no caller can provoke: a host whose kernel fails."""


def make_world(call: Call, code: str) -> Application:
    app = create_app(Settings(**call.settings))
    fleet = app.context.fleet
    fleet.create_session("other")
    if code == "session_limit":
        while len(fleet.sessions()) < MAX_SESSIONS:
            fleet.create_session()
    if code == "event_reader_limit":
        while fleet.events.reader_count < MAX_EVENT_READERS:
            fleet.events.open_reader(0, ALL_EVENTS)
    return app


async def claim_keys(client: httpx.AsyncClient, app: Application, call: Call, code: str) -> None:
    """Leave the key as a first request leaves it that has not ended, or was lost, or has company.

    The claims are real; only the requests that hold them are not there, for they would have to be
    caught in the middle of what takes no time.
    """
    idempotency = app.context.fleet.idempotency
    assert (await send(client, call)).is_success
    ((name, scope),) = idempotency._scopes.items()
    fingerprint = scope.settled[KEY].fingerprint
    idempotency.clear(name)
    if code == "idempotency_key_limit":
        for number in range(call.settings["max_idempotency_bytes"] // SCOPE_SHARE // RECORD_BYTES):
            idempotency.begin(name, f"other-{number}", fingerprint)
        return
    claim = idempotency.begin(name, KEY, fingerprint)
    assert not isinstance(claim, KeptAnswer)
    if code == "answer_not_kept":
        claim(None)


def use_room_up(traffic: TrafficBudget, code: str) -> None:
    """Leave no room: others hold it all, and nobody waits; or one request may have none."""
    if code == "traffic_limit":
        traffic.wait_seconds = 0
        Hold(traffic).keep(traffic.limit_bytes)
    else:
        traffic.limit_bytes = 0


async def prepare(client: httpx.AsyncClient, app: Application, call: Call, code: str) -> None:
    token = call.settings.get("token", "")
    client.headers["authorization"] = f"Bearer {token}"
    assert (await client.post("/v1/vms", json=WORLD)).status_code == 201
    for earlier in call.before:
        assert (await send(client, earlier)).is_success
    if code in {"idempotency_key_in_flight", "idempotency_key_limit", "answer_not_kept"}:
        await claim_keys(client, app, call, code)
    del client.headers["authorization"]
    if code in WITHOUT_ROOM:
        use_room_up(app.context.fleet.traffic, code)
    app.context.is_stopping = code == "not_ready"


def with_reset_in_flight(app: Application, call: Call) -> Call:
    """Return the call with a body during which the session is reset."""

    async def body() -> AsyncIterator[bytes]:
        written = json.dumps(call.request.get("json", {})).encode()
        yield written[:1]
        for session in app.context.fleet.sessions():
            app.context.fleet.reset_session(session.session_id)
        yield written[1:]

    return replace(call, request={"content": body(), "headers": JSON})


@pytest.fixture
async def world(connect: Connect) -> AsyncIterator[httpx.AsyncClient]:
    call = Call("get_index")
    app = make_world(call, "")
    async with connect(app) as client:
        await prepare(client, app, call, "")
        yield client


@pytest.mark.parametrize("operation_id", OPERATIONS)
async def test_each_operation_answers_each_success_that_it_documents(
    world: httpx.AsyncClient, operation_id: str
) -> None:
    others = [call for call in OTHERWISE if call.operation_id == operation_id]
    calls = [good(operation_id), *others]
    statuses = set()
    for call in calls:
        for earlier in call.before:
            assert (await send(world, earlier)).is_success

        statuses.add((await send(world, call)).status_code)

    assert statuses == set(OPERATIONS[operation_id].successes())


@pytest.mark.parametrize(
    ("operation_id", "status", "code"), DOCUMENTED, ids=["-".join(map(str, d)) for d in DOCUMENTED]
)
async def test_each_documented_refusal_can_be_met(
    connect: Connect, operation_id: str, status: int, code: str
) -> None:
    call = refused(operation_id, code)
    if call.settings.get("host_kvm"):
        require_kvm()
    app = make_world(call, code)
    async with connect(app) as client:
        await prepare(client, app, call, code)
        if code == "session_reset":
            call = with_reset_in_flight(app, call)

        answer = await send(client, call)

    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)


def test_no_call_of_the_table_is_left_out() -> None:
    documented = {(operation_id, code) for operation_id, _, code in DOCUMENTED}

    assert documented >= REFUSED.keys()
