"""A real service in a thread, and the command line pointed at it."""

import json
from collections.abc import Callable, Generator
from typing import Any, TypeAlias

import pytest
from typer.testing import CliRunner, Result

from hacdbs_sim.cli.root import cli
from hacdbs_sim.client import Client, Service, Vm, serve_in_thread

BASE_GFN = 0x40000
SLOT = "0:0x40000000:4MiB:log"
NPAGES = 1024

Run: TypeAlias = Callable[..., Result]
RunJson: TypeAlias = Callable[..., Any]


@pytest.fixture(autouse=True)
def _width_of_pipes(monkeypatch: pytest.MonkeyPatch) -> None:
    # The workers of pytest-xdist have that of a terminal
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(scope="session")
def service() -> Generator[Service]:
    with serve_in_thread() as running:
        yield running


@pytest.fixture
def client(service: Service) -> Generator[Client]:
    """A client of the service, whose default session is empty."""
    with service.client() as opened:
        opened.session().reset()
        yield opened


@pytest.fixture
def vm(client: Client) -> Vm:
    """`default-1`, with a logging slot 0 of 1,024 pages at gfn 0x40000."""
    return client.create_vm(
        vcpus=2,
        cpus=2,
        memslots=[
            {
                "slot": 0,
                "guest_phys_addr": 0x4000_0000,
                "memory_size": "4MiB",
                "flags": ["LOG_DIRTY_PAGES"],
            }
        ],
    )


@pytest.fixture
def run(client: Client, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command against the service."""
    monkeypatch.setenv("HACDBS_URL", str(client.http.base_url))

    def invoke(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(cli, arguments, input=stdin, catch_exceptions=False)

    return invoke


@pytest.fixture
def run_json(run: Run) -> RunJson:
    """Run a command that goes well, and read what it prints as JSON."""

    def invoke(*arguments: str, stdin: str | None = None) -> Any:
        result = run(*arguments, "--json", stdin=stdin)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return invoke


def rows(text: str) -> list[list[str]]:
    """Return the words of each line."""
    return [line.split() for line in text.splitlines()]
