"""Lists in pages. A token is a position in the list's order, so lists may change between pages.

The position is the last key given out, as hexadecimal octets; any such text is a position, so a
token needs no lookup and never goes stale.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Protocol, TypeVar

from fastapi import Query

from hacdbs_sim.model.kinds import PositiveCount

from ..service.fleet import Fleet

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 1_000
MAX_KEY_OCTETS: Final = 128

T = TypeVar("T")

Limit = Annotated[
    PositiveCount,
    Query(description=f"The most items to give; above {MAX_LIMIT} is taken as {MAX_LIMIT}."),
]
PageToken = Annotated[
    str,
    Query(
        pattern=rf"^([0-9a-f]{{2}}){{0,{MAX_KEY_OCTETS}}}$",
        description="The next_page_token of the page before; empty: from the start.",
    ),
]


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is asked for."""

    limit: int
    after: bytes

    def of(self, items: Sequence[T], key: Callable[[T], bytes]) -> tuple[list[T], str]:
        """Cut the page out of items in ascending order of key; give it and the next token."""
        start = bisect_right(items, self.after, key=key) if self.after else 0
        page = list(items[start : start + self.limit])
        has_more = start + self.limit < len(items)
        return page, key(page[-1]).hex() if has_more else ""


def read_page(limit: Limit = DEFAULT_LIMIT, page_token: PageToken = "") -> Page:
    """Read which part of a list is asked for."""
    return Page(min(limit, MAX_LIMIT), bytes.fromhex(page_token))


def number_key(number: int) -> bytes:
    """Make the key of an item known by a number."""
    return number.to_bytes(8, "big")


ALL_SESSIONS: Final = "-"

SessionQuery = Annotated[str, Query(description="Which session's; `-`: all sessions'.")]


class OfSession(Protocol):
    """An item of a session, known there by a number."""

    @property
    def session_id(self) -> str:
        """Value of the session's id."""

    @property
    def number(self) -> int:
        """Value of the item's number."""


def session_or_all(fleet: Fleet, session_id: str) -> str | None:
    """Read which session's things are listed; None: all sessions'.

    Raises:
        NoSuchSessionError: there is no such session.
    """
    return None if session_id == ALL_SESSIONS else fleet.session(session_id).session_id


def session_key(item: OfSession) -> bytes:
    """Make the key of an item of a session: by session, then number."""
    # NUL sorts before every character of a session id, so sessions keep their order.
    return item.session_id.encode() + b"\0" + number_key(item.number)
