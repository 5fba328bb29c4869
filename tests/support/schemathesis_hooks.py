"""Hooks of schemathesis.toml: what a request must not take from an earlier one.

The same `Idempotency-Key` with another request is refused, and so is an entity tag of an older state; no schema
can express either. So a valid key is replaced by a new one and a valid condition is removed, while others
are sent as they are. Waits are set to 0: no event would come, and each call would take the whole time.

The module imports nothing of the project, so that it is enough beside schemathesis.toml.
"""

import re
import secrets
from itertools import count
from typing import Any, Final

import schemathesis

KEY: Final = re.compile(r"[!-~]{1,255}")
TAGS: Final = re.compile(r'\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*')
WAIT: Final = re.compile("[0-9]|[1-5][0-9]|60")

_RUN: Final = secrets.token_hex(4)
_numbers: Final = count()


def freshen(case: Any) -> None:
    """Make a request independent of earlier ones."""
    for name, value in list((case.headers or {}).items()):
        if name == "Idempotency-Key" and _fits(KEY, value):
            case.headers[name] = f"{_RUN}-{next(_numbers)}"
        elif name in {"If-Match", "If-None-Match"} and (_fits(TAGS, value) or _is_positive(case)):
            del case.headers[name]
    query = case.query or {}
    if _fits(WAIT, str(query.get("wait_seconds", ""))):
        query["wait_seconds"] = "0"


def _is_positive(case: Any) -> bool:
    """Whether a request is meant to be valid.

    In the coverage phase schemathesis (4.32) puts 0 there in such ones, too: it generates no value for a
    header with a pattern and a length.
    """
    return case.meta is not None and case.meta.generation.mode.is_positive


def _fits(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


@schemathesis.hook
def before_call(context: Any, case: Any, **_: Any) -> None:  # noqa: ARG001 - each hook is given it
    """Freshen each request before it is sent."""
    freshen(case)
