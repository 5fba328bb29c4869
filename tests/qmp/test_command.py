"""`hacdbs-sim qmp` as processes, with the clients that QEMU's project publishes: QMPClient and qmp-shell."""

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest
from qemu.qmp import EventListener, QMPClient

from hacdbs_sim.client import Client, serve_in_thread
from tests.qmp.harness import commands, converse
from tests.qmp.transcripts import normal, read
from tests.support.serving import CLEAN_ENVIRONMENT
from tests.support.wire import HANG_SECONDS

PROGRAM: Final = [sys.executable, "-m", "hacdbs_sim.cli", "qmp"]


@pytest.fixture
def directory() -> Generator[Path]:
    """A directory whose path is short enough for sockets."""
    with TemporaryDirectory(prefix="qmp-") as path:
        yield Path(path)


@contextmanager
def running(*arguments: str, sides: int = 1) -> Generator[tuple[subprocess.Popen[str], list[str]]]:
    """Run the command; yield it, and the addresses that it listens on."""
    process = subprocess.Popen(  # noqa: S603 - this program itself
        [*PROGRAM, *arguments],
        env=CLEAN_ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            said = [process.stdout.readline().strip() for _ in range(sides)]
            yield process, [line.rpartition(": ")[2] for line in said]
        finally:
            process.kill()


def refused(*arguments: str, **environ: str) -> tuple[int, str]:
    """Run the command, which does not start; return its exit status, and what it said."""
    ended = subprocess.run(  # noqa: S603 - this program itself
        [*PROGRAM, *arguments],
        env={**CLEAN_ENVIRONMENT, **environ},
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    return ended.returncode, ended.stderr


def test_qemu_qmp_migrates_from_one_socket_to_the_other(directory: Path) -> None:
    async def migrate() -> list[Any]:
        source, target = QMPClient("source"), QMPClient("target")
        await source.connect(str(directory / "src"))
        await target.connect(str(directory / "dst"))
        listener = EventListener("RESUME")
        with target.listen(listener):
            uri = f"unix:{directory / 'migration'}"
            await target.execute("migrate-incoming", {"uri": uri})
            await source.execute("migrate", {"uri": uri})
            await asyncio.wait_for(listener.get(), HANG_SECONDS)
        found = [await each.execute("query-status") for each in (source, target)]
        for each in (source, target):
            await each.execute("quit")
            with suppress(EOFError):  # the process has ended
                await each.disconnect()
        return found

    arguments = ("--unix", str(directory / "src"), "--destination", f"unix:{directory / 'dst'}")
    with running(*arguments, "--slot", "0:0:16MiB", sides=2) as (process, addresses):
        found = asyncio.run(migrate())
        status = process.wait(HANG_SECONDS)

    assert addresses == [f"unix:{directory / 'src'}", f"unix:{directory / 'dst'}"]
    assert [each["status"] for each in found] == ["postmigrate", "running"]
    assert status == 0
    assert list(directory.iterdir()) == []


def test_qmp_shell_talks_to_it(directory: Path) -> None:
    shell = Path(sys.executable).with_name("qmp-shell")
    path = str(directory / "src")
    with running("--unix", path, "--name", "guest one", "--slot", "0:0:16MiB"):
        ended = subprocess.run(  # noqa: S603 - of qemu.qmp
            [shell, path],
            input="query-name\nmigrate-set-parameters downtime-limit=7\nquery-migrate-parameters\n",
            env={**CLEAN_ENVIRONMENT, "HOME": str(directory)},
            capture_output=True,
            text=True,
            timeout=HANG_SECONDS,
            check=False,
        )

    assert "Connected to QEMU 10.0.2" in ended.stdout
    assert '"name": "guest one"' in ended.stdout
    assert '"downtime-limit": 7' in ended.stdout


@pytest.mark.slow
def test_two_processes_meet_by_the_service() -> None:
    """What a harness does that starts a process for each side, and one more for a second destination."""
    with serve_in_thread() as service:
        command = f"{' '.join(PROGRAM)} --url {service.url} --slot 0:0:128MiB --unix {{monitor}}"
        launch = commands(f"{command} --written 32MiB", f"{command} --incoming")
        transcript = asyncio.run(converse("cancel", launch))
        with Client(service.url) as client:
            migrations = [each.status for each in client.list_migrations()]

    assert normal(transcript) == normal(read("cancel"))
    assert migrations == ["cancelled", "completed"]


@pytest.mark.slow
def test_a_vm_of_the_service_is_left_as_it_was(directory: Path) -> None:
    path = str(directory / "src")
    with serve_in_thread() as service, Client(service.url) as client:
        vm = client.create_vm(memslots=[{"slot": 0, "guest_phys_addr": 0, "memory_size": "16MiB"}])
        with running("--url", service.url, "--vm", vm.vm_id, "--unix", path) as (process, _):
            process.send_signal(signal.SIGTERM)
            status = process.wait(HANG_SECONDS)
        with running("--url", service.url, "--session", "default", "--unix", path) as (other, _):
            made = [each.vm_id for each in client.list_vms()]
            other.send_signal(signal.SIGINT)
            assert other.wait(HANG_SECONDS) == 0
        left = [each.vm_id for each in client.list_vms()]

    assert status == 0
    assert (made, left) == (["default-1", "default-2"], ["default-1"])


@pytest.mark.slow
def test_it_listens_on_any_free_port(directory: Path) -> None:
    with running("--tcp", "127.0.0.1:0", "--incoming") as (_, (address,)):
        protocol, host, port = address.split(":")
        with socket.create_connection((host, int(port)), HANG_SECONDS) as connection:
            greeting = connection.makefile().readline()

    assert protocol == "tcp"
    assert greeting.startswith('{"QMP":')
    assert list(directory.iterdir()) == []


@pytest.mark.slow
def test_a_socket_that_was_left_behind_is_replaced(directory: Path) -> None:
    path = directory / "src"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with running("--unix", str(path), "--incoming") as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(HANG_SECONDS) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([], 2, "give --unix or --tcp"),
        (["--unix", "a", "--tcp", "127.0.0.1:1"], 2, "give --unix or --tcp, and not both"),
        (["--unix", "a", "--incoming", "--vm", "default-1"], 2, "--incoming goes without"),
        (["--unix", "a", "--vm", "x", "--slot", "0:0:1MiB"], 2, "--vm names a VM that there is"),
        (["--tcp", "nonsense"], 2, "error parsing address 'nonsense'"),
        (["--tcp", "127.0.0.1:99999", "--incoming"], 2, "127.0.0.1:99999"),
        (["--unix", "/no/such/directory/a", "--incoming"], 2, "No such file or directory"),
        (["--unix", "a" * 200, "--incoming"], 2, "Failed to bind socket to aaa"),
        (["--unix", "a", "--incoming", "--slot", "0:0:1XiB"], 2, "/memslots/0/memory_size: "),
        (["--unix", "a", "--vm", "x", "--written", "1MiB"], 2, "--vm names a VM that there is"),
        (
            ["--unix", "a", "--written", "1TiB"],
            2,
            "must be at most 128 MiB, the size of the largest",
        ),
        (["--unix", "a", "--slot", "0:0:1"], 3, "409 invalid_argument"),
        (["--unix", "a", "--pace", "101"], 2, "101"),
        (["--unix", "a", "--vm", "x", "--url", "http://127.0.0.1:1"], 4, "no service"),
    ],
)
def test_what_cannot_be_served_says_why(arguments: list[str], status: int, said: str) -> None:
    ended = refused(*arguments)

    assert ended[0] == status, ended
    assert said in " ".join(ended[1].replace("│", " ").split())


@pytest.mark.slow
def test_a_file_that_is_no_socket_is_left_as_it_is(directory: Path) -> None:
    file, socket_beside = directory / "notes.txt", directory / "other"
    file.write_text("mine")
    with socket.socket(socket.AF_UNIX) as beside:
        beside.bind(str(socket_beside))
        ended = refused("--unix", str(file), "--destination", f"unix:{socket_beside}")

        assert ended[0] == 2, ended
        assert file.read_text() == "mine"
        assert socket_beside.exists()


@pytest.mark.slow
def test_an_unknown_vm_is_refused(directory: Path) -> None:
    with serve_in_thread() as service:
        ended = refused("--unix", str(directory / "a"), "--vm", "x-1", HACDBS_URL=service.url)

    assert ended[0] == 3
    assert "no_such_vm" in ended[1]
