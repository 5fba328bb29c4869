"""Log lines by structlog: text for a console, or JSON. One logger per application."""

import logging
import sys
from typing import Any, Final

import structlog
from structlog.typing import FilteringBoundLogger, Processor

# Locals would show the caller's token, and take a second to print where a body is among them.
_TRACEBACKS: Final = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


def silence_server() -> None:
    """Disable the server's own access log: the service logs each request itself."""
    logging.getLogger("uvicorn.access").disabled = True


def make_logger(log_format: str, level: str) -> FilteringBoundLogger:
    """Return a logger that writes to standard error."""
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if log_format == "json":
        processors += [_TRACEBACKS, structlog.processors.JSONRenderer()]
    else:
        console = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        processors.append(console)
    logger: Any = structlog.wrap_logger(
        structlog.WriteLogger(sys.stderr),
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        cache_logger_on_first_use=True,
    )
    return logger  # type: ignore[no-any-return]
