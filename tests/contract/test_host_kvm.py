"""Problems about VMs of the host's KVM point at a field of the request that was sent."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.main import create_app
from app.settings import Settings
from tests.support.real_kvm import needs_kvm

pytestmark = [pytest.mark.anyio, needs_kvm]

Connect = Callable[[FastAPI], httpx.AsyncClient]
VM: dict[str, Any] = {
    "backend": "host_kvm",
    "memslots": [{"slot": 0, "guest_phys_addr": "0x40000000", "memory_size": "4MiB"}],
}


async def pointer_of(connect: Connect, path: str, body: dict[str, Any]) -> str:
    async with connect(create_app(Settings(host_kvm=True))) as client:
        assert (await client.post("/v1/vms", json=VM)).status_code == 201
        response = await client.post(path, json=body)
    assert response.status_code == 409, response.text
    pointer: str = response.json()["errors"][0]["pointer"]
    return pointer


async def test_a_comparison_points_at_the_backend(connect: Connect) -> None:
    body = {"vm": VM, "variants": [{"name": "one"}]}

    assert await pointer_of(connect, "/v1/comparisons", body) == "/vm/backend"


async def test_a_migration_points_at_the_vm(connect: Connect) -> None:
    assert await pointer_of(connect, "/v1/migrations", {"vm_id": "default-1"}) == "/vm_id"


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("write", {"gfns": [1 << 40]}),
        ("write", {"gfn_ranges": [[1 << 40, 1]]}),
        ("write-memory", {"gpa_ranges": [["0xfffffffffffff", 1]]}),
    ],
)
async def test_an_access_points_at_its_own_field(
    connect: Connect, operation: str, body: dict[str, Any]
) -> None:
    (field,) = body

    assert await pointer_of(connect, f"/v1/vms/default-1/guest/{operation}", body) == f"/{field}"
