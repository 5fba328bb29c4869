"""Idempotency-Key on every POST: a retry is answered, and nothing is done twice."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.http import idempotency
from app.http.application import Application
from app.main import create_app
from app.settings import Settings

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
REPLAYED = idempotency.REPLAYED_HEADER.lower()
GFN = 0x40000
Connect = Callable[[FastAPI], httpx.AsyncClient]

SMALL = {"slot": 0, "guest_phys_addr": 0, "memory_size": 4096}
BODIES: dict[str, Any] = {
    "create_session": {"session_id": "made"},
    "reset_session": None,
    "create_vm": {"name": "made"},
    "guest_write": {"gfns": [GFN, GFN + 9]},
    "guest_write_memory": {"gpa_ranges": [["0x40000000", 4096]]},
    "guest_read": {"gfns": [GFN]},
    "host_write": {"gfns": [GFN + 3]},
    "host_unmap": {"gfns": [GFN]},
    "host_discard": {"gfns": [GFN]},
    "hint_free": {"gfns": [GFN]},
    "track_versions": {"enabled": True},
    "get_dirty_log": None,
    "clear_dirty_log": {"page_ranges": [[0, 64]]},
    "add_fault": {"type": "ipaf"},
    "add_workload": {"slot": 0, "kind": "uniform", "writes_per_second": 10**6},
    "advance_clock": {"duration_ns": 1000},
    "run_guest": {"duration_ns": 1000},
    "calc_dirty_rate": {"duration_ns": 50_000_000},
    "run_batch": {"actions": [{"op": "guest_write", "gfns": [GFN]}]},
    "create_copy": {},
    "receive_copy": {"slot": 0, "page_ranges": [[0, 64]], "duration_ns": 1000},
    "verify_copy": {},
    "start_copy": {"name": "restored"},
    "start_migration": {"vm_id": "default-1", "pace_ms": 10_000},
    "cancel_migration": None,
    "switch_over_migration": None,
    "start_postcopy_migration": None,
    "continue_migration": None,
    "pause_migration": None,
    "resume_migration": None,
    "start_comparison": {"vm": {"memslots": [SMALL]}, "pace_ms": 10_000},
    "cancel_comparison": None,
}
"""One request of each POST, on the VM of the fixture."""

SLOW = {
    "vm_id": "default-1",
    "downtime_limit_ns": 0,
    "max_iterations": 1_000,
    "bandwidth_bytes_per_second": 1_000_000,
    "pace": 100,
    "postcopy": {"bandwidth_bytes_per_second": 1_000_000},
}
IN_POSTCOPY = {**SLOW, "schedule": [{"at": {"ns": 0}, "set": {"command": "start_postcopy"}}]}
BEGUN_WITH: dict[str, tuple[dict[str, Any], str]] = {
    "cancel_migration": (BODIES["start_migration"], "setup"),
    "switch_over_migration": (BODIES["start_migration"], "setup"),
    "start_postcopy_migration": (SLOW, "active"),
    "continue_migration": (
        {"vm_id": "default-1", "pause_before_switchover": True},
        "pre-switchover",
    ),
    "pause_migration": (IN_POSTCOPY, "postcopy-active"),
    "resume_migration": (IN_POSTCOPY, "postcopy-active"),
}
"""The migration that a command is given to, and the phase in which it is."""


def key(value: str) -> dict[str, str]:
    return {"Idempotency-Key": value}


def posts() -> dict[str, str]:
    """Paths of all POSTs of the document, by operation id."""
    document = json.loads((ROOT / "openapi" / "openapi.json").read_text())
    return {
        operation["operationId"]: path
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if method == "post"
    }


@pytest.fixture
def app() -> Application:
    return create_app(Settings())


@pytest.fixture
async def client(connect: Connect, app: Application) -> AsyncIterator[httpx.AsyncClient]:
    async with connect(app) as opened:
        yield opened


async def state_of(client: httpx.AsyncClient) -> list[Any]:
    """All that the POSTs of BODIES can change."""
    vms = (await client.get("/v1/vms", params={"session_id": "-"})).json()["vms"]
    seen = [vms, (await client.get("/v1/sessions")).json()]
    paths = [
        f"/v1/vms/{vm['vm_id']}/{name}"
        for vm in vms
        for name in ("stage2", "cpus", "faults", "clock", "copies")
    ]
    for of_all, name in (("migrations", "migration_id"), ("comparisons", "comparison_id")):
        listed = (await client.get(f"/v1/{of_all}")).json()[of_all]
        seen.append([each[name] for each in listed])
    return seen + [(await client.get(path)).json() for path in paths]


async def begin(client: httpx.AsyncClient, migration: dict[str, Any], phase: str) -> None:
    assert (await client.post("/v1/migrations", json=migration)).is_success
    await wait_for(client, phase)


async def wait_for(client: httpx.AsyncClient, phase: str) -> None:
    waiting: dict[str, str | int] = {"wait_for": phase, "wait_seconds": 60}
    await client.get("/v1/migrations/default-m1", params=waiting)


def test_the_cases_are_all_the_posts() -> None:
    assert set(BODIES) == set(posts())


@pytest.mark.parametrize("operation", BODIES)
async def test_a_retry_gets_the_first_answer_and_does_nothing(
    client: httpx.AsyncClient, vm: str, operation: str
) -> None:
    path = posts()[operation].format(
        vm_id=vm.rpartition("/")[2],
        slot=0,
        session_id="default",
        migration_id="default-m1",
        comparison_id="default-c1",
        copy_id="c1",
    )
    await client.post(f"{vm}/guest/write", json={"gfn_ranges": [[GFN, 100]]})
    if (begun := BEGUN_WITH.get(operation)) is not None:
        await begin(client, *begun)
    if operation == "resume_migration":
        await client.post("/v1/migrations/default-m1/pause")
        await wait_for(client, "postcopy-paused")
    if operation == "cancel_comparison":
        await client.post(posts()["start_comparison"], json=BODIES["start_comparison"])
    if operation in {"receive_copy", "verify_copy", "start_copy"}:
        await client.post(posts()["create_copy"].format(vm_id="default-1"), json={})

    first = await client.post(path, json=BODIES[operation], headers=key("k"))
    before = await state_of(client)
    again = await client.post(path, json=BODIES[operation], headers=key("k"))

    assert first.is_success, first.text
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert (REPLAYED in first.headers, again.headers[REPLAYED]) == (False, "true")
    own = {"x-request-id", REPLAYED}
    assert {k: v for k, v in again.headers.items() if k not in own} == {
        k: v for k, v in first.headers.items() if k not in own
    }
    assert await state_of(client) == before


async def test_octets_are_answered_again_with_their_report(
    client: httpx.AsyncClient, vm: str
) -> None:
    await client.post(f"{vm}/guest/write", json={"gfns": [GFN + 5]})
    accept = {"Accept": "application/octet-stream", **key("k")}
    first = await client.post(f"{vm}/memslots/0/dirty-log/get", headers=accept)
    again = await client.post(f"{vm}/memslots/0/dirty-log/get", headers=accept)

    assert again.content == first.content == (1 << 5).to_bytes(128, "little")
    assert again.headers["dirty-log-report"] == first.headers["dirty-log-report"]
    assert again.headers["content-type"] == "application/octet-stream"


async def test_a_refusal_is_kept_as_well(client: httpx.AsyncClient, vm: str) -> None:
    # A failed copy has taken the bits: done again, it would take those written since.
    await client.post(f"{vm}/faults", json={"type": "copy_to_user", "times": 1})
    await client.post(f"{vm}/guest/write", json={"gfns": [GFN]})
    first = await client.post(f"{vm}/memslots/0/dirty-log/get", headers=key("k"))
    await client.post(f"{vm}/guest/write", json={"gfns": [GFN + 1]})
    again = await client.post(f"{vm}/memslots/0/dirty-log/get", headers=key("k"))

    assert (first.status_code, first.json()["errno"]) == (409, "EFAULT")
    assert (again.status_code, again.content) == (409, first.content)
    assert again.headers["content-type"] == "application/problem+json"
    left = await client.get(f"{vm}/memslots/0/dirty-log")
    assert left.json()["page_ranges"] == [[1, 1]]


async def test_what_the_schema_refuses_is_answered_alike(
    client: httpx.AsyncClient, vm: str
) -> None:
    for marks in (False, True):
        answer = await client.post(f"{vm}/guest/write", json={"pages": []}, headers=key("k"))

        assert (answer.status_code, REPLAYED in answer.headers) == (422, marks)


@pytest.mark.parametrize(
    "change",
    [
        {"json": {"gfns": [GFN + 1]}},
        {"params": {"vcpu": 1}},
        {"headers": {"accept": "application/octet-stream"}},
        {"url": "/host/write"},
    ],
    ids=["body", "query", "accept", "path"],
)
async def test_another_request_with_the_key_is_refused_and_not_done(
    client: httpx.AsyncClient, vm: str, change: dict[str, Any]
) -> None:
    url = f"{vm}{change.get('url', '/guest/write')}"
    await client.post(f"{vm}/guest/write", json={"gfns": [GFN]}, headers=key("k"))
    before = await state_of(client)

    answer = await client.post(
        url,
        json=change.get("json", {"gfns": [GFN]}),
        params=change.get("params"),
        headers={**key("k"), **change.get("headers", {})},
    )

    assert answer.status_code == 422
    assert answer.json()["code"] == "idempotency_key_reused"
    assert answer.json()["errors"][0]["in"] == "header"
    assert await state_of(client) == before


async def test_a_retry_while_the_first_is_in_flight_is_refused(
    client: httpx.AsyncClient, app: Application, vm: str
) -> None:
    lock = app.context.fleet.vm("default-1").runtime._lock
    await client.post(f"{vm}/guest/write", json={"gfns": [GFN]})
    async with lock:  # somebody else's call has the VM
        get = client.post(f"{vm}/memslots/0/dirty-log/get", headers=key("k"))
        first = asyncio.create_task(get)
        while not lock._waiters:  # noqa: ASYNC110 - the lock has no event for it
            await asyncio.sleep(0)
        early = await client.post(f"{vm}/memslots/0/dirty-log/get", headers=key("k"))
    answered = await first
    late = await client.post(f"{vm}/memslots/0/dirty-log/get", headers=key("k"))

    assert (early.status_code, early.json()["code"]) == (409, "idempotency_key_in_flight")
    assert answered.json()["page_ranges"] == late.json()["page_ranges"] == [[0, 1]]


async def test_sessions_have_keys_of_their_own_and_a_reset_forgets_them(
    client: httpx.AsyncClient,
) -> None:
    for session in ("a", "b"):
        await client.post("/v1/sessions", json={"session_id": session})
        made = await client.post("/v1/vms", json={"session_id": session}, headers=key("k"))
        assert made.json()["vm_id"] == f"{session}-1"

    await client.post("/v1/sessions/a/reset")
    anew = await client.post("/v1/vms", json={"session_id": "a", "name": "x"}, headers=key("k"))
    kept = await client.post("/v1/vms", json={"session_id": "b"}, headers=key("k"))

    assert (anew.status_code, anew.json()["name"], REPLAYED in anew.headers) == (201, "x", False)
    assert REPLAYED in kept.headers


async def test_a_deleted_session_takes_its_keys_and_those_of_its_resets_along(
    client: httpx.AsyncClient, app: Application
) -> None:
    await client.post("/v1/sessions", json={"session_id": "gone"})
    await client.post("/v1/vms", json={"session_id": "gone"}, headers=key("k"))
    await client.post("/v1/sessions/gone/reset", headers=key("r"))
    await client.delete("/v1/sessions/gone")

    assert len(app.context.fleet.idempotency) == 0


async def test_a_retried_reset_spares_what_was_made_since(client: httpx.AsyncClient) -> None:
    await client.post("/v1/sessions/default/reset", headers=key("r"))
    await client.post("/v1/vms")
    again = await client.post("/v1/sessions/default/reset", headers=key("r"))

    assert (again.status_code, again.headers[REPLAYED]) == (204, "true")
    assert len((await client.get("/v1/vms")).json()["vms"]) == 1


async def test_the_answer_outlives_its_vm(client: httpx.AsyncClient, vm: str) -> None:
    await client.post(f"{vm}/guest/write", json={"gfns": [GFN]})
    first = await client.post(f"{vm}/memslots/0/dirty-log/get", headers=key("k"))
    await client.delete(vm)
    again = await client.post(f"{vm}/memslots/0/dirty-log/get", headers=key("k"))

    assert again.json() == first.json()


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/vms/nowhere-1/guest/write", {"gfns": [1]}, 404),
        ("/v1/sessions/nowhere/reset", None, 404),
        ("/v1/vms", {"session_id": "nowhere"}, 404),
        ("/v1/vms", {"session_id": 7}, 422),
    ],
)
async def test_what_belongs_to_no_session_is_refused_as_without_a_key(
    client: httpx.AsyncClient, app: Application, path: str, body: Any, status: int
) -> None:
    plain = await client.post(path, json=body)
    keyed = await client.post(path, json=body, headers=key("k"))

    assert plain.status_code == keyed.status_code == status
    assert keyed.json() == plain.json()
    assert len(app.context.fleet.idempotency) == 0


@pytest.mark.parametrize("bad", ["", "with space", "x" * 256, "caf\u00e9"])
async def test_a_key_that_is_none_is_refused(client: httpx.AsyncClient, vm: str, bad: str) -> None:
    answer = await client.post(
        f"{vm}/guest/write",
        json={"gfns": [GFN]},
        headers=[(b"Idempotency-Key", bad.encode())],
    )

    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["in"], error["pointer"]) == ("header", "Idempotency-Key")
    assert error["bound"] == idempotency.KEY_PATTERN
    assert (await client.get(vm)).json()["counters"]["guest_writes"] == 0


async def test_two_keys_are_refused(client: httpx.AsyncClient, vm: str) -> None:
    answer = await client.post(
        f"{vm}/guest/write",
        json={"gfns": [GFN]},
        headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "b")],
    )

    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["pointer"], error["value"]) == (400, "Idempotency-Key", 2)


async def test_other_methods_do_not_heed_the_header(client: httpx.AsyncClient, vm: str) -> None:
    for cpu in (0, 1):
        answer = await client.get(f"{vm}/cpus/{cpu}", headers=key("k"))

        assert (answer.status_code, REPLAYED in answer.headers) == (200, False)


async def test_two_long_bodies_are_distinguished(client: httpx.AsyncClient, vm: str) -> None:
    octets = b"".join((GFN + n % 1000).to_bytes(8, "little") for n in range(40_000))
    octet_stream = {"content-type": "application/octet-stream", **key("k")}
    path = f"{vm}/guest/write"
    first = await client.post(path, content=octets, headers=octet_stream)
    again = await client.post(path, content=octets, headers=octet_stream)
    other = await client.post(path, content=octets[:-8] + octets[:8], headers=octet_stream)

    assert (first.json()["pages"], again.content) == (40_000, first.content)
    assert other.json()["code"] == "idempotency_key_reused"


async def test_a_body_over_the_limit_is_refused_with_a_key_too(connect: Connect) -> None:
    async with connect(create_app(Settings(max_body_bytes=100))) as client:
        answer = await client.post("/v1/vms", json={"name": "x" * 90}, headers=key("k"))

        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


async def test_a_response_that_was_not_kept_is_reported_and_nothing_done_again(
    connect: Connect,
) -> None:
    settings = Settings(max_idempotency_bytes=1 << 16)  # 8 KiB for one session
    async with connect(create_app(settings)) as client:
        slot = {
            "slot": 0,
            "guest_phys_addr": 0,
            "memory_size": "1GiB",
            "flags": ["LOG_DIRTY_PAGES"],
        }
        await client.post("/v1/vms", json={"memslots": [slot]})
        write = "/v1/vms/default-1/guest/write"
        get = "/v1/vms/default-1/memslots/0/dirty-log/get"
        await client.post(write, json={"gfn_ranges": [[0, 100]]})
        octets = {"Accept": "application/octet-stream", **key("k")}
        first = await client.post(get, headers=octets)
        await client.post(write, json={"gfn_ranges": [[500, 1]]})
        again = await client.post(get, headers=octets)
        left = await client.get("/v1/vms/default-1/memslots/0/dirty-log")

    assert (first.status_code, len(first.content)) == (200, 32768)
    assert (again.status_code, again.json()["code"]) == (409, "answer_not_kept")
    assert left.json()["page_ranges"] == [[500, 1]]


async def test_many_keys_stay_within_the_bound_and_stop_nobody_else(connect: Connect) -> None:
    app = create_app(Settings(max_idempotency_bytes=1 << 16))
    idempotency = app.context.fleet.idempotency
    async with connect(app) as client:
        await client.post("/v1/vms")
        codes = set()
        for session in (f"s{number}" for number in range(40)):
            await client.post("/v1/sessions", json={"session_id": session})
            for k in range(10):
                body = {"session_id": session, "name": f"{k}"}
                answer = await client.post("/v1/vms", json=body, headers=key(f"{k}"))
                codes.add((answer.status_code, answer.json().get("code")))
            assert idempotency.held_bytes <= 1 << 16

        assert codes == {(201, None), (409, "idempotency_key_limit")}
        assert (await client.post("/v1/vms", json={"session_id": "s39"})).status_code == 201
        await client.post("/v1/sessions/s0/reset")
        freed = await client.post("/v1/vms", json={"session_id": "s39"}, headers=key("new"))
        assert freed.status_code == 201


async def test_an_answer_is_forgotten_after_its_time(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(Settings(idempotency_seconds=60))
    now = 0.0
    monkeypatch.setattr(app.context.fleet.idempotency, "_clock", lambda: now)
    async with connect(app) as client:
        await client.post("/v1/vms", headers=key("k"))
        now = 59.9
        before = await client.post("/v1/vms", headers=key("k"))
        now = 60.1
        after = await client.post("/v1/vms", headers=key("k"))

    assert (before.json()["vm_id"], REPLAYED in before.headers) == ("default-1", True)
    assert (after.json()["vm_id"], REPLAYED in after.headers) == ("default-2", False)


async def test_a_defect_on_the_way_is_not_done_again(
    app: Application, vm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(*_: object, **__: object) -> None:
        raise RuntimeError("a defect after the deed")

    get = f"{vm}/memslots/0/dirty-log/get"
    # A client of its own: the fixture's holds each answer against the contract, which has no 500
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        with monkeypatch.context() as patched:
            patched.setattr("app.http.responses.Answer.response", break_off)
            first = await client.post(get, headers=key("k"))
        again = await client.post(get, headers=key("k"))

    assert first.status_code == 500
    assert (again.status_code, again.json()["code"]) == (409, "answer_not_kept")
