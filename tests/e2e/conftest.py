"""A real service in a process of its own, shared by the stories: each takes sessions of its own."""

import secrets
from collections.abc import Generator

import httpx
import pytest

from hacdbs_sim.client import Client, Session
from tests.support.service_process import running_service
from tests.support.wire import HANG_SECONDS


@pytest.fixture(scope="session")
def service_url() -> Generator[str]:
    with running_service({"HACDBS_LOG_LEVEL": "warning"}) as url:
        yield url


@pytest.fixture
def client(service_url: str) -> Generator[Client]:
    with Client(service_url, timeout=HANG_SECONDS) as opened:
        yield opened


@pytest.fixture
def http(client: Client) -> httpx.Client:
    return client.http


@pytest.fixture
def session(client: Client) -> Generator[Session]:
    with client.create_session(f"e2e-{secrets.token_hex(4)}") as made:
        yield made


@pytest.fixture
def other_session(client: Client) -> Generator[Session]:
    with client.create_session(f"e2e-{secrets.token_hex(4)}") as made:
        yield made
