"""Real services: one as it is, one whose calls all run in worker threads, however short they are."""

from collections.abc import Generator

import pytest

from tests.support.serving import ALL_IN_THREADS, Serving, serving


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def service() -> Generator[Serving]:
    with serving() as running:
        yield running


@pytest.fixture(scope="session")
def threaded_service() -> Generator[Serving]:
    with serving(constants=ALL_IN_THREADS) as running:
        yield running


@pytest.fixture(params=["service", "threaded_service"])
def either_service(request: pytest.FixtureRequest) -> Serving:
    running: Serving = request.getfixturevalue(request.param)
    return running
