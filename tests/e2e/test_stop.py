"""A stop by SIGTERM while calls are in flight: it ends, and each client learns what became of its call."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from app.server.runner import EXIT_SECONDS, STOP_SECONDS
from tests.support.serving import CLEAN_ENVIRONMENT, wait_for_start
from tests.support.wire import HANG_SECONDS

GIB = 1 << 30
GRACE_SECONDS = 10
"""What docker waits between SIGTERM and SIGKILL."""

VM: dict[str, Any] = {
    "ipa_bits": 48,
    "memslots": [
        {
            "slot": 0,
            "guest_phys_addr": 0,
            "memory_size": 1024 * GIB,
            "flags": ["LOG_DIRTY_PAGES"],
        }
    ],
    "workloads": [{"kind": "uniform", "slot": 0, "writes_per_second": 10**9}],
}
RUN = {"op": "run_guest", "duration_ns": 10**7}
ENDLESS = {"actions": [RUN] * 10_000}
"""Minutes of work in a thread."""

SLOW = {"vm_id": "default-1", "pace": 100.0}


class Service:
    """A service whose stop is short, in a process of its own, with its log."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.log = log
        self.url = f"http://127.0.0.1:{port}"
        self.answers: dict[str, httpx.Response | httpx.HTTPError] = {}
        self._callers: list[threading.Thread] = []

    def made(self, path: str, body: Any) -> Any:
        answer = httpx.post(self.url + path, json=body, timeout=HANG_SECONDS, trust_env=False)
        assert answer.is_success, answer.text
        return answer.json()

    def begin(self, name: str, method: str, path: str, **request: Any) -> None:
        """Make a call in a thread, and record its answer."""

        def call() -> None:
            try:
                with httpx.Client(timeout=HANG_SECONDS, trust_env=False) as client:
                    self.answers[name] = client.request(method, self.url + path, **request)
            except httpx.HTTPError as lost:
                self.answers[name] = lost

        self._callers.append(threading.Thread(target=call, daemon=True))
        self._callers[-1].start()

    def get(self, path: str) -> Any:
        return httpx.get(self.url + path, timeout=HANG_SECONDS, trust_env=False).json()

    def wait_for_calls(self, count: int) -> None:
        """Wait until so many connections have made a request that has no response yet."""
        give_up_at = time.monotonic() + HANG_SECONDS
        while self._connections() < count:
            assert time.monotonic() < give_up_at
            time.sleep(0.02)
        self.get("/livez")  # accepted after those

    def _connections(self) -> int:
        local = f":{self.port:04X}"
        lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
        return sum(line.split()[1].endswith(local) and line.split()[3] == "01" for line in lines)

    def stop(self) -> str:
        """Stop it; return what it has logged."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(HANG_SECONDS) == 0
        for caller in self._callers:
            caller.join(HANG_SECONDS)
        return self.log.read_text()


@contextmanager
def running(directory: Path) -> Generator[Service]:
    port_file, log_file = directory / "port", directory / "log"
    program = (
        "from hacdbs_sim.cli import main; from app.server import runner;"
        " runner.STOP_SECONDS = 1; runner.EXIT_SECONDS = 3; main()"
    )
    with (
        log_file.open("wb") as log,
        subprocess.Popen(  # noqa: S603 - this program itself
            [sys.executable, "-c", program, "serve", "--port", "0", "--port-file", str(port_file)],
            env={"HACDBS_LOG_LEVEL": "warning", **CLEAN_ENVIRONMENT},
            stdin=subprocess.DEVNULL,
            stderr=log,
        ) as process,
    ):
        try:
            wait_for_start(process, port_file, log_file)
            yield Service(process, int(port_file.read_text()), log_file)
        finally:
            process.kill()


def require_stopped(answer: httpx.Response | httpx.HTTPError) -> None:
    """Require a problem document, or a connection that was closed without a response."""
    if isinstance(answer, httpx.HTTPError):
        return
    assert (answer.status_code, answer.json()["code"]) == (503, "service_stopped")
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_stop_ends_before_it_is_killed() -> None:
    assert STOP_SECONDS < EXIT_SECONDS < GRACE_SECONDS


def test_a_stop_does_not_wait_for_threads(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        service.made("/v1/vms", VM)
        service.begin("batch", "POST", "/v1/vms/default-1/batch", json=ENDLESS)
        give_up_at = time.monotonic() + HANG_SECONDS
        while not service.get("/v1/vms/default-1")["counters"]["guest_writes"]:
            assert time.monotonic() < give_up_at
            time.sleep(0.02)
        service.begin("run", "POST", "/v1/vms/default-1/guest/run", json={"duration_ns": 10**7})
        service.begin("get", "POST", "/v1/vms/default-1/memslots/0/dirty-log/get?format=base64")
        service.wait_for_calls(3)

        log = service.stop()

    for name in ("batch", "run", "get"):
        require_stopped(service.answers[name])
    assert isinstance(service.answers["batch"], httpx.Response)
    assert "Traceback" not in log


def test_a_stop_ends_migrations_streams_polls_and_uploads(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        service.made("/v1/vms", {"memslots": [{**VM["memslots"][0], "memory_size": GIB}]})
        service.made("/v1/migrations", SLOW)
        accept = {"Accept": "text/event-stream"}
        service.begin("stream", "GET", "/v1/events", headers=accept)
        service.begin("poll", "GET", "/v1/events?wait_seconds=60&type=session_reset")
        service.begin("wait", "GET", "/v1/migrations/default-m1?wait_for=end&wait_seconds=60")
        with socket.create_connection(("127.0.0.1", service.port)) as upload:
            upload.sendall(
                b"POST /v1/vms HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                b"Content-Length: 100\r\nExpect: 100-continue\r\n\r\n"
            )
            assert upload.recv(1 << 16).startswith(b"HTTP/1.1 100")
            service.wait_for_calls(4)

            log = service.stop()

            upload.settimeout(HANG_SECONDS)
            head, _, body = upload.recv(1 << 16).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 503 ")
    assert json.loads(body)["code"] == "service_stopped"
    for name in ("stream", "poll", "wait"):
        answer = service.answers[name]
        assert isinstance(answer, httpx.Response), (name, answer)
        assert answer.status_code == 200
    assert "Traceback" not in log
