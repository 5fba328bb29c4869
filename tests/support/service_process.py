"""Run the service in a process of its own."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.02


class ServiceNotStartedError(Exception):
    """The service ended, or did not listen in time; the message contains its output."""


@contextmanager
def running_service(environ: Mapping[str, str] | None = None) -> Generator[str]:
    """Run `hacdbs-sim serve` on a free port of loopback; yield its URL, and stop it at the end."""
    with tempfile.TemporaryDirectory(prefix="hacdbs-sim-") as directory:
        port_file = Path(directory) / "port"
        log_file = Path(directory) / "log"
        arguments = ["--host", "127.0.0.1", "--port", "0", "--port-file", str(port_file)]
        with (
            log_file.open("w") as log,
            subprocess.Popen(  # noqa: S603 - this program itself
                [sys.executable, "-m", "hacdbs_sim.cli", "serve", *arguments],
                env={**os.environ, **(environ or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            ) as process,
        ):
            try:
                yield f"http://127.0.0.1:{_wait_for_port(process, port_file, log_file)}"
            finally:
                stop(process)


def stop(process: subprocess.Popen[bytes], patience_seconds: float = STOP_SECONDS) -> None:
    """Terminate a service; kill it if it has not ended after `patience_seconds`."""
    process.terminate()
    try:
        process.wait(patience_seconds)
    except subprocess.TimeoutExpired:
        process.kill()


def _wait_for_port(process: subprocess.Popen[bytes], port_file: Path, log_file: Path) -> int:
    give_up_at = time.monotonic() + START_SECONDS
    while not port_file.exists():
        if process.poll() is not None:
            raise ServiceNotStartedError(
                f"the service ended with {process.returncode}: {log_file.read_text().strip()}"
            )
        if time.monotonic() > give_up_at:
            raise ServiceNotStartedError(f"the service did not listen in {START_SECONDS:.0f} s")
        time.sleep(_POLL_SECONDS)
    return int(port_file.read_text())
