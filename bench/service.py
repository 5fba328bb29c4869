"""A service of its own, in a process of its own, and the VMs that the rows make in it."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from bench.wire import Connection, Crowd, request

ROOT: Final = Path(__file__).resolve().parent.parent
START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 10.0
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class Service:
    """A running service."""

    def __init__(self, port: int, pid: int, connection: Connection) -> None:
        self.port = port
        self._pid = pid
        self.connection = connection

    @property
    def rss_bytes(self) -> int:
        """The memory that its process has resident."""
        return rss_bytes(self._pid)

    def make_vm(self, size_bytes: int, manual_protect: int = 0) -> str:
        """Make a VM with one logging slot; return its path."""
        slots = [slot_of(size_bytes)]
        wanted = {"memslots": slots, "manual_dirty_log_protect2": manual_protect}
        return f"/v1/vms/{self.connection.call('POST', '/v1/vms', wanted)['vm_id']}"

    @contextmanager
    def vms(self, count: int, size_bytes: int, manual_protect: int = 0) -> Generator[list[str]]:
        """Make VMs with one logging slot each, and delete them in the end; return their paths."""
        paths = [self.make_vm(size_bytes, manual_protect) for _ in range(count)]
        try:
            yield paths
        finally:
            for path in paths:
                self.connection.exchange(request("DELETE", path))

    @contextmanager
    def crowd(self, count: int) -> Generator[Crowd]:
        """Open some connections."""
        with closing(Crowd(self.port, count)) as crowd:
            yield crowd


def slot_of(size_bytes: int) -> dict[str, object]:
    """Return the JSON of a logging slot at guest frame 0."""
    return {
        "slot": 0,
        "guest_phys_addr": 0,
        "memory_size": size_bytes,
        "flags": ["LOG_DIRTY_PAGES"],
    }


def rss_bytes(pid: int) -> int:
    """Return the memory that a process has resident."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES


@contextmanager
def service(**settings: str) -> Generator[Service]:
    """Run the service, empty endpoints included, on any free port of loopback; its log is a file."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("HACDBS_")}
    with tempfile.TemporaryDirectory(prefix="hacdbs-bench-") as directory:
        port_file, log_path = Path(directory) / "port", Path(directory) / "log"
        with (
            log_path.open("w") as log,
            subprocess.Popen(
                [sys.executable, "-m", "bench.serving", str(port_file)],
                cwd=ROOT,
                env={"HACDBS_LOG_LEVEL": "warning", **environ, **settings},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            ) as process,
        ):
            try:
                give_up_at = time.monotonic() + START_SECONDS
                while not port_file.exists():
                    alive = process.poll() is None and time.monotonic() < give_up_at
                    assert alive, f"the service did not start: {log_path.read_text()}"
                    time.sleep(0.02)
                port = int(port_file.read_text())
                with closing(Connection(port)) as connection:
                    yield Service(port, process.pid, connection)
            finally:
                process.terminate()
                process.wait(STOP_SECONDS)
