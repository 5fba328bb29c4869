"""A service in a process of its own: how it fails to start, and how it is made to stop."""

import signal
import subprocess
import sys

import pytest

from tests.support.service_process import ServiceNotStartedError, running_service, stop
from tests.support.wire import HANG_SECONDS

DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(3600)
"""


def test_a_service_that_ends_at_once_reports_why() -> None:
    with (
        pytest.raises(ServiceNotStartedError, match=r"ended with 2: unknown setting HACDBS_PROT"),
        running_service({"HACDBS_PROT": "8000"}),
    ):
        pytest.fail("it cannot have started")


def test_a_process_that_ignores_the_signal_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", DEAF], stdout=subprocess.PIPE) as process:  # noqa: S603
        assert process.stdout is not None
        process.stdout.readline()

        stop(process, patience_seconds=0.2)

        assert process.wait(HANG_SECONDS) == -signal.SIGKILL
