"""A real service with settings of its own, whose memory can be looked at."""

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

PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
START_SECONDS: Final = 60.0

ALL_IN_THREADS: Final = "fleet.INLINE_WORK = vm_runtime.INLINE_WORK = -1"
"""No call on a machine is short enough for the event loop."""


@dataclass(frozen=True, slots=True)
class Serving:
    """A service that answers at `url`."""

    url: str
    pid: int

    @property
    def rss_bytes(self) -> int:
        """Value of the memory that its process has resident."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * PAGE_BYTES

    @property
    def maps(self) -> int:
        """Value of how many memory mappings its process has; the kernel allows 65,530."""
        return len(Path(f"/proc/{self.pid}/maps").read_text().splitlines())


@contextmanager
def serving(*, constants: str = "pass", **settings: object) -> Generator[Serving]:
    """Run `hacdbs-sim serve` on any free port of loopback; `max_vms=3` is HACDBS_MAX_VMS=3.

    Args:
        constants: Assignments to constants of `app.service`'s modules `fleet` and `vm_runtime`.
        settings: The settings.
    """
    program = f"from hacdbs_sim.cli import main; from app.service import fleet, vm_runtime; {constants}; main()"
    given = {f"HACDBS_{name.upper()}": str(value) for name, value in settings.items()}
    environ = {name: value for name, value in os.environ.items() if not name.startswith("HACDBS_")}
    with tempfile.TemporaryDirectory(prefix="hacdbs-load-") as directory:
        port_file, said = Path(directory) / "port", Path(directory) / "log"
        with (
            said.open("w") as log,
            subprocess.Popen(  # noqa: S603 - this program itself
                [
                    *(sys.executable, "-c", program, "serve", "--host", "127.0.0.1"),
                    *("--port", "0", "--port-file", str(port_file)),
                ],
                env={"HACDBS_LOG_LEVEL": "warning", **environ, **given},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            ) as process,
        ):
            try:
                give_up_at = time.monotonic() + START_SECONDS
                while not port_file.exists() and time.monotonic() < give_up_at:
                    assert process.poll() is None, said.read_text()
                    time.sleep(0.02)
                yield Serving(f"http://127.0.0.1:{int(port_file.read_text())}", process.pid)
            finally:
                stop(process)
