"""calc-dirty-rate and query-dirty-rate over HTTP: by themselves, and beside a migration."""

import asyncio
from typing import Any

import httpx
import pytest

from hacdbs_sim.model import KNOBS
from tests.support.wire import HANG_SECONDS

pytestmark = pytest.mark.anyio

MIB = 1 << 20
FREE = {knob.name: 0 for knob in KNOBS}
VM = {
    "memslots": [{"slot": 0, "guest_phys_addr": "0x40000000", "memory_size": "256MiB"}],
    "workloads": [{"slot": 0, "kind": "sequential", "writes_per_second": 16_384}],
    "costs": FREE,
}
PATH = "/v1/vms/default-1/dirty-rate"
SECOND = 10**9
BITMAP = {"duration_ns": SECOND, "mode": "dirty_bitmap"}
SLOW = {
    "vm_id": "default-1",
    "bandwidth_bytes_per_second": 128 * MIB,
    "pause_before_switchover": True,
}


@pytest.fixture
async def vm(client: httpx.AsyncClient) -> None:
    assert (await client.post("/v1/vms", json=VM)).status_code == 201


async def measure(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await client.post(PATH, json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def wait_for(client: httpx.AsyncClient, phase: str) -> dict[str, Any]:
    path = "/v1/migrations/default-m1"
    answer = await client.get(path, params={"wait_for": phase, "wait_seconds": 20})
    info: dict[str, Any] = answer.json()
    return info


async def urge_to_the_switch_over(client: httpx.AsyncClient) -> None:
    """Wake a migration that waits for its pace, again and again."""
    path = "/v1/migrations/default-m1"
    async with asyncio.timeout(HANG_SECONDS):
        while (await client.get(path)).json()["status"] != "pre-switchover":
            await client.patch(path, json={"max_iterations": 30})
            await asyncio.sleep(0.001)


async def now_ns(client: httpx.AsyncClient) -> int:
    return int((await client.get("/v1/vms/default-1/clock")).json()["now_ns"])


@pytest.mark.usefixtures("vm")
async def test_it_runs_the_guest_and_answers_with_the_rate(client: httpx.AsyncClient) -> None:
    before = (await client.get(PATH)).json()

    info = await measure(client, **BITMAP)

    assert before["status"] == "unstarted"
    assert info == {
        "status": "measured",
        "mode": "dirty_bitmap",
        "duration_ns": SECOND,
        "sample_pages_per_gib": 0,
        "started_ns": 0,
        "elapsed_ns": SECOND,
        "dirty_rate": 64,
        "sample_pages": 0,
        "dirty_pages": 16_384,
        "slots": [
            {
                "slot": 0,
                "npages": 65_536,
                "sample_pages": 0,
                "dirty_pages": 16_384,
                "skipped": False,
            }
        ],
        "problem": None,
    }
    assert (await client.get(PATH)).json() == info
    assert await now_ns(client) == SECOND


@pytest.mark.usefixtures("vm")
async def test_pages_are_sampled_unless_another_mode_is_given(client: httpx.AsyncClient) -> None:
    info = await measure(client, duration_ns=4 * SECOND)

    # Each page was written once: 256 MiB in 4 s
    assert (info["mode"], info["sample_pages_per_gib"]) == ("page_sampling", 512)
    assert (info["sample_pages"], info["dirty_pages"], info["dirty_rate"]) == (128, 128, 64)


@pytest.mark.parametrize(
    ("given", "pointer"),
    [
        ({"duration_ns": 49_999_999}, "/duration_ns"),
        ({"duration_ns": 60_000_000_001}, "/duration_ns"),
        ({"duration_ns": SECOND, "sample_pages_per_gib": 127}, "/sample_pages_per_gib"),
        ({"duration_ns": SECOND, "sample_pages_per_gib": 16_385}, "/sample_pages_per_gib"),
        ({"duration_ns": SECOND, "mode": "page-sampling"}, "/mode"),
        ({}, "/duration_ns"),
    ],
)
@pytest.mark.usefixtures("vm")
async def test_what_is_out_of_bounds_is_named(
    client: httpx.AsyncClient, given: dict[str, Any], pointer: str
) -> None:
    answer = await client.post(PATH, json=given)

    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert await now_ns(client) == 0


@pytest.mark.parametrize(
    "given",
    [
        {"duration_ns": 50_000_000, "sample_pages_per_gib": 128},
        {"duration_ns": 60_000_000_000, "sample_pages_per_gib": 16_384},
    ],
)
@pytest.mark.usefixtures("vm")
async def test_the_bounds_themselves_are_taken(
    client: httpx.AsyncClient, given: dict[str, Any]
) -> None:
    info = await measure(client, **given)

    assert info["elapsed_ns"] == given["duration_ns"]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({**BITMAP, "sample_pages_per_gib": 512}, "sample_pages_per_gib"),
        ({**BITMAP, "mode": "dirty_ring"}, "mode"),
    ],
)
@pytest.mark.usefixtures("vm")
async def test_what_qemu_refuses_is_refused_by_name(
    client: httpx.AsyncClient, given: dict[str, Any], field: str
) -> None:
    answer = await client.post(PATH, json=given)

    assert (answer.status_code, answer.json()["code"]) == (409, "invalid_dirty_rate")
    (error,) = answer.json()["errors"]
    assert error["pointer"].endswith(field)
    assert (await client.get(PATH)).json()["status"] == "unstarted"


@pytest.mark.parametrize("mode", ["page_sampling", "dirty_bitmap"])
@pytest.mark.usefixtures("vm")
async def test_beside_a_migration_its_steps_let_the_time_pass(
    client: httpx.AsyncClient, mode: str
) -> None:
    await client.post("/v1/migrations", json={**SLOW, "pace_ms": 10_000})

    begun = await client.post(PATH, json={"duration_ns": SECOND, "mode": mode})
    again = await client.post(PATH, json=BITMAP)
    await urge_to_the_switch_over(client)
    info = (await client.get(PATH)).json()
    await client.post("/v1/migrations/default-m1/cancel")
    report = await wait_for(client, "end")

    assert (begun.status_code, begun.json()["status"]) == (202, "measuring")
    assert begun.headers["location"] == PATH
    assert (again.status_code, again.json()["code"]) == (409, "dirty_rate_measuring")
    assert (info["status"], info["elapsed_ns"]) == ("measured", SECOND)
    assert 48 <= info["dirty_rate"] <= 80
    assert report["verification"] == {**report["verification"], "verified": True, "lost_pages": 0}


@pytest.mark.usefixtures("vm")
async def test_it_goes_on_by_itself_after_a_migration_is_cancelled(
    client: httpx.AsyncClient,
) -> None:
    await client.post("/v1/migrations", json={**SLOW, "pace_ms": 10_000})
    begun = await client.post(PATH, json=BITMAP)

    await client.post("/v1/migrations/default-m1/cancel")
    await wait_for(client, "end")
    async with asyncio.timeout(HANG_SECONDS):
        while (info := (await client.get(PATH)).json())["status"] == "measuring":  # noqa: ASYNC110
            await asyncio.sleep(0.001)

    assert begun.status_code == 202
    assert (info["elapsed_ns"], info["dirty_rate"]) == (SECOND, 64)
    slot = (await client.get("/v1/vms/default-1/memslots/0")).json()
    assert slot["flags"] == []


@pytest.mark.usefixtures("vm")
async def test_what_a_bitmap_took_the_next_incremental_migration_sends(
    client: httpx.AsyncClient,
) -> None:
    slot = {**VM["memslots"][0], "flags": ["LOG_DIRTY_PAGES"]}  # type: ignore[index]
    await client.put("/v1/vms/default-1/memslots/0", json={k: slot[k] for k in slot if k != "slot"})
    whole = {"vm_id": "default-1", "bandwidth_bytes_per_second": 512 * MIB}
    await client.post("/v1/migrations", json=whole)
    await wait_for(client, "end")

    taken = await measure(client, **BITMAP)
    await client.post("/v1/migrations", json={**whole, "full_first_pass": False})
    answer = await client.get(
        "/v1/migrations/default-m2", params={"wait_for": "end", "wait_seconds": 20}
    )

    report = answer.json()
    assert report["totals"]["sent_pages"] >= taken["dirty_pages"] == 16_384
    assert report["verification"] == {**report["verification"], "verified": True, "lost_pages": 0}


@pytest.mark.usefixtures("vm")
async def test_a_vm_that_is_deleted_ends_it(client: httpx.AsyncClient) -> None:
    await client.post("/v1/migrations", json={**SLOW, "pace_ms": 10_000})
    await client.post(PATH, json=BITMAP)

    assert (await client.delete("/v1/vms/default-1")).status_code == 204

    assert (await client.get(PATH)).json()["code"] == "no_such_vm"
