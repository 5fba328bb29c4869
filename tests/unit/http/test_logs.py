"""Log lines: what they hold, and what they must not."""

import json
import logging

import pytest

from app.http.logs import make_logger, silence_server

SECRET = "let-me-in"  # noqa: S105 - the test's own


def test_a_json_line_has_level_time_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    make_logger("json", "info").info("request", route="/v1/vms", status=200)

    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["level"]) == ("request", "info")
    assert (line["route"], line["status"]) == ("/v1/vms", 200)
    assert line["timestamp"].endswith("Z")


def test_a_console_line_is_plain_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_logger("console", "info").info("request", status=200)

    line = capsys.readouterr().err
    assert "request" in line
    assert "status=200" in line
    assert "\x1b" not in line


def test_what_is_below_the_level_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    logger = make_logger("json", "warning")

    logger.info("request")
    logger.warning("refused")

    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == [
        "refused"
    ]


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_has_no_locals(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(token: str) -> None:
        raise ValueError(f"a defect with {len(token)} characters")

    try:
        fail(SECRET)
    except ValueError:
        make_logger(log_format, "info").exception("defect")

    written = capsys.readouterr().err
    assert "a defect with 9 characters" in written
    assert SECRET not in written


def test_the_servers_own_lines_are_kept_out(monkeypatch: pytest.MonkeyPatch) -> None:
    access = logging.getLogger("uvicorn.access")
    monkeypatch.setattr(access, "disabled", False)

    silence_server()

    assert access.disabled
