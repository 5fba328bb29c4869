"""What is not used any more is freed at once: no call leaves objects that refer to each other.

A refused call once kept its request and its VM: an exception refers to the frames that it went through,
and one of these referred to the future that had the exception.
"""

import json
import signal
import time
from pathlib import Path

import pytest

from tests.contract.test_openapi import COMMITTED
from tests.fuzz.campaign import run
from tests.support.serving import ALL_IN_THREADS, serving
from tests.support.wire import HANG_SECONDS, Calls

pytestmark = pytest.mark.slow

REQUESTS = 4_000


@pytest.mark.parametrize("where", ["pass", ALL_IN_THREADS], ids=["short", "in threads"])
def test_no_call_leaves_a_circle(where: str, tmp_path: Path) -> None:
    found = tmp_path / "circles"
    constants = f"{where}; from tests.support.circles import watch; watch({str(found)!r})"
    with serving(constants=constants, log_level="error", log_format="json") as service:
        service.log.write_text("")
        run(service, json.loads(COMMITTED.read_text()), REQUESTS, "circles")
        with Calls(service.url) as calls:
            for session in calls.made("GET", "/v1/sessions")["sessions"]:
                calls.made("POST", f"/v1/sessions/{session['session_id']}/reset")
        service.process.send_signal(signal.SIGUSR1)
        give_up_at = time.monotonic() + HANG_SECONDS
        while not found.exists():
            assert time.monotonic() < give_up_at, "the service writes nothing"
            time.sleep(0.02)

        assert found.read_text().splitlines() == []
