from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from fastapi import FastAPI

from app.main import create_app
from app.settings import Settings
from tests.contract.sending import CONTRACT

MEMSLOT = {"guest_phys_addr": "0x40000000", "memory_size": "4MiB", "flags": ["LOG_DIRTY_PAGES"]}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def connect() -> Callable[[FastAPI], httpx.AsyncClient]:
    """The way a test opens a client of an application in this process.

    Whatever a test is about, an answer that the document does not promise fails it.
    """

    def open_client(app: FastAPI) -> httpx.AsyncClient:
        async def judge(answer: httpx.Response) -> None:
            request = answer.request
            path = request.url.raw_path.partition(b"?")[0].decode("ascii")
            await answer.aread()
            CONTRACT.judge(request.method, path, answer.status_code, answer.headers, answer.content)

        return httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://localhost",
            event_hooks={"response": [judge]},
        )

    return open_client


@pytest.fixture
async def client(
    connect: Callable[[FastAPI], httpx.AsyncClient],
) -> AsyncIterator[httpx.AsyncClient]:
    async with connect(create_app(Settings())) as opened:
        yield opened


@pytest.fixture
async def vm(client: httpx.AsyncClient) -> str:
    """The path of a VM with a logging slot of 1,024 pages."""
    answer = await client.post("/v1/vms", json={"vcpus": 2, "memslots": [{"slot": 0, **MEMSLOT}]})
    assert answer.status_code == 201, answer.text
    location: str = answer.headers["location"]
    return location
