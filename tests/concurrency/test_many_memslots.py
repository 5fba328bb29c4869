"""Calls that go over thousands of memslots do so in worker threads."""

import threading
from collections.abc import AsyncGenerator, Callable
from typing import Any

import httpx
import pytest

from app.main import create_app
from app.service.fleet import Vm
from app.settings import Settings
from hacdbs_sim.model import (
    CreateVm,
    GetMemslotLife,
    GetStage2,
    ListMemslotLives,
    ListMemslots,
    SetMemslot,
)
from hacdbs_sim.sim.machine import Machine

pytestmark = pytest.mark.anyio

MEMSLOTS = 2_000
SPEC = CreateVm(
    memslots=tuple(
        SetMemslot(slot=n, guest_phys_addr=n << 13, memory_size=4096) for n in range(MEMSLOTS)
    )
)


@pytest.fixture
async def vm() -> AsyncGenerator[tuple[httpx.AsyncClient, Vm]]:
    app = create_app(Settings())
    made = await app.context.fleet.create_vm(SPEC)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        yield client, made
        await app.context.fleet.migrations.stop()


@pytest.fixture
def queries(monkeypatch: pytest.MonkeyPatch) -> list[tuple[type, int]]:
    """The queries of machines, and the thread of each."""
    seen: list[tuple[type, int]] = []
    real: Callable[[Machine, Any], Any] = Machine.query

    def query(machine: Machine, asked: Any) -> Any:
        seen.append((type(asked), threading.get_ident()))
        return real(machine, asked)

    monkeypatch.setattr(Machine, "query", query)
    return seen


@pytest.mark.parametrize(
    ("call", "query"),
    [
        (("GET", "/v1/vms/default-1/stage2", None), GetStage2),
        (("POST", "/v1/migrations", {"vm_id": "default-1"}), ListMemslots),
        (("POST", "/v1/vms/default-1/copies", {}), ListMemslots),
    ],
)
async def test_the_event_loop_does_not_go_over_them(
    vm: tuple[httpx.AsyncClient, Vm],
    queries: list[tuple[type, int]],
    call: tuple[str, str, dict[str, str] | None],
    query: type,
) -> None:
    client, _ = vm
    method, path, body = call

    answer = await client.request(method, path, json=body)

    threads = {thread for kind, thread in queries if kind is query}
    assert answer.is_success
    assert threads
    assert threading.get_ident() not in threads


async def test_a_migration_asks_for_each_memslot_a_few_times(
    vm: tuple[httpx.AsyncClient, Vm], queries: list[tuple[type, int]]
) -> None:
    client, _ = vm
    started = await client.post("/v1/migrations", json={"vm_id": "default-1"})
    path = f"/v1/migrations/{started.json()['migration_id']}?wait_for=end&wait_seconds=20"

    ended = await client.get(path)

    kinds = [kind for kind, _ in queries]
    assert ended.json()["status"] == "completed"
    assert kinds.count(GetMemslotLife) <= 4 * MEMSLOTS
    assert kinds.count(ListMemslotLives) < 50  # each goes over all of them
