"""A real service in a process of its own, shared by the stories: each takes sessions of its own."""

import secrets
from collections.abc import Generator

import httpx
import pytest

from app.cli.client import Session, open_http
from app.cli.service import running_service


@pytest.fixture(scope="session")
def service_url() -> Generator[str]:
    with running_service({"HACDBS_LOG_LEVEL": "warning"}) as url:
        yield url


@pytest.fixture
def http(service_url: str) -> Generator[httpx.Client]:
    with open_http(service_url) as client:
        yield client


@pytest.fixture
def session(http: httpx.Client) -> Generator[Session]:
    with Session(http, f"e2e-{secrets.token_hex(4)}") as made:
        yield made


@pytest.fixture
def other_session(http: httpx.Client) -> Generator[Session]:
    with Session(http, f"e2e-{secrets.token_hex(4)}") as made:
        yield made
