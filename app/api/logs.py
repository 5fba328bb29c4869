"""Log lines by structlog: for people on a console, or JSON for machines. One logger per app."""

import logging
import sys
from typing import Any

import structlog
from structlog.typing import FilteringBoundLogger, Processor


def make_logger(log_format: str, level: str) -> FilteringBoundLogger:
    """Make a logger that writes to standard error."""
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if log_format == "json":
        processors += [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
    else:
        processors.append(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()))
    logger: Any = structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        cache_logger_on_first_use=True,
    )
    return logger  # type: ignore[no-any-return]
