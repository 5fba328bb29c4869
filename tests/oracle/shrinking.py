"""Makes a sequence on which two sides differ as short as it goes.

Delta debugging (Zeller and Hildebrandt): take away ever smaller parts of a list as long as what is
left still differs; first of the actions, then of what each of them carries, until nothing more goes.
"""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import TypeVar

import numpy as np

from hacdbs_sim.model import (
    Bitmap,
    ClearDirtyLog,
    Gfns,
    GuestRead,
    GuestWrite,
    HostUnmap,
    HostWrite,
)
from tests.oracle.comparing import Comparison, Difference
from tests.oracle.ground import Access, OracleAction, gfns_of
from tests.oracle.scripts import bits_in, pages_of
from tests.oracle.sequences import Sequence
from tests.oracle.setups import Setup

T = TypeVar("T")


def shrink(comparison: Comparison, difference: Difference) -> Difference:
    """Find a shorter sequence that still differs: none of its parts can be taken away."""
    best = difference

    def differs(sequence: Sequence) -> bool:
        nonlocal best
        found = comparison.run(sequence)
        if found is None:
            return False
        best = found
        return True

    size = -1
    while size != _size(best.sequence):
        size = _size(best.sequence)
        shrink_sequence(best.sequence, differs)
    return best


def shrink_sequence(sequence: Sequence, differs: Callable[[Sequence], bool]) -> Sequence:
    """Shrink a sequence once: how its VM is made, its actions, then what each of them carries."""
    for name in _changes(sequence.setup):
        setup = replace(sequence.setup, **{name: getattr(Setup(), name)})
        if differs(replace(sequence, setup=setup)):
            sequence = replace(sequence, setup=setup)
    actions = shorten(sequence.actions, lambda some: differs(replace(sequence, actions=some)))
    sequence = replace(sequence, actions=actions)
    for place in range(len(actions)):
        sequence = _smaller_at(sequence, place, differs)
    return sequence


def _smaller_at(sequence: Sequence, place: int, differs: Callable[[Sequence], bool]) -> Sequence:
    def put(action: OracleAction) -> Sequence:
        actions = sequence.actions
        return replace(sequence, actions=(*actions[:place], action, *actions[place + 1 :]))

    return put(_smaller(sequence.actions[place], lambda one: differs(put(one))))


def shorten(items: tuple[T, ...], differs: Callable[[tuple[T, ...]], bool]) -> tuple[T, ...]:
    """Take parts of a list away, half of it at first, single items at last."""
    part = len(items)
    while part:
        start = 0
        while start < len(items):
            fewer = items[:start] + items[start + part :]
            if differs(fewer):
                items = fewer
            else:
                start += part
        part //= 2
    return items


def _smaller(action: OracleAction, differs: Callable[[OracleAction], bool]) -> OracleAction:
    match action:
        case GuestWrite() | GuestRead() | HostWrite() | HostUnmap():
            gfns = tuple(gfns_of(action).tolist())
            fewer = shorten(gfns, lambda some: differs(_accessing(action, some)))
            return _accessing(action, fewer)
        case ClearDirtyLog(pages=Bitmap(words)):
            bits = pages_of(words)
            few = shorten(bits, lambda some: differs(_clearing(action, some)))
            return _clearing(action, few)
        case _:
            return action


def _accessing(action: Access, gfns: tuple[int, ...]) -> Access:
    return replace(action, pages=Gfns(np.array(gfns, np.uint64)))


def _clearing(action: ClearDirtyLog, bits: tuple[int, ...]) -> ClearDirtyLog:
    assert isinstance(action.pages, Bitmap), "sequences clear by bitmaps"
    return replace(action, pages=bits_in(len(action.pages.words), *bits))


def _changes(setup: Setup) -> list[str]:
    names = [each.name for each in fields(setup)]
    return [name for name in names if getattr(setup, name) != getattr(Setup(), name)]


def _size(sequence: Sequence) -> int:
    carried = 0
    for action in sequence.actions:
        match action:
            case GuestWrite() | GuestRead() | HostWrite() | HostUnmap():
                carried += len(gfns_of(action))
            case ClearDirtyLog(pages=Bitmap(words)):
                carried += int(np.bitwise_count(words).sum())
            case _:
                pass
    return len(_changes(sequence.setup)) + len(sequence.actions) + carried
