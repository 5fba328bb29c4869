"""What a service under load did, by the numbers of its order, is the same one after the other.

The service is the whole application in this process, so that its order can be watched; all its calls on
VMs run in worker threads, and arming and disarming faults come between. A batch and a migration are many
changes; a session that is reset gives the same VM ids once more.
"""

import asyncio
from random import Random
from typing import Any, Final

import httpx
import pytest

from app.main import create_app
from app.service import fleet, vm_runtime
from app.service.migrations import prepared
from app.settings import LogLevel, Settings
from hacdbs_sim.model import AddUniform, CreateVm, MigrationSpec
from tests.concurrency.vm_calls import BASE_GFN, CPUS, CREATION, SLOTS, random_call
from tests.support.recorded_order import Recorded
from tests.support.wire import HANG_SECONDS

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

CLIENTS: Final = 32
CALLS_EACH: Final = 20
SESSIONS: Final = ("default", "a", "b")
WORKLOAD: Final = {"slot": 0, "kind": "uniform", "writes_per_second": 1_000_000}

MIGRATED: Final = CreateVm(
    session_id="migrated",
    cpus=CPUS,
    manual_dirty_log_protect2=1,
    memslots=SLOTS,
    workloads=(AddUniform(slot=0, writes_per_second=10**7),),
)
"""Of a session that nobody resets: its migration ends by itself, whatever comes between."""

MIGRATION: Final = MigrationSpec(
    bandwidth_bytes_per_second=10**9, downtime_limit_ns=0, max_iterations=20
)

FIRST: Final = [
    ("POST", "/v1/sessions", {"session_id": "a"}),
    ("POST", "/v1/sessions", {"session_id": "b"}),
    ("POST", "/v1/sessions/default/reset", None),
    *[("POST", "/v1/vms", CREATION)] * 8,
]
"""What a client begins with, so that there are sessions and VMs."""

_STEADY: Final = "/v1/vms/steady-1"
STEADY: Final = [
    ("POST", "/v1/sessions", {"session_id": "steady"}),
    ("POST", "/v1/vms", {**CREATION, "session_id": "steady", "manual_dirty_log_protect2": 1}),
    ("POST", f"{_STEADY}/guest/write", {"gfns": [BASE_GFN]}),
    ("POST", f"{_STEADY}/guest/run", {"duration_ns": 1000}),
    ("POST", f"{_STEADY}/memslots/0/dirty-log/get", None),
    ("POST", f"{_STEADY}/memslots/0/dirty-log/clear", {"page_ranges": [[0, 1]]}),
    ("POST", f"{_STEADY}/faults", {"type": "ipaf"}),
    ("DELETE", f"{_STEADY}/faults", None),
    ("DELETE", _STEADY, None),
    ("POST", "/v1/sessions/steady/reset", None),
]
"""What one client does in a session of its own, so that each kind of change is among the others."""


def random_request(random: Random, vms: list[str]) -> tuple[str, str, Any]:
    """Draw a request; one in two is a call on a VM."""
    session = random.choice(SESSIONS)
    vm = random.choice([*vms, "migrated-1"])
    chance = random.random()
    if chance < 0.05:
        return random.choice(
            [
                ("POST", "/v1/sessions", {"session_id": session}),
                ("POST", f"/v1/sessions/{session}/reset", None),
                ("DELETE", f"/v1/sessions/{session}", None),
            ]
        )
    if chance < 0.15:
        workloads = [WORKLOAD] * random.randrange(2)
        creation = {**CREATION, "session_id": session, "workloads": workloads}
        return ("POST", "/v1/vms", creation)
    if chance < 0.19:
        return ("DELETE", f"/v1/vms/{random.choice(vms)}", None)
    if chance < 0.26:
        body = {"vm_id": vm, "max_iterations": 3, "downtime_limit_ns": random.choice([0, 10**6])}
        return ("POST", "/v1/migrations", body)
    if chance < 0.45:
        kind = random.choice(["ipaf", "unit_busy", "copy_to_user", "lost_interrupt"])
        fault = {"type": kind, "times": random.choice([1, 3]), "probability": 0.7}
        return random.choice(
            [
                ("POST", f"/v1/vms/{vm}/faults", fault),
                ("POST", f"/v1/vms/{vm}/faults", fault),
                ("DELETE", f"/v1/vms/{vm}/faults/f{random.randint(1, 6)}", None),
                ("DELETE", f"/v1/vms/{vm}/faults", None),
            ]
        )
    call = random_call(random)
    return (call.method, f"/v1/vms/{vm}{call.path}", call.body)


@pytest.mark.usefixtures("eager_threads")
@pytest.mark.parametrize("seed", range(4))
async def test_what_32_clients_did_at_once_replays_by_number(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vm_runtime, "INLINE_WORK", -1)
    monkeypatch.setattr(fleet, "INLINE_WORK", -1)
    app = create_app(Settings(max_vms=40, log_level=LogLevel.ERROR))
    recorded = Recorded(app.context.fleet, monkeypatch)
    app.context.fleet.create_session(MIGRATED.session_id)
    vms = [f"{session}-{number}" for session in SESSIONS for number in range(1, 6)]

    async def client(requests: list[Any], *refusals: int) -> None:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as calls:
            for method, path, body in requests:
                answer = await calls.request(method, path, json=body)
                assert answer.is_success or answer.status_code in refusals, answer.text

    migrated = await app.context.fleet.create_vm(MIGRATED)
    migration = app.context.fleet.migrations.start(
        migrated.session_id,
        migrated.vm_id,
        migrated.runtime,
        prepared(migrated.runtime, MIGRATION),
        pace_ms=1,
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(client(STEADY))
        for number in range(1, CLIENTS):
            random = Random(f"{seed} {number}")
            requests = [random_request(random, vms) for _ in range(CALLS_EACH)]
            group.create_task(client(FIRST[number - 1 : number] + requests, 404, 409))
    await migration.run.wait(lambda: False, HANG_SECONDS)
    await app.context.fleet.migrations.stop()

    recorded.assert_replays()
    assert recorded.ops() >= {
        *("create_session", "reset_session", "create_vm", "delete_vm", "run_guest"),
        *("guest_write", "get_dirty_log", "clear_dirty_log", "add_fault", "delete_faults"),
    }
