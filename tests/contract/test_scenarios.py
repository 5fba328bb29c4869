"""`/v1/sessions/{session_id}/scenario`: a session as one document says it."""

import asyncio
import threading
from typing import Any

import httpx
import pytest

from app.http.batches import MAX_ANSWER_BYTES
from app.http.operations import RESULT_BYTES
from app.main import create_app
from app.service.migrations import Prepared, prepare
from app.service.vm_runtime import VmRuntime
from app.settings import Settings
from hacdbs_sim.model import MigrationSpec, Mismatch
from hacdbs_sim.scenarios.matching import mismatches
from tests.contract.conftest import MEMSLOT
from tests.support.settling import settle

pytestmark = pytest.mark.anyio

PLACE = "/v1/sessions/default/scenario"
GFN = 0x40000


def write(count: int = 1, **expect: Any) -> dict[str, Any]:
    action = {"op": "guest_write", "gfn_ranges": [[GFN, count]]}
    return {"vm": "src", "action": action, **({"expect": expect} if expect else {})}


def get(**expect: Any) -> dict[str, Any]:
    action = {"op": "get_dirty_log", "slot": 0}
    return {"vm": "src", "action": action, **({"expect": expect} if expect else {})}


def scenario(*steps: dict[str, Any], **rest: Any) -> dict[str, Any]:
    vm = {"key": "src", "name": "source", "memslots": [{"slot": 0, **MEMSLOT}]}
    return {"scenario": "one", "vms": [vm], "steps": list(steps), **rest}


async def put(client: httpx.AsyncClient, document: object) -> httpx.Response:
    return await client.put(PLACE, json=document)


async def vm_ids(client: httpx.AsyncClient) -> list[str]:
    return [vm["vm_id"] for vm in (await client.get("/v1/vms")).json()["vms"]]


async def test_a_scenario_makes_its_vms_and_plays_its_steps(client: httpx.AsyncClient) -> None:
    document = scenario(write(3, status=200, body={"newly_dirty": 3}), get(body={"dirty_count": 3}))

    answer = await put(client, document)

    out = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (201, PLACE)
    assert (out["scenario"], out["verdict"], out["removed_vms"]) == ("one", "passed", 0)
    assert out["vms"] == [{"key": "src", "vm_id": "default-1"}]
    assert [(step["op"], step["status"], step["verdict"]) for step in out["steps"]] == [
        ("guest_write", 200, "passed"),
        ("get_dirty_log", 200, "passed"),
    ]
    assert out["steps"][1]["body"]["page_ranges"] == [[0, 3]]
    assert out["document"] == document
    assert (await client.get("/v1/vms/default-1")).json()["name"] == "source"


async def test_it_is_shown_as_it_was_applied(client: httpx.AsyncClient) -> None:
    made = await put(client, scenario(write()))

    assert (await client.get(PLACE)).json() == made.json()


async def test_the_same_document_is_not_played_again(client: httpx.AsyncClient) -> None:
    first = await put(client, scenario(write()))
    await client.post("/v1/vms/default-1/guest/write", json={"gfns": [GFN + 9]})

    again = await put(client, dict(reversed(scenario(write()).items())))

    assert (again.status_code, again.json()) == (200, first.json())
    assert "location" not in again.headers
    log = (await client.get("/v1/vms/default-1/memslots/0/dirty-log")).json()
    assert log["page_ranges"] == [[0, 1], [9, 1]]


async def test_another_document_resets_the_session_first(client: httpx.AsyncClient) -> None:
    await put(client, scenario(write()))
    await client.post("/v1/vms", json={})
    assert await vm_ids(client) == ["default-1", "default-2"]

    answer = await put(client, scenario(get(body={"dirty_count": 0})))

    assert (answer.status_code, answer.json()["removed_vms"]) == (201, 2)
    assert answer.json()["verdict"] == "passed"
    assert await vm_ids(client) == ["default-1"]


@pytest.mark.parametrize("way", ["delete", "reset"])
async def test_it_goes_with_the_sessions_vms(way: str, client: httpx.AsyncClient) -> None:
    await put(client, scenario())

    if way == "delete":
        assert (await client.delete(PLACE)).status_code == 204
    else:
        await client.post("/v1/sessions/default/reset")

    assert (await client.get(PLACE)).json()["code"] == "no_such_scenario"
    assert await vm_ids(client) == []


async def test_a_step_that_is_not_as_expected_ends_the_play(client: httpx.AsyncClient) -> None:
    answer = await put(client, scenario(write(2, body={"newly_dirty": 3, "none": 1}), write(9)))

    out = answer.json()
    assert (answer.status_code, out["verdict"]) == (201, "failed")
    assert [step["verdict"] for step in out["steps"]] == ["failed", "skipped"]
    assert out["steps"][0]["mismatches"] == [
        {
            "pointer": "/body/newly_dirty",
            "detail": "must be what was expected",
            "expected": 3,
            "found": 2,
        },
        {"pointer": "/body/none", "detail": "must be there", "expected": 1, "found": None},
    ]
    assert (out["steps"][1]["status"], out["steps"][1]["body"]) == (None, None)
    slot = (await client.get("/v1/vms/default-1/memslots/0")).json()
    assert slot["dirty_count"] == 2


async def test_a_refusal_fails_a_step_that_expects_none(client: httpx.AsyncClient) -> None:
    stray = {"vm": "src", "action": {"op": "get_dirty_log", "slot": 7}}

    (step,) = (await put(client, scenario(stray))).json()["steps"]

    assert (step["verdict"], step["status"]) == ("failed", 404)
    assert step["body"]["code"] == "no_dirty_log"
    assert step["body"]["errors"][0]["pointer"] == "/steps/0/action/slot"
    assert [wrong["pointer"] for wrong in step["mismatches"]] == ["/status"]


async def test_a_refusal_that_is_expected_passes(client: httpx.AsyncClient) -> None:
    expect = {"status": 404, "body": {"errno": "ENOENT"}}
    stray = {"vm": "src", "action": {"op": "get_dirty_log", "slot": 7}, "expect": expect}

    answer = await put(client, scenario(stray, write(body={"newly_dirty": 1})))

    assert answer.json()["verdict"] == "passed"


async def test_an_action_without_an_answer_is_judged_by_its_status(
    client: httpx.AsyncClient,
) -> None:
    action = {"op": "delete_memslot", "slot": 0}

    answer = await put(client, scenario({"vm": "src", "action": action, "expect": {"status": 204}}))

    (step,) = answer.json()["steps"]
    assert (step["verdict"], step["status"], step["body"]) == ("passed", 204, None)


@pytest.mark.parametrize(
    ("spoil", "status", "code", "pointer"),
    [
        ({"vms": []}, 422, "invalid_request", "/vms"),
        ({"vms": [{"key": "src", "cpus": 0}]}, 422, "invalid_request", "/vms/0/cpus"),
        (
            {"vms": [{"key": "src", "session_id": "other"}]},
            422,
            "invalid_request",
            "/vms/0/session_id",
        ),
        ({"vms": [{"key": "SRC"}]}, 422, "invalid_request", "/vms/0/key"),
        ({"scenario": ""}, 422, "invalid_request", "/scenario"),
        ({"stepps": []}, 422, "invalid_request", "/stepps"),
        (
            {"steps": [{"vm": "src", "action": {"op": "get_dirty_log", "slot": -1}}]},
            422,
            "invalid_request",
            "/steps/0/action/slot",
        ),
        (
            {"steps": [{"vm": "src", "action": {"op": "fly"}}]},
            422,
            "invalid_request",
            "/steps/0/action/op",
        ),
        (
            {"steps": [get(status=1)]},
            422,
            "invalid_request",
            "/steps/0/expect/status",
        ),
        (
            {"steps": [get(), {"vm": "dst", "action": {"op": "get_dirty_log", "slot": 0}}]},
            409,
            "senseless_scenario",
            "/steps/1/vm",
        ),
        ({"vms": [{"key": "src"}, {"key": "src"}]}, 409, "senseless_scenario", "/vms/1/key"),
        (
            {"steps": [get(), get(body={"slot": [{"deep": 1 << 64}]})]},
            409,
            "senseless_scenario",
            "/steps/1/expect/body",
        ),
        (
            {"migration": {"vm": "src"}, "expect": {"status": -(1 << 64)}},
            409,
            "senseless_scenario",
            "/expect",
        ),
        (
            {"vms": [{"key": "src"}, {"key": "b", "eager_split_chunk_size": 3}]},
            409,
            "invalid_argument",
            "/vms/1/eager_split_chunk_size",
        ),
        (
            {"vms": [{"key": "src", "memslots": [{"slot": 0, **MEMSLOT}, {"slot": 1, **MEMSLOT}]}]},
            409,
            "memslot_overlap",
            "/vms/0/memslots/1/guest_phys_addr",
        ),
        (
            {"vms": [{"key": "src", "faults": [{"type": "ipaf", "when": {"cpu": 9}}]}]},
            404,
            "no_such_cpu",
            "/vms/0/faults/0/when/cpu",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_bad_document_is_refused_by_its_place_and_changes_nothing(
    spoil: dict[str, Any], status: int, code: str, pointer: str, client: httpx.AsyncClient
) -> None:
    standing = (await put(client, scenario(write()))).json()

    answer = await put(client, {**scenario(get()), **spoil})

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code)
    assert problem["errors"][0]["pointer"] == pointer
    assert (await client.get(PLACE)).json() == standing
    assert await vm_ids(client) == ["default-1"]


@pytest.mark.parametrize(
    "number", [b"1e400", b"-1.0e+400", b"9" * 30, b"-" + b"9" * 30, b"9" * 400 + b".0"]
)
@pytest.mark.parametrize("is_nested", [False, True])
async def test_a_number_that_no_answer_has_is_refused(
    client: httpx.AsyncClient, number: bytes, *, is_nested: bool
) -> None:
    expected = b'{"$at_most": [' + number + b"]}" if is_nested else number
    document = (
        b'{"scenario": "one", "vms": [{"key": "src"}], "migration": {"vm": "src"}, "expect": '
    )
    document += b'{"downtime_ns": ' + expected + b"}}"

    answer = await client.put(PLACE, content=document, headers={"content-type": "application/json"})

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (409, "senseless_scenario")
    assert [error["pointer"] for error in problem["errors"]] == ["/expect"]
    assert await vm_ids(client) == []


async def test_no_number_is_not_a_number(client: httpx.AsyncClient) -> None:
    document = b'{"scenario": "one", "vms": [{"key": "src"}], "steps": [{"vm": "src", "action": '
    document += b'{"op": "get_dirty_log", "slot": 0}, "expect": {"body": {"dirty_count": NaN}}}]}'

    answer = await client.put(PLACE, content=document, headers={"content-type": "application/json"})

    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_body")


async def test_a_vm_too_many_leaves_all_as_it_was(connect: Any) -> None:
    async with connect(create_app(Settings(max_vms=2))) as client:
        await put(client, scenario())
        vms = [{"key": f"vm{number}"} for number in range(3)]

        refused = await put(client, {"scenario": "three", "vms": vms})
        taken = await put(client, {"scenario": "two", "vms": vms[:2]})

        assert refused.json()["code"] == "vm_limit"
        assert (taken.status_code, taken.json()["removed_vms"]) == (201, 1)


async def test_what_a_refused_scenario_took_is_given_back() -> None:
    app = create_app(Settings())
    budget = app.context.fleet.budget
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        overlap = [{"slot": 0, **MEMSLOT}, {"slot": 1, **MEMSLOT}]
        vms = [*scenario()["vms"], {"key": "b", "memslots": overlap}]

        answer = await put(client, {"scenario": "two", "vms": vms})
        kept = await put(client, scenario(write()))
        held = budget.used_bytes
        await client.delete(PLACE)

    assert (answer.status_code, kept.status_code) == (409, 201)
    assert held > 0
    assert budget.used_bytes == 0


async def test_steps_that_answer_too_much_are_refused(connect: Any) -> None:
    big = {
        "key": "src",
        "memslots": [{"slot": 0, **MEMSLOT, "memory_size": "1GiB"}],
    }
    action = {"op": "get_dirty_log", "slot": 0, "format": "base64"}
    bitmap_bytes = (1 << 18) // 8 * 4 // 3
    steps = [{"vm": "src", "action": action}] * (MAX_ANSWER_BYTES // bitmap_bytes + 2)

    async with connect(create_app(Settings())) as client:
        out = (await put(client, {"scenario": "much", "vms": [big], "steps": steps})).json()

    failed = next(step for step in out["steps"] if step["verdict"] != "passed")
    assert (out["verdict"], failed["verdict"], failed["status"]) == ("failed", "failed", 409)
    assert failed["body"]["code"] == "batch_answer_limit"


def get_base64(**expect: Any) -> dict[str, Any]:
    action = {"op": "get_dirty_log", "slot": 0, "format": "base64"}
    return {"vm": "src", "action": action, "expect": expect}


def of_size(memory_size: str, *steps: dict[str, Any]) -> dict[str, Any]:
    slot = {"slot": 0, **MEMSLOT, "memory_size": memory_size}
    return {**scenario(*steps), "vms": [{"key": "src", "ipa_bits": 42, "memslots": [slot]}]}


async def test_a_get_whose_answer_could_be_too_large_takes_nothing(
    client: httpx.AsyncClient,
) -> None:
    refused = get_base64(status=409, body={"code": "batch_answer_limit"})

    out = (await put(client, of_size("1TiB", write(), refused))).json()

    assert [step["mismatches"] for step in out["steps"]] == [[], []]
    assert (await client.get("/v1/vms/default-1/memslots/0")).json()["dirty_count"] == 1


async def test_words_of_a_log_that_is_all_set_are_refused(client: httpx.AsyncClient) -> None:
    action = {"op": "get_dirty_log", "slot": 0, "format": "words"}
    document = of_size("128GiB", {"vm": "src", "action": action})
    document["vms"][0]["manual_dirty_log_protect2"] = 3

    (step,) = (await put(client, document)).json()["steps"]

    assert (step["status"], step["body"]["code"]) == (409, "batch_answer_limit")


async def test_a_get_whose_answer_finds_no_room_takes_nothing(connect: Any) -> None:
    refused = get_base64(status=409, body={"code": "state_bytes_limit"})
    document = of_size("1GiB", write(), refused, write(2, body={"newly_dirty": 1}))
    app = create_app(Settings())
    async with connect(app) as client:
        await put(client, of_size("1GiB", write()))
        bitmap_bytes = (1 << 18) // 8
        room = app.context.fleet.budget.used_bytes + bitmap_bytes

    async with connect(create_app(Settings(max_state_bytes=room))) as client:
        out = (await put(client, document)).json()

    assert [step["mismatches"] for step in out["steps"]] == [[], [], []]
    assert out["verdict"] == "passed"


async def test_what_a_step_holds_for_its_answer_is_given_back(connect: Any) -> None:
    app = create_app(Settings())
    async with connect(app) as client:
        await put(client, scenario(write()))
        alone = app.context.fleet.budget.used_bytes
        await put(
            client,
            scenario(write(), {**get(status=404), "action": {"op": "get_dirty_log", "slot": 7}}),
        )
        with_refused = app.context.fleet.budget.used_bytes

    assert with_refused - alone < RESULT_BYTES


async def test_a_long_answer_is_judged_in_a_thread(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[bool] = []

    def mismatches_and_thread(expected: object, found: object) -> list[Mismatch]:
        threads.append(threading.current_thread() is threading.main_thread())
        return mismatches(expected, found)

    monkeypatch.setattr("app.http.scenarios.mismatches", mismatches_and_thread)
    steps = [
        get_base64(body={"dirty_count": 1, "num_pages": 1 << 21}),
        get_base64(body={"bitmap": ""}),
    ]

    out = (await put(client, of_size("8GiB", write(), *steps))).json()

    assert threads == [True, False, False]
    assert [step["verdict"] for step in out["steps"]] == ["passed", "passed", "failed"]
    assert len(out["steps"][2]["body"]["bitmap"]) == 349_528
    # The answer has it
    assert [(each["pointer"], each["found"]) for each in out["steps"][2]["mismatches"]] == [
        ("/body/bitmap", None)
    ]
    assert (await client.get(PLACE)).json() == out


async def test_answers_count_as_state_that_the_service_holds(connect: Any) -> None:
    action = {"op": "get_dirty_log", "slot": 0, "format": "base64"}
    steps = [{"vm": "src", "action": action}] * 100

    async with connect(create_app(Settings(max_state_bytes=20_000))) as client:
        out = (await put(client, scenario(*steps))).json()

    failed = next(step for step in out["steps"] if step["verdict"] != "passed")
    assert (failed["verdict"], failed["body"]["code"]) == ("failed", "state_bytes_limit")


async def test_two_at_a_time_follow_each_other(client: httpx.AsyncClient) -> None:
    documents = [scenario(write(count), get(body={"dirty_count": count})) for count in (3, 4)]

    answers = await asyncio.gather(*(put(client, document) for document in documents * 3))

    assert {answer.json()["verdict"] for answer in answers} == {"passed"}
    assert await vm_ids(client) == ["default-1"]
    assert (await client.get(PLACE)).json()["document"] in documents


@pytest.mark.parametrize("others", [0, 1], ids=["empty", "another VM of that id"])
async def test_a_reset_in_the_middle_ends_the_play(others: int, client: httpx.AsyncClient) -> None:
    steps = [write(1024), get()] * 100
    playing = asyncio.ensure_future(put(client, scenario(*steps)))
    for _ in range(10_000):
        await asyncio.sleep(0)  # in process a request alone gives the play no turn
        if await vm_ids(client):
            break

    await client.post("/v1/sessions/default/reset")
    for _ in range(others):
        await client.post("/v1/vms", json={})
    refused = await playing

    assert (refused.status_code, refused.json()["code"]) == (409, "session_reset")
    assert len(await vm_ids(client)) == others
    assert (await client.get(PLACE)).status_code == 404


MIGRATION = {"vm": "src", "downtime_limit_ns": 10**9}


async def ended(client: httpx.AsyncClient) -> dict[str, Any]:
    answer = await client.get(PLACE, params={"wait_seconds": 60})
    assert answer.json()["verdict"] != "running"
    out: dict[str, Any] = answer.json()
    return out


class Gate:
    """Holds plays after their steps, before their migration."""

    def __init__(self) -> None:
        self.is_reached = asyncio.Event()
        self.opens = asyncio.Event()

    async def prepare(self, runtime: VmRuntime, spec: MigrationSpec) -> Prepared:
        self.is_reached.set()
        await self.opens.wait()
        return await prepare(runtime, spec)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    made = Gate()
    monkeypatch.setattr("app.http.scenarios.prepare", made.prepare)
    return made


async def play(client: httpx.AsyncClient, gate: Gate) -> asyncio.Task[httpx.Response]:
    """Begin to apply a scenario, and return once it is held."""
    playing = asyncio.create_task(put(client, scenario(write(), migration=MIGRATION)))
    await gate.is_reached.wait()
    return playing


async def waiting(client: httpx.AsyncClient, seconds: int = 60) -> asyncio.Task[httpx.Response]:
    """Begin to wait for the end of a scenario."""
    call = asyncio.create_task(client.get(PLACE, params={"wait_seconds": seconds}))
    await settle()
    assert not call.done()
    return call


async def test_a_wait_lasts_until_the_play_and_the_migration_are_over(
    client: httpx.AsyncClient, gate: Gate
) -> None:
    playing = await play(client, gate)
    call = await waiting(client)

    gate.opens.set()

    out = (await call).json()
    assert (out["verdict"], out["migration"]["status"]) == ("passed", "completed")
    assert (await playing).status_code == 201


async def test_a_wait_for_a_play_ends_when_its_time_is_over(
    client: httpx.AsyncClient, gate: Gate
) -> None:
    playing = await play(client, gate)
    call = await waiting(client, seconds=1)

    assert (await call).json()["verdict"] == "running"
    gate.opens.set()
    await playing


@pytest.mark.parametrize("way", ["delete", "reset"])
async def test_a_reset_ends_a_wait_for_a_play(
    client: httpx.AsyncClient, gate: Gate, way: str
) -> None:
    playing = await play(client, gate)
    call = await waiting(client)

    if way == "delete":
        await client.delete(PLACE)
    else:
        await client.post("/v1/sessions/default/reset")

    await settle()
    assert call.done()
    answer = await call
    assert (answer.status_code, answer.json()["code"]) == (404, "no_such_scenario")
    gate.opens.set()
    assert (await playing).json()["code"] == "session_reset"


async def test_a_stop_ends_waits_for_plays(connect: Any, gate: Gate) -> None:
    app = create_app(Settings())
    async with connect(app) as client:
        playing = await play(client, gate)
        call = await waiting(client)

        app.begin_stop()

        await settle()
        assert call.done()
        assert (await call).json()["verdict"] == "running"
        later = await client.get(PLACE, params={"wait_seconds": 60})
        assert later.json()["verdict"] == "running"
        gate.opens.set()
        await playing


async def test_a_migration_follows_the_steps(client: httpx.AsyncClient) -> None:
    expect = {"reason": "converged", "verification": {"lost_pages": 0}}

    begun = await put(client, scenario(write(9), migration=MIGRATION, expect=expect))
    again = await put(client, scenario(write(9), migration=MIGRATION, expect=expect))
    out = await ended(client)

    assert (begun.status_code, again.status_code) == (201, 200)
    assert begun.json()["migration"]["migration_id"] == "default-m1"
    assert (out["verdict"], out["migration"]["status"], out["mismatches"]) == (
        "passed",
        "completed",
        [],
    )
    shown = (await client.get("/v1/migrations/default-m1")).json()
    assert shown == out["migration"]


async def test_it_is_running_until_the_migration_has_ended(client: httpx.AsyncClient) -> None:
    begun = await put(client, scenario(migration={**MIGRATION, "pace_ms": 10_000}))

    running = (await client.get(PLACE, params={"wait_seconds": 0})).json()
    await client.post("/v1/migrations/default-m1/cancel")
    out = await ended(client)

    assert (begun.json()["verdict"], running["verdict"]) == ("running", "running")
    assert running["mismatches"] == []
    assert out["verdict"] == "failed"
    assert [(each["pointer"], each["found"]) for each in out["mismatches"]] == [
        ("/status", "cancelled")
    ]


async def test_a_migration_that_does_not_end_as_expected_fails(client: httpx.AsyncClient) -> None:
    expect = {"status": "completed", "verification": {"lost_pages": {"$at_least": 1}}}

    await put(client, scenario(migration=MIGRATION, expect=expect))
    out = await ended(client)

    assert out["verdict"] == "failed"
    assert [each["pointer"] for each in out["mismatches"]] == ["/verification/lost_pages"]


async def test_no_migration_follows_a_step_that_fails(client: httpx.AsyncClient) -> None:
    out = (await put(client, scenario(get(status=404), migration=MIGRATION))).json()

    assert (out["verdict"], out["migration"], out["problem"]) == ("failed", None, None)
    assert (await client.get("/v1/migrations")).json()["migrations"] == []


async def test_a_migration_that_is_refused_fails_with_its_problem(
    client: httpx.AsyncClient,
) -> None:
    out = (await put(client, scenario(migration={**MIGRATION, "slots": [7]}))).json()

    assert (out["verdict"], out["migration"]) == ("failed", None)
    assert out["problem"]["errors"][0]["pointer"] == "/migration/slots"


@pytest.mark.parametrize(
    ("spoil", "status", "pointer"),
    [
        ({"migration": {"vm": "dst"}}, 409, "/migration/vm"),
        ({"expect": {"status": "completed"}}, 409, "/expect"),
        ({"migration": {**MIGRATION, "max_iterations": 0}}, 422, "/migration/max_iterations"),
        ({"migration": {**MIGRATION, "vm_id": "default-1"}}, 422, "/migration/vm_id"),
        ({"migration": 0}, 422, "/migration"),
        (
            {"migration": {**MIGRATION, "schedule": [{"iteration": 1, "action": {"op": "fly"}}]}},
            422,
            "/migration/schedule/0/action/op",
        ),
    ],
    ids=["vm", "expect", "bound", "id", "kind", "schedule"],
)
async def test_a_bad_migration_is_refused_by_its_place(
    spoil: dict[str, Any], status: int, pointer: str, client: httpx.AsyncClient
) -> None:
    answer = await put(client, {**scenario(), **spoil})

    assert answer.status_code == status
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert await vm_ids(client) == []


async def test_a_reset_ends_the_migration_with_the_scenario(client: httpx.AsyncClient) -> None:
    await put(client, scenario(migration={**MIGRATION, "pace_ms": 10_000}))

    await client.delete(PLACE)

    assert (await client.get("/v1/migrations")).json()["migrations"] == []
    assert (await put(client, scenario(migration=MIGRATION))).status_code == 201
    assert (await ended(client))["verdict"] == "passed"


async def test_a_reset_while_its_migration_is_prepared_refuses_it(
    connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(Settings())

    async def prepare_and_reset(runtime: VmRuntime, spec: MigrationSpec) -> Prepared:
        made = await prepare(runtime, spec)
        app.context.fleet.reset_session("default")
        return made

    monkeypatch.setattr("app.http.scenarios.prepare", prepare_and_reset)
    async with connect(app) as client:
        refused = await put(client, scenario(migration={"vm": "src"}))
        migrations = (await client.get("/v1/migrations")).json()["migrations"]

    assert (refused.status_code, refused.json()["code"]) == (409, "session_reset")
    assert migrations == []
