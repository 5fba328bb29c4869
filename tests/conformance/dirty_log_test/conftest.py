from collections.abc import AsyncIterator, Generator

import httpx
import pytest

from app.main import create_app
from app.settings import LogLevel, Settings
from tests.support.service_process import running_service
from tests.support.wire import HANG_SECONDS


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A service in this process, through its real HTTP application."""
    transport = httpx.ASGITransport(create_app(Settings(log_level=LogLevel.WARNING)))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as opened:
        yield opened


@pytest.fixture(scope="module")
def service_url() -> Generator[str]:
    """A service in a process of its own."""
    with running_service({"HACDBS_LOG_LEVEL": "warning"}) as url:
        yield url


@pytest.fixture
async def real_client(service_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        base_url=service_url, timeout=HANG_SECONDS, trust_env=False
    ) as opened:
        yield opened
