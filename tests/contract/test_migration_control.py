"""Migrations over HTTP: changed while they run, in post-copy, and to a VM of their own."""

from typing import Any

import httpx
import pytest

from tests.support.waiting import waited_for

pytestmark = pytest.mark.anyio

SLOT = {"slot": 0, "guest_phys_addr": "0x40000000", "memory_size": "16MiB"}
VM: dict[str, Any] = {
    "manual_dirty_log_protect2": 1,
    "memslots": [SLOT],
    "workloads": [{"slot": 0, "kind": "sequential", "writes_per_second": 1_000}],
}
ENDLESS: dict[str, Any] = {"downtime_limit_ns": 0, "max_iterations": 1_000}
CONVERGES: dict[str, Any] = {
    "bandwidth_bytes_per_second": 64_000_000,
    "downtime_limit_ns": 1_000_000,
}
SLOWLY: dict[str, Any] = {
    **ENDLESS,
    "bandwidth_bytes_per_second": 1_000_000,
    "postcopy": {"bandwidth_bytes_per_second": 1_000_000},
    "pace": 100,
}
"""Takes half an hour: long enough for any call."""

AT_ONCE = [{"at": {"ns": 0}, "set": {"command": "start_postcopy"}}]


async def begin(client: httpx.AsyncClient, vm_id: str, **fields: Any) -> str:
    answer = await client.post("/v1/migrations", json={"vm_id": vm_id, **fields})
    assert answer.status_code == 202, answer.text
    location: str = answer.headers["location"]
    return location


async def begin_new(client: httpx.AsyncClient, **fields: Any) -> str:
    made = await client.post("/v1/vms", json=VM)
    return await begin(client, made.json()["vm_id"], **fields)


async def reached(client: httpx.AsyncClient, location: str, phase: str) -> dict[str, Any]:
    params: dict[str, str | int] = {"wait_for": phase, "wait_seconds": 60}
    report: dict[str, Any] = (await client.get(location, params=params)).json()
    assert report["status"] == phase, report
    return report


async def test_settings_are_changed_while_it_runs_and_the_report_lists_them(
    client: httpx.AsyncClient,
) -> None:
    location = await begin_new(client, **{**SLOWLY, "pace": 10})
    await reached(client, location, "active")
    change = {"downtime_limit_ns": 5, "auto_converge": {"initial": 30}, "throttle_percent": 40}

    answer = await client.patch(location, json={**change, "timeout_ns": None})
    await client.patch(location, json={"bandwidth_bytes_per_second": 10**9})
    report = await waited_for(
        client.get, location, "iteration-1", lambda found: len(found["changes"]) > 1
    )

    assert answer.status_code == 200
    first, second = report["changes"]
    assert (first["by"], first["command"], first["iteration"]) == ("call", None, 0)
    assert {name: value for name, value in first["settings"].items() if value is not None} == {
        **change,
        "auto_converge": {
            "initial": 30,
            "increment": 10,
            "max": 99,
            "trigger_threshold": 50,
            "tailslow": False,
            "periodic_sync": True,
            "after_iterations": None,
        },
    }
    assert second["settings"]["bandwidth_bytes_per_second"] == 10**9
    assert report["spec"]["downtime_limit_ns"] == 5
    await client.post(location + "/cancel")


async def test_a_switch_over_is_requested(client: httpx.AsyncClient) -> None:
    location = await begin_new(client, **{**SLOWLY, "pace": 10})

    answer = await client.post(location + "/switch-over")
    report = await waited_for(client.get, location)

    assert answer.status_code == 200
    assert (report["status"], report["reason"]) == ("completed", "requested")
    assert [each["command"] for each in report["changes"]] == ["switch_over"]


async def test_it_waits_before_the_switch_over_until_it_may_continue(
    client: httpx.AsyncClient,
) -> None:
    location = await begin_new(client, **CONVERGES, pause_before_switchover=True)
    waiting = await reached(client, location, "pre-switchover")

    answer = await client.post(location + "/continue")
    report = await waited_for(client.get, location)

    assert waiting["qmp"]["status"] == "pre-switchover"
    assert answer.status_code == 200
    assert (report["status"], report["reason"]) == ("completed", "converged")


async def test_post_copy_is_started_paused_resumed_and_cannot_be_cancelled(
    client: httpx.AsyncClient,
) -> None:
    location = await begin_new(client, **SLOWLY)

    started = await client.post(location + "/start-postcopy")
    active = await reached(client, location, "postcopy-active")
    refused = await client.post(location + "/cancel")
    paused = await client.post(location + "/pause")
    await reached(client, location, "postcopy-paused")
    resumed = await client.post(location + "/resume")
    again = await reached(client, location, "postcopy-active")
    await client.post("/v1/sessions/default/reset")

    assert {started.status_code, paused.status_code, resumed.status_code} == {200}
    assert (refused.status_code, refused.json()["code"]) == (409, "invalid_migration_state")
    assert "postcopy-active" in refused.json()["detail"]
    assert (active["reason"], active["postcopy"]["pauses"]) == ("postcopy", 0)
    assert again["postcopy"]["pauses"] == 1


async def test_a_wait_for_post_copy_ends_with_a_migration_that_never_comes_there(
    client: httpx.AsyncClient,
) -> None:
    location = await begin_new(client, **CONVERGES)

    answer = await client.get(location, params={"wait_for": "postcopy-paused", "wait_seconds": 60})

    assert answer.json()["status"] == "completed"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "", {"downtime_limit_ns": 1}),
        ("POST", "/switch-over", None),
        ("POST", "/start-postcopy", None),
        ("POST", "/continue", None),
        ("POST", "/pause", None),
        ("POST", "/resume", None),
    ],
)
async def test_after_the_end_nothing_can_be_changed(
    client: httpx.AsyncClient, method: str, path: str, body: dict[str, int] | None
) -> None:
    location = await begin_new(client, **CONVERGES)
    before = await waited_for(client.get, location)

    answer = await client.request(method, location + path, json=body)

    assert (answer.status_code, answer.json()["code"]) == (409, "invalid_migration_state")
    assert "completed" in answer.json()["detail"]
    assert (await client.get(location)).json() == before


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"bandwidth_bytes_per_second": 1}, "/bandwidth_bytes_per_second"),
        ({"throttle_percent": 100}, "/throttle_percent"),
        ({"auto_converge": {"initial": 0}}, "/auto_converge/initial"),
        ({"command": "switch_over"}, "/command"),
        ({"pace_ms": 1}, "/pace_ms"),
    ],
)
async def test_a_change_that_the_schema_forbids_is_refused_by_name(
    client: httpx.AsyncClient, body: dict[str, Any], pointer: str
) -> None:
    location = await begin_new(client, **SLOWLY)

    answer = await client.patch(location, json=body)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert (await client.get(location)).json()["changes"] == []
    await client.post(location + "/cancel")


async def test_a_guest_moves_from_host_to_host(client: httpx.AsyncClient) -> None:
    await client.post("/v1/sessions", json={"session_id": "b"})
    to_b = {"session_id": "b", "name": "at b"}

    first = await begin_new(client, **CONVERGES, destination=to_b)
    at_once = (await client.get("/v1/vms/b-1")).json()
    at_b = await waited_for(client.get, first)
    second = await begin(client, at_b["destination_vm_id"], **CONVERGES, destination={})
    at_c = await waited_for(client.get, second)

    assert (at_once["name"], at_once["workloads"]) == ("at b", [])
    assert (at_b["destination_vm_id"], at_c["destination_vm_id"]) == ("b-1", "b-2")
    assert {each["status"] for each in (at_b, at_c)} == {"completed"}
    assert at_b["verification"]["lost_pages"] == at_c["verification"]["lost_pages"] == 0
    counts = {
        vm["vm_id"]: len(vm["workloads"])
        for vm in (await client.get("/v1/vms", params={"session_id": "-"})).json()["vms"]
    }
    assert counts == {"default-1": 0, "b-1": 0, "b-2": 1}


async def test_after_a_cancelled_attempt_another_host_is_tried(client: httpx.AsyncClient) -> None:
    first = await begin_new(client, **SLOWLY, destination={"name": "first"})

    await client.post(first + "/cancel")
    cancelled = await waited_for(client.get, first)
    left = [vm["vm_id"] for vm in (await client.get("/v1/vms")).json()["vms"]]
    second = await begin(client, "default-1", **CONVERGES, destination={"name": "second"})
    report = await waited_for(client.get, second)

    assert (cancelled["status"], cancelled["destination_vm_id"]) == ("cancelled", "default-2")
    assert left == ["default-1"]
    assert (report["status"], report["destination_vm_id"]) == ("completed", "default-3")
    assert (await client.get("/v1/vms/default-3")).json()["name"] == "second"


async def test_a_destination_in_no_session_is_refused_and_nothing_is_left(
    client: httpx.AsyncClient,
) -> None:
    await client.post("/v1/vms", json=VM)
    body = {"vm_id": "default-1", "destination": {"session_id": "none"}}

    answer = await client.post("/v1/migrations", json=body)

    assert (answer.status_code, answer.json()["code"]) == (404, "no_such_session")
    assert (await client.get("/v1/migrations")).json()["migrations"] == []


async def test_pages_given_up_are_not_sent_until_they_are_written(
    client: httpx.AsyncClient,
) -> None:
    made = (await client.post("/v1/vms", json={**VM, "workloads": []})).json()
    url = f"/v1/vms/{made['vm_id']}"
    gfn = made["memslots"][0]["base_gfn"]
    await client.post(f"{url}/guest/write", json={"gfn_ranges": [[gfn, 100]]})
    discarded = await client.post(f"{url}/host/discard", json={"gfn_ranges": [[gfn, 50]]})
    hinted = await client.post(f"{url}/guest/hint-free", json={"gfn_ranges": [[gfn + 50, 50]]})
    await client.post(f"{url}/guest/write", json={"gfns": [gfn, gfn + 50]})

    report = await waited_for(client.get, await begin(client, made["vm_id"], **CONVERGES))

    assert (discarded.json()["pages"], hinted.json()["pages"]) == (50, 50)
    assert report["totals"]["skipped_pages"] == 98
    assert report["totals"]["sent_pages"] == 4_096 - 98
    assert report["verification"]["lost_pages"] == 0


async def test_page_versions_tell_which_write_was_the_last(client: httpx.AsyncClient) -> None:
    made = (await client.post("/v1/vms", json={**VM, "track_versions": True})).json()
    url = f"/v1/vms/{made['vm_id']}"
    gfn = made["memslots"][0]["base_gfn"]
    await client.post(f"{url}/guest/write", json={"gfn_ranges": [[gfn, 3]]})
    await client.post(f"{url}/guest/write", json={"gfns": [gfn + 1]})

    window = await client.get(
        f"{url}/memslots/0/page-versions", params={"first_page": 1, "num_pages": 3}
    )
    ended = await client.post(f"{url}/track-versions", json={"enabled": False})
    without = await client.get(f"{url}/memslots/0/page-versions")

    assert made["track_versions"] is True
    assert window.json() == {
        "slot": 0,
        "first_page": 1,
        "num_pages": 3,
        "last_version": 2,
        "is_complete": True,
        "versions": [2, 1, 0],
    }
    assert ended.json()["track_versions"] is False
    assert (without.json()["versions"], without.json()["num_pages"]) == (None, 4_096)


async def test_a_migration_leaves_page_versions_as_it_found_them(
    client: httpx.AsyncClient,
) -> None:
    tracked = (await client.post("/v1/vms", json={**VM, "track_versions": True})).json()["vm_id"]
    other = (await client.post("/v1/vms", json=VM)).json()["vm_id"]

    for vm_id in (tracked, other):
        await waited_for(client.get, await begin(client, vm_id, **CONVERGES))

    assert (await client.get(f"/v1/vms/{tracked}")).json()["track_versions"] is True
    assert (await client.get(f"/v1/vms/{other}")).json()["track_versions"] is False
