"""Migrations over HTTP: begun, watched, cancelled; presets do what they say; comparisons."""

import json
from itertools import pairwise
from typing import Any

import httpx
import pytest

from hacdbs_sim.client import Client, serve_in_thread
from tests.support.waiting import waited_for

pytestmark = pytest.mark.anyio

WRITING = {"slot": 0, "kind": "sequential", "writes_per_second": 50_000}
SLOT = {"slot": 0, "guest_phys_addr": "0x40000000", "memory_size": "16MiB"}
VM: dict[str, Any] = {
    "manual_dirty_log_protect2": 1,
    "cpus": 2,
    "memslots": [SLOT],
    "workloads": [WRITING],
}
LIMIT = {"downtime_limit_ns": 100_000}


async def begin(client: httpx.AsyncClient, vm: dict[str, Any] = VM, **fields: Any) -> str:
    made = await client.post("/v1/vms", json=vm)
    body = {"vm_id": made.json()["vm_id"], **LIMIT, **fields}
    answer = await client.post("/v1/migrations", json=body)
    assert answer.status_code == 202, answer.text
    location: str = answer.headers["location"]
    return location


async def end(client: httpx.AsyncClient, location: str) -> dict[str, Any]:
    return await waited_for(client.get, location)


async def test_a_migration_is_begun_and_ends_by_itself(client: httpx.AsyncClient) -> None:
    location = await begin(client)

    report = await end(client, location)

    assert location == "/v1/migrations/default-m1"
    assert (report["migration_id"], report["vm_id"]) == ("default-m1", "default-1")
    assert (report["status"], report["reason"]) == ("completed", "converged")
    assert report["verification"]["lost_pages"] == 0
    assert report["iterations"][0]["sent_pages"] == 4096
    assert report["iterations"][-1]["phase"] == "device"
    assert report["totals"]["iterations"] == len(report["iterations"])


async def test_the_spec_says_how_it_was_run_with_nothing_left_out(
    client: httpx.AsyncClient,
) -> None:
    action = {"op": "set_cpu", "cpu": 1, "online": False}
    location = await begin(
        client, auto_converge={"max": 50}, schedule=[{"iteration": 1, "action": action}]
    )

    report = await end(client, location)

    assert report["spec"] == {
        "bandwidth_bytes_per_second": 1_250_000_000,
        "downtime_limit_ns": 100_000,
        "switchover_bandwidth_bytes_per_second": None,
        "max_iterations": 30,
        "timeout_ns": None,
        "stall_ns": None,
        "timeout_strategy": "cancel",
        "auto_converge": {
            "initial": 20,
            "increment": 10,
            "max": 50,
            "trigger_threshold": 50,
            "tailslow": False,
            "periodic_sync": True,
            "after_iterations": None,
        },
        "pause_before_switchover": False,
        "postcopy": None,
        "slots": [0],
        "enable_logging": True,
        "clear_chunk_pages": 262_144,
        "clear_order": "before_copy",
        "verify": True,
        "full_first_pass": True,
        "zero_pages": False,
        "on_layout_change": "fail",
        "link": None,
        "device_state_bytes": 0,
        "device_state_ns": 0,
        "stop_latency_ns": 0,
        "timing": "windows",
        "schedule": [{"at": None, "iteration": 1, "action": action, "set": None}],
    }
    (done,) = report["scheduled"]
    assert (done["iteration"], done["op"], done["problem"]) == (1, "set_cpu", None)


async def test_the_hazard_is_shown_with_the_pages_that_are_lost(client: httpx.AsyncClient) -> None:
    slow: dict[str, Any] = {"clear_order": "after_copy", "bandwidth_bytes_per_second": 64_000_000}
    report = await end(client, await begin(client, **slow))

    (slot,) = report["verification"]["slots"]
    assert slot["lost_pages"] > 0
    assert sum(count for _, count in slot["lost_ranges"]) == slot["lost_pages"]


async def test_a_read_that_fails_after_clearing_is_a_failure_with_its_problem(
    client: httpx.AsyncClient,
) -> None:
    faulty = {**VM, "manual_dirty_log_protect2": 0}
    faulty["faults"] = [{"type": "copy_to_user", "after": 1}]

    report = await end(client, await begin(client, faulty))

    assert report["status"] == "failed"
    assert report["problem"]["errno"] == "EFAULT"
    assert report["verification"]["lost_pages"] > 0
    meant = await client.get(f"/problems/{report['problem']['code']}")
    assert meant.status_code == 200


SCHEDULABLE: list[dict[str, Any]] = [
    {"op": "guest_write", "gfns": [262_144]},
    {"op": "guest_read", "gfns": [262_144]},
    {"op": "host_write", "gfns": [262_144]},
    {"op": "host_unmap", "gfns": [262_144]},
    {"op": "host_discard", "gfns": [262_144]},
    {"op": "hint_free", "gfns": [262_144]},
    {"op": "track_versions", "enabled": True},
    {"op": "get_dirty_log", "slot": 0},
    {"op": "clear_dirty_log", "slot": 0, "page_ranges": [[0, 64]]},
    {"op": "set_memslot", "slot": 1, "guest_phys_addr": 0, "memory_size": 4096},
    {"op": "delete_memslot", "slot": 1},
    {"op": "set_cpu", "cpu": 1, "online": False},
    {"op": "add_fault", "type": "ipaf"},
    {"op": "delete_fault", "fault_id": "f1"},
    {"op": "delete_faults"},
    {"op": "add_workload", **WRITING},
    {"op": "delete_workload", "workload_id": "w1"},
    {"op": "update_vm", "manual_dirty_log_protect2": 1},
    {"op": "run_guest", "duration_ns": 1000},
    {"op": "advance_clock", "duration_ns": 1000},
    {"op": "delete_workloads"},
]


async def test_each_action_of_a_batch_can_be_scheduled(client: httpx.AsyncClient) -> None:
    schedule = [{"iteration": 0, "action": action} for action in SCHEDULABLE]

    report = await end(client, await begin(client, schedule=schedule))

    assert [each["op"] for each in report["scheduled"]] == [each["op"] for each in SCHEDULABLE]
    assert [each["problem"] for each in report["scheduled"]] == [None] * len(SCHEDULABLE)
    assert report["status"] == "completed"


@pytest.mark.parametrize(
    ("action", "pointer"),
    [
        ({"op": "need_versions", "needed": True}, "/schedule/0/action/op"),
        ({"op": "guest_run", "duration_ns": 1}, "/schedule/0/action/op"),
        ({"op": "get_dirty_log", "slot": 0, "format": "summary"}, "/schedule/0/action/format"),
    ],
)
async def test_what_is_no_action_of_a_schedule_is_refused_by_its_place(
    client: httpx.AsyncClient, action: dict[str, Any], pointer: str
) -> None:
    body = {"vm_id": "default-1", "schedule": [{"iteration": 0, "action": action}]}

    answer = await client.post("/v1/migrations", json=body)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer


async def test_a_wait_for_a_phase_or_a_pass_returns_there_or_later(
    client: httpx.AsyncClient,
) -> None:
    location = await begin(client, pace_ms=40)

    setup = await client.get(location, params={"wait_for": "setup", "wait_seconds": 60})
    first = await client.get(location, params={"wait_for": "iteration-1", "wait_seconds": 60})
    paused = await client.get(location, params={"wait_for": "pre-switchover", "wait_seconds": 60})

    assert setup.json()["status"] in {"setup", "active"}
    assert len(first.json()["iterations"]) >= 1
    assert paused.json()["status"] in {"pre-switchover", "device", "completed"}


async def test_a_wait_that_is_too_short_returns_the_current_status(
    client: httpx.AsyncClient,
) -> None:
    location = await begin(client, pace_ms=10_000)

    answer = await client.get(location, params={"wait_for": "completed", "wait_seconds": 1})

    assert answer.json()["status"] in {"setup", "active"}
    assert (await client.post(location + "/cancel")).status_code == 200


async def test_a_phase_that_will_not_come_is_waited_for_to_the_end(
    client: httpx.AsyncClient,
) -> None:
    location = await begin(client)

    answer = await client.get(location, params={"wait_for": "failed", "wait_seconds": 60})

    assert answer.json()["status"] == "completed"


@pytest.mark.parametrize("wait_for", ["never", "iteration-", "iteration-x", "end\n", "cancelling"])
async def test_what_cannot_be_waited_for_is_refused(
    client: httpx.AsyncClient, wait_for: str
) -> None:
    location = await begin(client)

    answer = await client.get(location, params={"wait_for": wait_for})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "wait_for"


async def test_cancel_answers_the_same_whatever_the_phase(client: httpx.AsyncClient) -> None:
    location = await begin(client, pace_ms=10_000)

    first = await client.post(location + "/cancel")
    report = await end(client, location)
    again = await client.post(location + "/cancel")

    assert first.json()["status"] in {"cancelling", "cancelled"}
    assert (report["status"], report["reason"]) == ("cancelled", "cancel")
    assert again.json() == report


async def test_the_view_of_qmp_is_part_of_the_report(client: httpx.AsyncClient) -> None:
    location = await begin(client)
    report = await end(client, location)

    shown = (await client.get(location + "/query-migrate")).json()

    assert shown == report["qmp"]
    assert shown["status"] == "completed"
    assert shown["ram"]["total"] == 16 << 20


async def test_passes_are_given_as_json_and_as_a_table(client: httpx.AsyncClient) -> None:
    location = await begin(client)
    report = await end(client, location)

    listed = await client.get(location + "/iterations")
    table = await client.get(location + "/iterations", headers={"accept": "text/csv"})

    assert listed.json()["iterations"] == report["iterations"]
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    names, *rows = (line.split(",") for line in table.text.splitlines())
    assert names[:3] == ["iteration", "phase", "started_ns"]
    assert sorted(names) == sorted(report["iterations"][0])
    assert rows == [[str(each[name]) for name in names] for each in report["iterations"]]


async def test_migrations_are_listed_by_session_and_page(client: httpx.AsyncClient) -> None:
    for _ in range(3):
        await end(client, await begin(client))

    first = (await client.get("/v1/migrations", params={"limit": 2})).json()
    rest = await client.get("/v1/migrations", params={"page_token": first["next_page_token"]})
    everywhere = (await client.get("/v1/migrations", params={"session_id": "-"})).json()

    ids = [each["migration_id"] for each in first["migrations"] + rest.json()["migrations"]]
    assert ids == ["default-m1", "default-m2", "default-m3"]
    assert len(everywhere["migrations"]) == 3
    assert everywhere["migrations"][0]["iteration_count"] > 1


async def test_a_preset_gives_way_to_what_is_given(client: httpx.AsyncClient) -> None:
    vm = {**VM, "workloads": []}

    report = await end(
        client, await begin(client, vm, preset="never_converges", downtime_limit_ns=5)
    )

    assert report["spec"]["downtime_limit_ns"] == 5
    assert report["spec"]["max_iterations"] == 10


async def test_each_preset_ends_on_its_vm_as_it_says(client: httpx.AsyncClient) -> None:
    presets = (await client.get("/v1/migration-presets")).json()["presets"]

    reports = {}
    for preset in presets:
        vm = (await client.post("/v1/vms", json=preset["vm"])).json()
        body = {"vm_id": vm["vm_id"], "preset": preset["preset"]}
        answer = await client.post("/v1/migrations", json=body)
        reports[preset["preset"]] = await end(client, answer.headers["location"])

    converges, never = reports["converges"], reports["never_converges"]
    assert converges["reason"] == "converged"
    assert 0 < converges["totals"]["downtime_ns"] < 10_000_000
    # The pass before the last is the sync that found little enough
    sent = [each["sent_pages"] for each in converges["iterations"] if each["sent_pages"]]
    assert len(sent) == 4
    assert all(6 < before / after < 10 for before, after in pairwise(sent))
    assert (never["status"], never["reason"]) == ("cancelled", "max_iterations")
    assert min(each["remaining_pages"] for each in never["iterations"][3:]) > 0.9 * 262_144
    assert {report["verification"]["lost_pages"] for report in reports.values()} == {0}


async def test_a_comparison_runs_the_usual_variants_with_one_seed(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post("/v1/comparisons", json={"vm": VM, "migration": LIMIT})
    location = answer.headers["location"]

    body = await waited_for(client.get, location)

    rows = {row["name"]: row for row in body["rows"]}
    assert body["status"] == "completed"
    assert list(rows) == ["hacdbs", "software", "faults"]
    assert rows["hacdbs"]["hardware_cleaned"] > rows["faults"]["hardware_cleaned"] > 0
    assert rows["software"]["hardware_cleaned"] == 0
    assert rows["faults"]["requeued"] > rows["hacdbs"]["requeued"]
    assert {row["lost_pages"] for row in body["rows"]} == {0}
    assert [report["name"] for report in body["reports"]] == list(rows)
    assert (await client.get("/v1/vms")).json()["vms"] == []
    listed = (await client.get("/v1/comparisons")).json()["comparisons"]
    assert [each["comparison_id"] for each in listed] == ["default-c1"]


async def test_a_variant_is_the_vm_with_what_it_has_other(client: httpx.AsyncClient) -> None:
    variants = [
        {"name": "v1", "kernel": "v1", "manual_dirty_log_protect2": 0},
        {"name": "chunks", "eager_split_chunk_size": "2MiB", "faults": []},
    ]
    body = {"vm": VM, "migration": LIMIT, "variants": variants}
    answer = await client.post("/v1/comparisons", json=body)

    found = await waited_for(client.get, answer.headers["location"])

    v1, chunks = found["rows"]
    assert (v1["clear_ns"], chunks["clear_ns"] > 0) == (0, True)


async def test_a_comparison_that_is_cancelled_says_so(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/comparisons", json={"vm": VM, "pace_ms": 10_000})
    location = answer.headers["location"]

    during = await client.post(location + "/cancel")
    after = await waited_for(client.get, location)

    assert during.json()["status"] == "running"
    assert after["status"] == "cancelled"
    assert {row["status"] for row in after["rows"]} == {"cancelled"}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"vm": {"memslots": [{**SLOT, "guest_phys_addr": "0x1"}]}}, "/vm/memslots/0"),
        ({"vm": {**VM, "workloads": [{**WRITING, "slot": 5}]}}, "/vm/workloads/0"),
        (
            {
                "vm": VM,
                "variants": [
                    {"name": "one"},
                    {"name": "two", "faults": [{"type": "ipaf", "when": {"cpu": 9}}]},
                ],
            },
            "/variants/1/faults/0",
        ),
        ({"vm": VM, "migration": {"slots": [3]}}, "/migration/slots"),
        ({"vm": {**VM, "eager_split_chunk_size": 12345}}, "/vm/eager_split_chunk_size"),
        (
            {"vm": VM, "variants": [{"name": "one", "eager_split_chunk_size": 12345}]},
            "/variants/0/eager_split_chunk_size",
        ),
    ],
)
async def test_a_refused_variant_of_a_comparison_is_named_and_nothing_is_started(
    client: httpx.AsyncClient, body: dict[str, Any], pointer: str
) -> None:
    answer = await client.post("/v1/comparisons", json=body)

    assert answer.status_code in {404, 409}
    assert answer.json()["errors"][0]["pointer"].startswith(pointer)
    assert (await client.get("/v1/comparisons")).json()["comparisons"] == []


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"bandwidth_bytes_per_second": 0}, "/bandwidth_bytes_per_second"),
        ({"clear_chunk_pages": 100}, "/clear_chunk_pages"),
        ({"auto_converge": {"initial": 60, "max": 50}}, "/auto_converge/initial"),
        ({"slots": []}, "/slots"),
        ({"slots": [3]}, "/slots"),
        ({"preset": "quick"}, "/preset"),
        ({"pace_ms": 10_001}, "/pace_ms"),
        ({"schedule": [{"iteration": 0, "action": {"op": "fly"}}]}, "/schedule/0/action/op"),
        ({"unknown": 1}, "/unknown"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_name(
    client: httpx.AsyncClient, fields: dict[str, Any], pointer: str
) -> None:
    await client.post("/v1/vms", json=VM)

    answer = await client.post("/v1/migrations", json={"vm_id": "default-1", **fields})

    assert answer.status_code in {409, 422}
    (error,) = answer.json()["errors"]
    assert error["pointer"] == pointer
    assert (await client.get("/v1/migrations")).json()["migrations"] == []


async def test_variants_of_one_name_are_refused(client: httpx.AsyncClient) -> None:
    twice = [{"name": "one"}, {"name": "one"}]

    answer = await client.post("/v1/comparisons", json={"vm": VM, "variants": twice})

    assert answer.status_code == 409
    assert answer.json()["errors"][0]["pointer"] == "/variants"


async def test_a_key_begins_one_migration_however_often_it_is_sent(
    client: httpx.AsyncClient,
) -> None:
    await client.post("/v1/vms", json=VM)
    request = {
        "json": {"vm_id": "default-1", "pace_ms": 10_000},
        "headers": {"idempotency-key": "once"},
    }

    first = await client.post("/v1/migrations", **request)  # type: ignore[arg-type]
    second = await client.post("/v1/migrations", **request)  # type: ignore[arg-type]
    ended = await client.post(
        "/v1/migrations/default-m1/cancel", headers={"idempotency-key": "end"}
    )

    assert first.content == second.content
    assert second.headers["idempotent-replayed"] == "true"
    assert ended.status_code == 200
    assert len((await client.get("/v1/migrations")).json()["migrations"]) == 1


def report_of(client: Client) -> bytes:
    vm = client.create_vm(**VM)
    migration = vm.start_migration(
        clear_chunk_pages=1024, auto_converge={}, downtime_limit_ns=100_000
    )
    migration.wait()
    return client.http.get(f"/v1/migrations/{migration.migration_id}").content


def test_the_report_is_the_same_to_the_byte_from_a_server_and_in_process() -> None:
    with serve_in_thread() as service, Client(service.url, token="") as client:
        served = report_of(client)
    with Client.in_process() as client:
        in_process = report_of(client)

    assert served == in_process
    assert json.loads(served)["verification"]["verified"]
