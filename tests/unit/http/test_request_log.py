"""Lines of requests: as those of the logger, and written together where they are many."""

import asyncio
import json
import os

import pytest

from app.http import request_log
from app.http.request_log import MAX_LINES, RequestLine, RequestLog
from app.logs import log_line
from app.settings import LogFormat

pytestmark = pytest.mark.anyio

FIELDS = {"request_id": "r1", "method": "GET", "route": "/v1/vms/{vm_id}", "status": 200}


def add(log: RequestLog, request_id: str = "r1", **more: str) -> None:
    log.add(RequestLine(request_id, "GET", "/v1/vms/{vm_id}", 200, 0.0000125, more))


def ids(written: str) -> list[str]:
    return [json.loads(line)["request_id"] for line in written.splitlines()]


@pytest.mark.parametrize("more", [{}, {"path": "/a%20b", "trace_id": "0" * 31 + "1"}])
async def test_a_json_line_is_that_of_the_logger(
    capsys: pytest.CaptureFixture[str], more: dict[str, str]
) -> None:
    add(RequestLog(LogFormat.JSON), **more)

    written = json.loads(capsys.readouterr().err)
    expected = json.loads(
        log_line("json", "info", "request", **FIELDS, duration_seconds=0.5, **more)
    )
    assert written.pop("timestamp").endswith("Z")
    assert written.pop("duration_seconds") == pytest.approx(0.0000125, abs=1e-6)
    del expected["timestamp"], expected["duration_seconds"]
    assert (written, list(written)) == (expected, list(expected))


async def test_a_console_line_is_that_of_the_logger(capsys: pytest.CaptureFixture[str]) -> None:
    add(RequestLog(LogFormat.CONSOLE), path="/a%20b")

    written = capsys.readouterr().err.split(" ", 1)[1]
    expected = log_line("console", "info", "request", **FIELDS, duration_seconds="D", path="/a%20b")
    seconds = written.split("duration_seconds=")[1].split()[0]
    assert written.replace(seconds, "D") == expected.split(" ", 1)[1] + "\n"


async def test_a_line_after_a_pause_is_written_at_once_and_the_next_ones_together(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_log, "WAIT_SECONDS", 3600.0)
    log = RequestLog("json")

    add(log, "first")
    add(log, "second")
    add(log, "third")
    assert ids(capsys.readouterr().err) == ["first"]

    log.flush()
    assert ids(capsys.readouterr().err) == ["second", "third"]


async def test_no_more_lines_wait_than_the_bound(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_log, "WAIT_SECONDS", 3600.0)
    log = RequestLog("json")

    for number in range(1 + MAX_LINES):
        add(log, str(number))

    assert ids(capsys.readouterr().err) == [str(number) for number in range(1 + MAX_LINES)]


async def test_lines_that_wait_are_written_without_another_request(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_log, "WAIT_SECONDS", 0.01)
    log = RequestLog("json")
    add(log, "first")
    add(log, "second")

    written = capsys.readouterr().err
    async with asyncio.timeout(30):
        while len(ids(written)) < 2:
            await asyncio.sleep(0.01)
            written += capsys.readouterr().err

    assert ids(written) == ["first", "second"]


async def test_a_log_that_cannot_be_written_fails_no_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    full = os.fdopen(os.open("/dev/full", os.O_WRONLY), "w")
    monkeypatch.setattr("sys.stderr", full)
    log = RequestLog("json")
    add(log)

    with pytest.raises(OSError, match="No space left"):
        full.close()
    log.flush()
    add(log)
