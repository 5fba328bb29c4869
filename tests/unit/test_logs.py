"""Log lines: what they hold, and what they must not."""

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from app.logs import LineFormatter, adopt_server, log_line, make_logger

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


def test_the_servers_access_log_is_disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    access = logging.getLogger("uvicorn.access")
    monkeypatch.setattr(access, "disabled", False)

    adopt_server("json")

    assert access.disabled


STAMP = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z ")


def test_a_console_line_begins_with_time_and_level() -> None:
    line = log_line("console", "warning", "refused", count=3, path="/a b", none=None)

    assert STAMP.match(line)
    assert STAMP.sub("", line) == '[warning] refused count=3 path="/a b" none=None'


@pytest.mark.parametrize(
    "given", ["two\nlines", "\x1b[31mred", "\u202eturned", "\ud800", 'a"b', ""]
)
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_value_ends_a_line_or_changes_a_terminal(log_format: str, given: str) -> None:
    line = log_line(log_format, "info", f"event {given}", value=given)

    assert len(line.splitlines()) == 1
    assert "\x1b" not in line
    assert line.encode()
    if log_format == "json":
        assert json.loads(line)["value"] == given
    else:
        assert line.isprintable()


def test_what_is_not_json_is_shown() -> None:
    line = json.loads(log_line("json", "info", "event", value=object))

    assert line["value"] == "<class 'object'>"


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_line_of_a_library_has_time_and_level(log_format: str) -> None:
    with pytest.raises(ValueError, match="invalid literal") as raised:
        int(SECRET)
    info = (raised.type, raised.value, raised.tb)
    record = logging.LogRecord(
        "uvicorn.error", logging.WARNING, "a.py", 1, "slow %s", ("call",), info
    )

    written = LineFormatter(log_format).format(record)

    if log_format == "json":
        line = json.loads(written)
        assert (line["level"], line["event"], line["logger"]) == (
            "warning",
            "slow call",
            "uvicorn.error",
        )
        assert line["timestamp"].endswith("Z")
        assert "invalid literal" in line["exception"][0]["exc_value"]
    else:
        assert STAMP.sub("", written.splitlines()[0]) == (
            "[warning] slow call logger=uvicorn.error"
        )
        assert "ValueError: invalid literal" in written.splitlines()[-1]


def test_a_server_that_has_set_up_its_loggers_gets_our_format(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handler = logging.StreamHandler()
    monkeypatch.setattr(logging.getLogger("uvicorn"), "handlers", [handler])
    monkeypatch.setattr(logging.getLogger("uvicorn.access"), "disabled", False)

    adopt_server("console")

    assert isinstance(handler.formatter, LineFormatter)


ROOT: Final = Path(__file__).resolve().parents[2]
LIBRARY: Final = """\
import logging, warnings
from app.logs import log_process
log_process("json", "info")
logging.getLogger("library").warning("slow")
logging.getLogger("library").info("not wanted")
warnings.warn("going away", stacklevel=1)
"""


def test_what_libraries_log_and_warn_has_time_and_level() -> None:
    ended = subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, "-c", LIBRARY], cwd=ROOT, capture_output=True, text=True, check=True
    )

    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    assert [(line["level"], line["logger"]) for line in lines] == [
        ("warning", "library"),
        ("warning", "py.warnings"),
    ]
    assert all(line["timestamp"].endswith("Z") for line in lines)
    assert "going away" in lines[1]["event"]


def test_every_line_under_uvicorn_is_ours() -> None:
    environ = {**os.environ, "HACDBS_LOG_FORMAT": "json"}
    command = [sys.executable, "-m", "uvicorn", "app.main:app", "--port", "0"]
    with subprocess.Popen(  # noqa: S603 - this interpreter
        command, cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        lines = [json.loads(process.stderr.readline())]
        while "running on" not in lines[-1]["event"]:
            lines.append(json.loads(process.stderr.readline()))
        process.terminate()
        lines += [json.loads(line) for line in process.stderr]

    assert len(lines) > 4
    assert all(line["timestamp"].endswith("Z") and line["level"] == "info" for line in lines)
