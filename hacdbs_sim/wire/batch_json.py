"""Batches in JSON whose actions have long lists of pages, which are read piece by piece.

Read whole, a list of numbers takes 25 times its bytes, one of pairs 43 times, and one call into C that holds
the interpreter for seconds. So each long list is cut out first, and a mark is left in its place; the batch
without them is short, and is read as any other.
"""

import re
import secrets
from collections.abc import Iterator
from dataclasses import replace
from heapq import merge
from typing import Any, Final, NamedTuple

from hacdbs_sim.model.batches import Batch, BatchAction
from hacdbs_sim.model.errors import InvalidArgumentError
from hacdbs_sim.model.pages import Gfns, PageRanges
from hacdbs_sim.model.problems import ProblemError
from hacdbs_sim.wire.errors import InvalidRequestError, error_at
from hacdbs_sim.wire.pages_json import list_of
from hacdbs_sim.wire.reader import read

LONG_BYTES: Final = 1 << 16
"""Lists longer than this are cut out."""

_NAME_ENDS: Final = (b'gfns"', b'_ranges"')
_LONGEST_NAME: Final = 12
_KEY: Final = re.compile(rb'"(gfns|gfn_ranges|page_ranges)"[ \t\r\n]*:[ \t\r\n]*\[')
_END_OF_PAIRS: Final = re.compile(rb"\][ \t\r\n]*\]")
_WINDOW_BYTES: Final = 1 << 18
_OVERLAP_BYTES: Final = 1 << 10
"""More white space between two brackets is unusual."""

_MARKS: Final = 1 << 38
"""Marks are gfns from a random one on, which no caller can foresee."""


class LongList(NamedTuple):
    """A list of pages in a text, from its first bracket to behind its last."""

    name: str
    start: int
    end: int


def long_lists(body: bytes) -> list[LongList]:
    """Find the long lists of numbers, or of pairs of them, that are pages."""
    found: list[LongList] = []
    for at in merge(*(_positions(body, name) for name in _NAME_ENDS)):
        if found and at < found[-1].end:
            continue
        key = _KEY.search(body, max(at - _LONGEST_NAME, 0), at + _OVERLAP_BYTES)
        if key is None:
            continue
        name, start = key[1].decode("ascii"), key.end() - 1
        end = _end_of_list(body, start, is_pairs=name.endswith("_ranges"))
        if end - start > LONG_BYTES:
            found.append(LongList(name, start, end))
    return found


def _positions(body: bytes, text: bytes) -> Iterator[int]:
    at = body.find(text)
    while at >= 0:
        yield at
        at = body.find(text, at + 1)


def _end_of_list(body: bytes, start: int, *, is_pairs: bool) -> int:
    """Return where a list ends that has no names in it; -1 if it has."""
    colon = body.find(b":", start)
    limit = len(body) if colon < 0 else colon
    if not is_pairs:
        return body.find(b"]", start, limit) + 1
    for at in range(start, limit, _WINDOW_BYTES):  # others run between two of them
        end = _END_OF_PAIRS.search(body, at, min(at + _WINDOW_BYTES + _OVERLAP_BYTES, limit))
        if end is not None:
            return end.end()
    return -1


def read_batch(body: bytes) -> Batch:
    """Read a batch; raises as `Reader` does."""
    lists = long_lists(body)
    if not lists:
        return read(Batch, body)
    mark = _MARKS + secrets.randbelow(_MARKS)
    batch = read(Batch, without_lists(body, lists, mark))
    actions = list(batch.actions)
    for index, each in enumerate(actions):
        number = _first_of(each) - mark
        if 0 <= number < len(lists):
            actions[index] = _with_pages(each, body, lists[number], f"/actions/{index}")
    return Batch(actions=tuple(actions))


def without_lists(body: bytes, lists: list[LongList], mark: int = 0) -> bytes:
    """Return a text with marks in the place of lists."""
    parts: list[bytes] = []
    at = 0
    for number, (name, start, end) in enumerate(lists, mark):
        left = b"[[%d,1]]" if name.endswith("_ranges") else b"[%d]"
        parts += (body[at:start], left % number)
        at = end
    return b"".join((*parts, body[at:]))


def _first_of(batched: BatchAction) -> int:
    match getattr(batched.action, "pages", None):
        case Gfns(gfns=first) | PageRanges(first=first) if len(first) == 1:
            return int(first[0])
    return -1


def _with_pages(batched: BatchAction, body: bytes, found: LongList, pointer: str) -> BatchAction:
    """Give an action the pages that were cut out of it."""
    text = b'{"%s":%s}' % (found.name.encode(), body[found.start : found.end])
    try:
        pages = list_of(text, found.name)
    except InvalidRequestError as refused:
        raise InvalidRequestError(_below(pointer, refused.errors)) from None
    if pages is None:
        detail = "a longer list must be plain: numbers, or pairs of them"
        error = error_at("body", f"{pointer}/{found.name}", detail, bound=LONG_BYTES)
        raise InvalidRequestError((error,))
    action: Any = batched.action
    try:
        return replace(batched, action=replace(action, pages=pages))
    except InvalidArgumentError as refused:
        error = error_at("body", pointer, refused.detail, bound=refused.bound)
        raise InvalidRequestError((error,)) from None


def _below(pointer: str, errors: tuple[ProblemError, ...]) -> tuple[ProblemError, ...]:
    return tuple(replace(error, pointer=pointer + error.pointer) for error in errors)
