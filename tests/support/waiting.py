"""Long polls that are repeated: a call waits a minute at most, and a busy machine may need more."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

WAIT: Final = "wait_seconds=60"
OVER: Final = frozenset({"completed", "failed", "cancelled"})

Report: TypeAlias = dict[str, Any]


def is_over(report: Report) -> bool:
    return report["status"] in OVER


def has_passes(count: int) -> Callable[[Report], bool]:
    """Whether a migration has so many passes behind it, or is over."""
    return lambda report: is_over(report) or len(report["iterations"]) >= count


async def waited_for(
    get: Callable[[str], Awaitable[Any]],
    location: str,
    wait_for: str = "end",
    holds: Callable[[Report], bool] = is_over,
) -> Report:
    """Ask for a migration or comparison until it has come so far; return its report."""
    while True:
        report: Report = (await get(f"{location}?wait_for={wait_for}&{WAIT}")).json()
        if holds(report):
            return report
