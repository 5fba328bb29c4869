"""Lists in pages. A token is a position in the list's order, so lists may change between pages.

The position is the last returned key, as hexadecimal octets; any such text is a position, so a
token needs no lookup and never goes stale.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, Final, TypeVar

from fastapi import Query
from starlette.responses import Response

from hacdbs_sim.model import lists
from hacdbs_sim.model.kinds import PositiveCount

from ..service.fleet import Fleet, Vm
from ..service.migrations import Comparison, Migration
from .responses import JsonResponse

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 1_000
MAX_KEY_OCTETS: Final = 128

T = TypeVar("T")

Limit = Annotated[
    PositiveCount,
    Query(
        description=f"The maximum number of items; values above {MAX_LIMIT} count as {MAX_LIMIT}."
    ),
]
PageToken = Annotated[
    str,
    Query(
        pattern=rf"^([0-9a-f]{{2}}){{0,{MAX_KEY_OCTETS}}}$",
        description="The next_page_token of the previous page; empty: from the start.",
    ),
]


@dataclass(frozen=True, slots=True)
class Page:
    """The requested part of a list."""

    limit: int
    after: bytes

    def of(self, items: Sequence[T], key: Callable[[T], bytes]) -> tuple[list[T], str]:
        """Return the page of items, which are in ascending order of key, and the next token."""
        start = bisect_right(items, self.after, key=key) if self.after else 0
        page = list(items[start : start + self.limit])
        has_more = start + self.limit < len(items)
        return page, key(page[-1]).hex() if has_more else ""

    def response(
        self,
        kind: type[lists.Page[Any]],
        items: Sequence[T],
        key: Callable[[T], bytes],
        show: Callable[[T], Any] | None = None,
    ) -> Response:
        """Return the page as a list of the model, whose own field has the items as they are shown."""
        listed, token = self.of(items, key)
        shown: dict[str, Any] = {
            fields(kind)[-1].name: tuple(listed if show is None else map(show, listed))
        }
        return JsonResponse(kind(next_page_token=token, **shown))


def read_page(limit: Limit = DEFAULT_LIMIT, page_token: PageToken = "") -> Page:
    """Read the requested part of a list."""
    return Page(min(limit, MAX_LIMIT), bytes.fromhex(page_token))


def number_key(number: int) -> bytes:
    """Return the key of an item that has a number."""
    return number.to_bytes(8, "big")


ALL_SESSIONS: Final = "-"

SessionQuery = Annotated[str, Query(description="The id of a session; `-`: all sessions.")]


def session_or_all(fleet: Fleet, session_id: str) -> str | None:
    """Return the session whose items are listed, which must exist; None: all sessions."""
    return None if session_id == ALL_SESSIONS else fleet.session(session_id).session_id


def session_key(item: Vm | Migration | Comparison) -> bytes:
    """Return the key of an item of a session: by session, then number."""
    # NUL sorts before every character of a session id, so sessions keep their order.
    return item.session_id.encode() + b"\0" + number_key(item.number)
