"""Workloads, virtual time and costs over HTTP."""

from typing import Any

import httpx
import pytest

from hacdbs_sim.model import KNOBS, CostModel

pytestmark = pytest.mark.anyio

SLOT = {
    "slot": 0,
    "guest_phys_addr": "0x40000000",
    "memory_size": "16MiB",
    "flags": ["LOG_DIRTY_PAGES"],
}
STEADY = {"slot": 0, "kind": "sequential", "writes_per_second": 1_000_000}
OF_ALL = {
    "slot": 0,
    "first_page": 64,
    "num_pages": 2048,
    "seed": 5,
    "burst": {"on_ns": 10, "off_ns": 20},
    "writer": "host",
    "vcpu": 1,
}
TIMED = {**OF_ALL, "writes_per_second": 1000}
TRACED = {**OF_ALL, "interval_ns": 1000, "loop": False, "copies": 2, "scale": True}
KINDS: list[dict[str, Any]] = [
    {**TIMED, "kind": "sequential"},
    {**TIMED, "kind": "uniform"},
    {**TIMED, "kind": "hot_set", "hot_fraction": 0.25, "hot_share": 0.75},
    {**TIMED, "kind": "zipf", "exponent": 1.5},
    {**TIMED, "kind": "moving", "set_pages": 10, "move_every_writes": 20, "step_pages": 3},
    {**TRACED, "kind": "replay", "trace": "cc1"},
]


async def make(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await client.post("/v1/vms", json={"memslots": [SLOT], "vcpus": 2, **body})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def run(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await client.post("/v1/vms/default-1/guest/run", json=body)
    assert answer.status_code == 200, answer.text
    done: dict[str, Any] = answer.json()
    return done


@pytest.mark.parametrize("body", KINDS, ids=lambda body: body["kind"])
async def test_each_kind_is_shown_as_it_was_added(
    client: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    await make(client)

    answer = await client.post("/v1/vms/default-1/workloads", json=body)

    shown = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (
        201,
        "/v1/vms/default-1/workloads/w1",
    )
    assert {name: shown[name] for name in body} == body
    assert (shown["writes"], shown["skipped"]) == (0, 0)
    assert (await client.get("/v1/vms/default-1/workloads/w1")).json() == shown
    assert (await client.get("/v1/vms/default-1")).json()["workloads"] == [shown]


async def test_defaults_are_reported(client: httpx.AsyncClient) -> None:
    await make(client)

    shown = (await client.post("/v1/vms/default-1/workloads", json=STEADY)).json()

    assert shown["num_pages"] == 4096
    assert 0 < shown["seed"] < 1 << 53
    assert (shown["burst"], shown["writer"], shown["vcpu"]) == (None, "guest", 0)


async def test_a_full_trace_is_reported_by_its_size_and_played(client: httpx.AsyncClient) -> None:
    await make(client)
    body = {"slot": 0, "kind": "intervals", "pages": [[3, 1], [], [2]], "interval_ns": 1000}

    shown = (await client.post("/v1/vms/default-1/workloads", json=body)).json()
    done = await run(client, duration_ns=2000)

    assert (shown["interval_count"], shown["record_count"]) == (3, 3)
    assert "pages" not in shown
    assert "trace" not in shown
    assert done["writes"] == 2
    log = (await client.get("/v1/vms/default-1/memslots/0/dirty-log")).json()
    assert log["page_ranges"] == [[1, 1], [3, 1]]


async def test_a_vm_is_made_with_workloads_and_costs(client: httpx.AsyncClient) -> None:
    made = await make(client, workloads=[STEADY], costs={"translation_fault_ps": 4_000_000})

    done = await run(client, duration_ns=1_000_000, throttle_percent=50)

    assert made["costs"] == {
        **{knob.name: knob.default for knob in KNOBS},
        "translation_fault_ps": 4_000_000,
    }
    assert [each["workload_id"] for each in made["workloads"]] == ["w1"]
    assert done == {
        "clock": {
            "now_ns": 1_000_000,
            "guest_ns": 500_000,
            "stalled_ns": 0,
            "throttled_ns": 500_000,
            "debt_ns": 1_000_000,
        },
        "guest_ns": 500_000,
        "stalled_ns": 0,
        "throttled_ns": 500_000,
        "slices": 1,
        "writes": 500,
        "skipped": 0,
        "pages": 500,
        "newly_dirty": 500,
        "translation_faults": 500,
        "permission_faults": 0,
        "mmio_exits": 0,
        "block_splits": 0,
        "blocks_mapped": 0,
    }


async def test_a_workload_that_is_refused_leaves_no_vm_behind(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/v1/vms", json={"memslots": [SLOT], "workloads": [STEADY, {**STEADY, "slot": 9}]}
    )

    assert answer.status_code == 404
    assert answer.json()["errors"][0]["pointer"] == "/workloads/1/slot"
    assert (await client.get("/v1/vms")).json()["vms"] == []


async def test_the_same_seed_makes_the_same_bytes(client: httpx.AsyncClient) -> None:
    answers = []
    for _ in range(2):
        made = await make(client, seed=3, workloads=[{**STEADY, "kind": "zipf"}])
        where = f"/v1/vms/{made['vm_id']}"
        done = await client.post(f"{where}/guest/run", json={"duration_ns": 10**7})
        log = await client.get(
            f"{where}/memslots/0/dirty-log", headers={"accept": "application/octet-stream"}
        )
        answers.append((done.content, log.content))

    assert answers[0] == answers[1]


async def test_the_clock_moves_only_on_request(client: httpx.AsyncClient) -> None:
    await make(client, workloads=[STEADY])
    still = {"now_ns": 0, "guest_ns": 0, "stalled_ns": 0, "throttled_ns": 0, "debt_ns": 0}

    first = (await client.get("/v1/vms/default-1/clock")).json()
    advanced = await client.post("/v1/vms/default-1/clock/advance", json={"duration_ns": 7})

    assert first == still
    assert advanced.json() == {**still, "now_ns": 7}
    assert (await client.get("/v1/vms/default-1/clock")).json() == advanced.json()


async def test_workloads_are_listed_in_pages_and_taken_off(client: httpx.AsyncClient) -> None:
    await make(client, workloads=[STEADY] * 3)
    where = "/v1/vms/default-1/workloads"

    first = (await client.get(where, params={"limit": 2})).json()
    rest = (await client.get(where, params={"page_token": first["next_page_token"]})).json()
    removed = await client.delete(f"{where}/w2")
    left = (await client.get(where)).json()["workloads"]
    all_removed = await client.delete(where)

    listed = [each["workload_id"] for each in first["workloads"] + rest["workloads"]]
    assert listed == ["w1", "w2", "w3"]
    assert (removed.status_code, all_removed.status_code) == (204, 204)
    assert [each["workload_id"] for each in left] == ["w1", "w3"]
    assert (await client.get(where)).json()["workloads"] == []


async def test_a_batch_adds_runs_and_takes_off(client: httpx.AsyncClient) -> None:
    await make(client)
    actions = [
        {"op": "add_workload", **STEADY},
        {"op": "run_guest", "duration_ns": 1000, "throttle_percent": 10},
        {"op": "advance_clock", "duration_ns": 5},
        {"op": "delete_workload", "workload_id": "w1"},
        {"op": "delete_workload", "workload_id": "w1"},
        {"op": "advance_clock", "duration_ns": 5},
    ]

    answer = await client.post("/v1/vms/default-1/batch", json={"actions": actions})

    results = answer.json()["results"]
    assert [result["status"] for result in results] == [201, 200, 200, 204, 404]
    assert results[0]["body"]["workload_id"] == "w1"
    assert results[1]["body"]["throttled_ns"] == 100
    assert results[2]["body"]["now_ns"] == 1005
    assert results[4]["body"]["errors"][0]["pointer"] == "/actions/4/workload_id"


async def test_the_cost_model_names_each_knob_and_its_source(client: httpx.AsyncClient) -> None:
    knobs = (await client.get("/v1/cost-model")).json()["knobs"]

    assert {knob["name"]: knob["default"] for knob in knobs} == {
        knob.name: getattr(CostModel(), knob.name) for knob in KNOBS
    }
    assert all(knob["source"] and knob["unit"] == "ps" for knob in knobs)
    assert {knob["assumption"] for knob in knobs} == {True, False}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({**STEADY, "kind": "nothing"}, "/kind"),
        ({"slot": 0, "writes_per_second": 5}, "/kind"),
        ({**STEADY, "exponent": 1.0}, "/exponent"),
        ({**STEADY, "writes_per_second": 0}, "/writes_per_second"),
        ({**STEADY, "writes_per_second": 10**9 + 1}, "/writes_per_second"),
        ({**STEADY, "writes_per_second": True}, "/writes_per_second"),
        ({"slot": 0, "kind": "uniform"}, "/writes_per_second"),
        ({**STEADY, "writer": "device"}, "/writer"),
        ({**STEADY, "num_pages": 0}, "/num_pages"),
        ({**STEADY, "num_pages": "1"}, "/num_pages"),
        ({**STEADY, "burst": {"on_ns": 0, "off_ns": 1}}, "/burst/on_ns"),
        ({**STEADY, "burst": {"on_ns": 1}}, "/burst/off_ns"),
        ({**STEADY, "kind": "hot_set", "hot_share": 1.1}, "/hot_share"),
        ({**STEADY, "kind": "zipf", "exponent": 0}, "/exponent"),
        ({**STEADY, "kind": "moving", "set_pages": 1}, "/move_every_writes"),
        ({"slot": 0, "kind": "replay", "trace": "doom", "interval_ns": 1}, "/trace"),
        ({"slot": 0, "kind": "replay", "trace": "xz", "interval_ns": 0}, "/interval_ns"),
        ({"slot": 0, "kind": "intervals", "pages": [], "interval_ns": 1}, "/pages"),
        ({"slot": 0, "kind": "intervals", "pages": [[0], [-1]], "interval_ns": 1}, "/pages/1/0"),
        ({"slot": 0, "kind": "intervals", "pages": [[0], 1], "interval_ns": 1}, "/pages/1"),
    ],
)
async def test_what_the_schema_refuses_is_named(
    client: httpx.AsyncClient, body: dict[str, Any], pointer: str
) -> None:
    await make(client)

    answer = await client.post("/v1/vms/default-1/workloads", json=body)

    assert answer.status_code == 422
    assert pointer in {error["pointer"] for error in answer.json()["errors"]}
    assert (await client.get("/v1/vms/default-1/workloads")).json()["workloads"] == []


@pytest.mark.parametrize(
    ("pages", "status", "pointer"),
    [
        (b"[[NaN]]", 400, None),
        (b"[[0], [1e400]]", 422, "/pages/1/0"),
        (b"[[0, " + b"9" * 30 + b"]]", 422, "/pages/0/1"),
        (b"[[0, [1]]]", 422, "/pages/0/1"),
        (b"[[1.5]]", 422, "/pages/0/0"),
        (b'[[0]], "pages": [[1]]', 422, "/pages"),
        (b"[" * 100_000, 400, None),
    ],
    ids=lambda value: str(value)[:16],
)
async def test_a_trace_of_a_request_is_read_as_strictly_as_one_of_a_file(
    client: httpx.AsyncClient, pages: bytes, status: int, pointer: str | None
) -> None:
    await make(client)
    body = b'{"slot": 0, "kind": "intervals", "interval_ns": 9, "pages": ' + pages + b"}"

    answer = await client.post(
        "/v1/vms/default-1/workloads", content=body, headers={"Content-Type": "application/json"}
    )

    problem = answer.json()
    assert answer.status_code == status
    assert [error["pointer"] for error in problem.get("errors") or ()] == [pointer] * bool(pointer)
    assert (await client.get("/v1/vms/default-1/workloads")).json()["workloads"] == []


@pytest.mark.parametrize(
    ("costs", "pointer"),
    [({"run_ps": -1}, "/costs/run_ps"), ({"run_ns": 1}, "/costs/run_ns")],
)
async def test_a_cost_that_is_none_is_named(
    client: httpx.AsyncClient, costs: dict[str, int], pointer: str
) -> None:
    answer = await client.post("/v1/vms", json={"costs": costs})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer
