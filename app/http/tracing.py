"""W3C Trace Context: the trace that a request belongs to, as its caller names it."""

import re
from typing import Final

from starlette.types import Scope

_NAME: Final = b"traceparent"
_TRACEPARENT: Final = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?\Z"
)
"""Later versions may append fields (Trace Context, 3.2 and 4.3)."""


def trace_id_of(scope: Scope) -> str | None:
    """Return the trace id of a request; None without a traceparent, or with a malformed one or two."""
    given = [value for name, value in scope["headers"] if name == _NAME]
    if len(given) != 1 or (found := _TRACEPARENT.match(given[0])) is None:
        return None
    is_extended = found[2] is not None
    if is_extended and given[0].startswith(b"00"):
        return None
    return found[1].decode("ascii")
