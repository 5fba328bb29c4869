"""A service in a process of its own that can be watched from outside: alive, its memory, its words."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hacdbs_sim.cli.service import stop

START_SECONDS: Final = 30.0
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Service:
    """A running service."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def rss_bytes(self) -> int:
        """Give the memory that it holds."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * PAGE_BYTES

    def descriptors(self) -> int:
        """Count its open files and sockets."""
        return sum(1 for _ in Path(f"/proc/{self.process.pid}/fd").iterdir())

    def check(self) -> None:
        """Fail if it has died, or has said that something is wrong.

        It writes lines of errors only, so that each is one.
        """
        said = self.log.read_text(errors="replace")
        assert self.process.poll() is None, f"the service died: {said}"
        assert said == "", f"the service complains: {said[:4000]}"


@contextmanager
def watched_service() -> Generator[Service]:
    """Run a service on any free port of loopback that writes only errors; judge it at the end."""
    with tempfile.TemporaryDirectory(prefix="hacdbs-fuzz-") as directory:
        port_file, log_file = Path(directory) / "port", Path(directory) / "log"
        serve = ["-m", "hacdbs_sim.cli", "serve", "--port", "0", "--port-file", str(port_file)]
        kept = {k: v for k, v in os.environ.items() if not k.startswith("HACDBS_")}
        # JSON, for the line that says where it listens is the only one then that is no error.
        with (
            log_file.open("ab") as log,
            subprocess.Popen(  # noqa: S603 - this program itself
                [sys.executable, *serve],
                env={**kept, "HACDBS_LOG_LEVEL": "error", "HACDBS_LOG_FORMAT": "json"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            ) as process,
        ):
            try:
                give_up_at = time.monotonic() + START_SECONDS
                while not (port_file.exists() and log_file.stat().st_size):
                    assert process.poll() is None, log_file.read_text()
                    assert time.monotonic() < give_up_at, "the service did not start in time"
                    time.sleep(0.02)
                time.sleep(0.1)
                log.truncate(0)
                service = Service(process, int(port_file.read_text()), log_file)
                yield service
                service.check()
            finally:
                stop(process)
