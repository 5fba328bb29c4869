"""A migration of a large VM in the background: everybody else is answered meanwhile."""

import asyncio
from typing import Any, Final

import pytest

from tests.support.serving import Serving
from tests.support.waiting import has_passes, waited_for
from tests.support.wire import AsyncCalls

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

GIB: Final = 1 << 30
ENDLESS: Final = {"max_iterations": 1_000, "downtime_limit_ns": 0}


def large(session_id: str) -> dict[str, Any]:
    return {
        "session_id": session_id,
        "manual_dirty_log_protect2": 3,
        "memslots": [{"slot": 0, "guest_phys_addr": 0, "memory_size": 64 * GIB}],
        "workloads": [{"slot": 0, "kind": "uniform", "writes_per_second": 100_000}],
    }


async def begin(calls: AsyncCalls, session_id: str) -> tuple[str, str]:
    """Begin a migration that continues until it is ended; return the paths of VM and migration."""
    await calls.made("POST", "/v1/sessions", {"session_id": session_id})
    vm_id = (await calls.made("POST", "/v1/vms", large(session_id))).json()["vm_id"]
    body = {"vm_id": vm_id, **ENDLESS}
    migration = (await calls.made("POST", "/v1/migrations", body)).json()["migration_id"]
    return f"/v1/vms/{vm_id}", f"/v1/migrations/{migration}"


async def test_others_are_answered_while_it_runs_and_so_are_calls_on_its_vm(
    service: Serving,
) -> None:
    async with AsyncCalls(service.url) as calls, AsyncCalls(service.url) as other:
        vm, migration = await begin(calls, "migrates")
        waiting = asyncio.ensure_future(
            waited_for(calls.get, migration, "iteration-2", has_passes(2))
        )

        ready = [await other.call("GET", "/readyz") for _ in range(20)]
        polls = [await other.call("GET", migration) for _ in range(5)]
        write = await other.call("POST", f"{vm}/guest/write", {"gfns": [1, 2, 3]})
        fault = await other.call("POST", f"{vm}/faults", {"type": "ipaf", "times": 1})
        second = await other.call("POST", "/v1/migrations", {"vm_id": vm.rpartition("/")[2]})
        report = await waiting
        await other.made("POST", f"{migration}/cancel")
        ended = await waited_for(other.get, migration)

    assert {answer.status for answer in [*ready, *polls, write]} == {200}
    assert fault.status == 201
    assert (second.status, second.code) == (409, "migration_running")
    assert len(report["iterations"]) >= 2
    assert ended["status"] == "cancelled"
    assert ended["verification"]["lost_pages"] == 0


@pytest.mark.parametrize("ending", ["reset", "delete_session", "delete_vm"])
async def test_a_waiting_client_is_answered_when_the_vm_is_deleted(
    service: Serving, ending: str
) -> None:
    session = f"goes-by-{ending.replace('_', '-')}"
    async with AsyncCalls(service.url) as calls, AsyncCalls(service.url) as other:
        vm, migration = await begin(calls, session)
        waiting = asyncio.ensure_future(waited_for(calls.get, migration))
        await waited_for(other.get, migration, "iteration-1", has_passes(1))

        match ending:
            case "reset":
                await other.made("POST", f"/v1/sessions/{session}/reset")
            case "delete_session":
                await other.made("DELETE", f"/v1/sessions/{session}")
            case _:
                await other.made("DELETE", vm)
        report = await waiting
        afterwards = await other.call("GET", migration)

    assert report["status"] == "cancelled"
    assert report["reason"] == ("vm_deleted" if ending == "delete_vm" else "session_reset")
    assert afterwards.status == (200 if ending == "delete_vm" else 404)


async def test_many_small_ones_run_side_by_side_to_the_same_report(service: Serving) -> None:
    async def migrate(number: int) -> dict[str, Any]:
        session = f"side-{number}"
        small = large(session)
        small["memslots"][0]["memory_size"] = GIB // 16
        async with AsyncCalls(service.url) as calls:
            await calls.made("POST", "/v1/sessions", {"session_id": session})
            vm = (await calls.made("POST", "/v1/vms", small)).json()["vm_id"]
            body = {"vm_id": vm, "max_iterations": 5, "downtime_limit_ns": 1_000_000}
            begun = (await calls.made("POST", "/v1/migrations", body)).json()["migration_id"]
            report = await waited_for(calls.get, f"/v1/migrations/{begun}")
        return {name: report[name] for name in ("status", "iterations", "verification")}

    first, *others = await asyncio.gather(*(migrate(number) for number in range(12)))

    assert first["verification"]["lost_pages"] == 0
    assert all(other == first for other in others)
