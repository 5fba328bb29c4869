from collections.abc import Generator

import pytest

from hacdbs_sim.client import Client


@pytest.fixture(scope="session")
def client() -> Generator[Client]:
    with Client.in_process() as opened:
        yield opened
