"""A real service in a process of its own, which can be observed from outside."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.service_process import stop
from tests.support.wire import HANG_SECONDS

PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")

ALL_IN_THREADS: Final = "fleet.INLINE_WORK = vm_runtime.INLINE_WORK = -1"
"""No call on a machine is short enough for the event loop."""

CLEAN_ENVIRONMENT: Final = {
    name: value for name, value in os.environ.items() if not name.startswith("HACDBS_")
}


@dataclass(frozen=True, slots=True)
class Serving:
    """A service that answers at `url`."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def rss_bytes(self) -> int:
        """How much memory its process has resident."""
        return int(self._proc("statm").read_text().split()[1]) * PAGE_BYTES

    @property
    def peak_bytes(self) -> int:
        """How much memory its process had resident at most."""
        (line,) = [
            each for each in self._proc("status").read_text().splitlines() if "VmHWM" in each
        ]
        return int(line.split()[1]) << 10

    @property
    def maps(self) -> int:
        """How many memory mappings its process has; the kernel allows 65,530."""
        return len(self._proc("maps").read_text().splitlines())

    @property
    def descriptors(self) -> int:
        """How many files and sockets it has open."""
        return sum(1 for _ in self._proc("fd").iterdir())

    def check(self) -> None:
        """Fail if it has died or has logged anything; for one whose log level is `error`."""
        said = self.log.read_text(errors="replace")
        assert self.process.poll() is None, f"the service died: {said}"
        assert said == "", f"the service logged: {said[:4000]}"

    def _proc(self, name: str) -> Path:
        return Path(f"/proc/{self.process.pid}/{name}")


@contextmanager
def started(command: Sequence[str], environ: Mapping[str, str]) -> Generator[Serving]:
    """Run a command that serves, on any free port of loopback."""
    with tempfile.TemporaryDirectory(prefix="hacdbs-serving-") as directory:
        port_file, log_file = Path(directory) / "port", Path(directory) / "log"
        with (
            log_file.open("ab") as log,
            subprocess.Popen(  # noqa: S603 - this program itself
                [*command, "--host", "127.0.0.1", "--port", "0", "--port-file", str(port_file)],
                env={**CLEAN_ENVIRONMENT, **environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            ) as process,
        ):
            try:
                wait_for_start(process, port_file, log_file)
                yield Serving(process, int(port_file.read_text()), log_file)
            finally:
                stop(process)


@contextmanager
def serving(*, constants: str = "pass", **settings: object) -> Generator[Serving]:
    """Run `hacdbs-sim serve` on any free port of loopback; `max_vms=3` is HACDBS_MAX_VMS=3.

    Args:
        constants: Assignments to constants of `app.service`'s modules `fleet` and `vm_runtime`.
        settings: The settings.
    """
    program = f"from hacdbs_sim.cli import main; from app.service import fleet, vm_runtime; {constants}; main()"
    given = {f"HACDBS_{name.upper()}": str(value) for name, value in settings.items()}
    command = [sys.executable, "-c", program, "serve"]
    with started(command, {"HACDBS_LOG_LEVEL": "warning", **given}) as service:
        yield service


@contextmanager
def watched_service() -> Generator[Serving]:
    """Run a service that logs only errors, and fail at the end if there was one."""
    # JSON, for the line that says where it listens is then the only one that is not an error
    with serving(log_level="error", log_format="json") as service:
        os.truncate(service.log, 0)
        yield service
        service.check()


def wait_for_start(process: subprocess.Popen[bytes], port_file: Path, log: Path) -> None:
    """Wait until a service has written its port, and then the line that says where it listens."""
    give_up_at = time.monotonic() + HANG_SECONDS
    while not (port_file.exists() and log.read_bytes().endswith(b"\n")):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < give_up_at, "the service does not start"
        time.sleep(0.02)
