"""Log lines, each with time and level: text for a console, or JSON. One logger per application.

structlog gets one processor, which makes the whole line. The lines of requests are not made here, but in
`http/request_log.py`.
"""

import json
import logging
import sys
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, TypeAlias

import orjson
import structlog
from structlog.typing import EventDict, FilteringBoundLogger
from typing_extensions import override

from .settings import LogFormat

# Locals would show the caller's token, and take a second to print where a body is among them.
_TRACEBACKS: Final = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)
_TEXT_TRACEBACKS: Final = structlog.processors.ExceptionRenderer()
_JSON_OPTIONS: Final = orjson.OPT_NON_STR_KEYS
_SERVER: Final = "uvicorn"

Renderer: TypeAlias = Callable[[Any, str, EventDict], str]
"""Makes a line of a logger (unused), a level and an event: structlog's processor."""


def _as_json(_logger: object, level: str, event: EventDict) -> str:
    if "exc_info" in event:
        event = dict(_TRACEBACKS(None, level, event))
    line = {"timestamp": now(), "level": level, **event}
    try:
        return orjson.dumps(line, repr, _JSON_OPTIONS).decode()
    except TypeError:  # text that is not Unicode, such as a file's name
        return json.dumps(line, default=repr)


def _as_text(_logger: object, level: str, event: EventDict) -> str:
    trace = ""
    if "exc_info" in event:
        event = dict(_TEXT_TRACEBACKS(None, level, event))
        trace = f"\n{event.pop('exception', '')}".rstrip()
    words = [f"{name}={_word(value)}" for name, value in event.items() if name != "event"]
    return " ".join((now(), f"[{level}]", _printable(str(event["event"])), *words)) + trace


def now() -> str:
    """Return the time as lines have it: ISO 8601, UTC, microseconds."""
    seconds, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
    return f"{_second(seconds)}.{microseconds:06}Z"


@lru_cache(1)  # most lines are of the same second
def _second(seconds: int) -> str:
    """Return a second as ISO 8601 has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _word(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    is_word = text and text.isprintable() and " " not in text and '"' not in text
    return text if is_word else json.dumps(text)


def _printable(text: str) -> str:
    """Return text as one line, without what a terminal would obey."""
    return text if text.isprintable() else json.dumps(text)[1:-1]


_RENDERERS: Final[Mapping[str, Renderer]] = {
    LogFormat.JSON: _as_json,
    LogFormat.CONSOLE: _as_text,
}


def make_logger(log_format: str, level: str) -> FilteringBoundLogger:
    """Return a logger that writes to standard error."""
    logger: Any = structlog.wrap_logger(
        structlog.WriteLogger(sys.stderr),
        processors=[_RENDERERS[log_format]],
        wrapper_class=structlog.make_filtering_bound_logger(_number(level)),
        cache_logger_on_first_use=True,
    )
    return logger  # type: ignore[no-any-return]


def log_line(log_format: str, level: str, event: str, **fields: object) -> str:
    """Return a line, for what is written whatever the level of the log is."""
    return _RENDERERS[log_format](None, level, {"event": event, **fields})


class LineFormatter(logging.Formatter):
    """Formats what libraries log as the service's own lines; `logger` is the name of theirs."""

    def __init__(self, log_format: str) -> None:
        super().__init__()
        self._render = _RENDERERS[log_format]

    @override
    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        event: EventDict = {"event": record.getMessage(), "logger": record.name}
        if record.exc_info:
            event["exc_info"] = record.exc_info
        return self._render(None, record.levelname.lower(), event)


def log_process(log_format: str, level: str) -> None:
    """Log what libraries of this process log, from warnings on, and Python's own warnings.

    For a process that is the service's alone.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter(log_format))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(max(_number(level), logging.WARNING))
    logging.captureWarnings(capture=True)


def adopt_server(log_format: str) -> None:
    """Format the lines of a uvicorn that has set up its loggers, and disable its access log.

    The service logs each request itself.
    """
    logging.getLogger(f"{_SERVER}.access").disabled = True
    for handler in logging.getLogger(_SERVER).handlers:
        handler.setFormatter(LineFormatter(log_format))


def _number(level: str) -> int:
    return logging.getLevelNamesMapping()[level.upper()]
