"""`hacdbs-sim serve` and `healthcheck` as processes: where it listens, and how it stops."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from app.server.runner import STOP_SECONDS
from tests.support.serving import CLEAN_ENVIRONMENT
from tests.support.wire import HANG_SECONDS

GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"


def hacdbs_sim(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - this program itself
        [sys.executable, "-m", "hacdbs_sim.cli", *arguments],
        env={**CLEAN_ENVIRONMENT, **environ},
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )


@dataclass(frozen=True, slots=True)
class Serving:
    process: subprocess.Popen[str]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def end(self, number: signal.Signals) -> tuple[int, str]:
        self.process.send_signal(number)
        said = self.process.communicate(timeout=HANG_SECONDS)[1]
        return self.process.returncode, said


@contextmanager
def serving(
    directory: Path, *arguments: str, stop_seconds: float = HANG_SECONDS, **environ: str
) -> Generator[Serving]:
    port_file = directory / "port"
    program = (
        "from hacdbs_sim.cli import main; from app.server import runner;"
        f" runner.STOP_SECONDS = {stop_seconds}; main()"
    )
    process = subprocess.Popen(  # noqa: S603 - this program itself
        [
            *(sys.executable, "-c", program, "serve"),
            *("--port", "0", "--port-file", str(port_file), *arguments),
        ],
        env={**CLEAN_ENVIRONMENT, **environ},
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            give_up_at = time.monotonic() + HANG_SECONDS
            while not port_file.exists() and time.monotonic() < give_up_at:
                assert process.poll() is None, process.communicate()[1]
                time.sleep(0.02)
            yield Serving(process, int(port_file.read_text()))
        finally:
            process.kill()


def get(service: Serving, path: str) -> httpx.Response:
    return httpx.get(service.url + path, trust_env=False, timeout=HANG_SECONDS)


def connected(service: Serving) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), timeout=HANG_SECONDS)


def listens(service: Serving) -> bool:
    try:
        connected(service).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serves_on_the_port_it_wrote_until_it_is_stopped(
    tmp_path: Path, number: signal.Signals
) -> None:
    with serving(tmp_path) as service:
        answer = get(service, "/readyz")

        status, said = service.end(number)

    assert answer.status_code == 200
    assert status == 0
    assert f"listens on {service.url}" in said
    assert "Traceback" not in said


def test_json_logs_are_json_from_the_first_line(tmp_path: Path) -> None:
    with serving(tmp_path, "--log-format", "json") as service:
        get(service, "/v1/vms")

        said = service.end(signal.SIGTERM)[1]

    lines = [json.loads(line) for line in said.splitlines()]
    assert (lines[0]["event"], lines[0]["url"]) == ("listening", service.url)
    assert all(line["level"] and line["timestamp"] for line in lines)
    assert [line["route"] for line in lines if line["event"] == "request"] == ["/v1/vms"]


def test_options_come_before_the_environment(tmp_path: Path) -> None:
    with serving(tmp_path, "--log-level", "error", HACDBS_LOG_LEVEL="info") as service:
        get(service, "/v1/vms")

        said = service.end(signal.SIGTERM)[1]

    assert '"/v1/vms"' not in said


def test_a_request_in_flight_is_finished_after_the_signal(tmp_path: Path) -> None:
    body = b'{"session_id": "in-flight"}'
    head = (
        "POST /v1/sessions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    ).encode()
    with serving(tmp_path) as service, connected(service) as connection:
        connection.sendall(head)
        assert connection.recv(65_536) == GO_ON  # so the call is in flight
        connection.sendall(body[:10])
        service.process.send_signal(signal.SIGTERM)
        while listens(service):
            time.sleep(0.02)
        connection.sendall(body[10:])
        answer = connection.recv(65_536)

        status = service.process.wait(HANG_SECONDS)

    assert answer.startswith(b"HTTP/1.1 201 ")
    assert status == 0


def test_a_client_that_never_ends_its_call_cannot_hold_the_stop(tmp_path: Path) -> None:
    head = (
        b"POST /v1/sessions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: 100\r\nExpect: 100-continue\r\n\r\n"
    )
    with serving(tmp_path, stop_seconds=0.1) as service, connected(service) as connection:
        connection.sendall(head)
        assert connection.recv(65_536) == GO_ON

        status, _ = service.end(signal.SIGTERM)

    assert status == 0


def test_a_stop_takes_seconds() -> None:
    """What a supervisor waits before it kills is 10 s (docker stop)."""
    assert 0 < STOP_SECONDS < 10


def test_healthcheck_follows_the_service(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        port = str(service.port)
        healthy = hacdbs_sim("healthcheck", HACDBS_PORT=port)
        # As in the image, where the service listens everywhere
        everywhere = hacdbs_sim("healthcheck", HACDBS_HOST="0.0.0.0", HACDBS_PORT=port)  # noqa: S104
        service.end(signal.SIGTERM)
    stopped = hacdbs_sim("healthcheck", HACDBS_PORT=port)

    assert (healthy.returncode, everywhere.returncode, stopped.returncode) == (0, 0, 1)
    assert "no response" in stopped.stderr


def test_a_health_check_may_use_any_name(tmp_path: Path) -> None:
    with serving(tmp_path, HACDBS_ALLOWED_HOSTS="vm.example") as service:
        result = hacdbs_sim("healthcheck", "--port", str(service.port))

    assert (result.returncode, result.stderr) == (0, "")


def test_a_bad_setting_ends_the_start_with_2() -> None:
    result = hacdbs_sim("serve", HACDBS_PORT="eighty")

    assert result.returncode == 2
    assert "HACDBS_PORT" in result.stderr
    assert "Traceback" not in result.stderr
