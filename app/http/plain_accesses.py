"""Batches of nothing but accesses to listed frames, read without the schema.

The schema's union takes 1.5 us an action and its arrays 1.4, which is as much as the access itself. So a
batch that has one such list in every action, and no other field, is read at once: 1.3 us an action. Anything
unusual is left to the schema, which reads the same from it, or tells what is wrong.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import orjson
from numpy.typing import NDArray

from hacdbs_sim.sim.actions import Gfns, GuestRead, GuestWrite, HostUnmap, HostWrite

from .schemas.batch import MAX_ACTIONS
from .schemas.fields import MAX_JSON_INTEGER

MAX_PLAIN_BYTES: Final = 1 << 20
"""Longer bodies are left to the schema, so that none is read twice for long."""

Access: TypeAlias = GuestWrite | GuestRead | HostWrite | HostUnmap

_ACTIONS: Final[dict[str, type[Access]]] = {
    "guest_write": GuestWrite,
    "guest_read": GuestRead,
    "host_write": HostWrite,
    "host_unmap": HostUnmap,
}


class PlainBatch(NamedTuple):
    """Such a batch.

    Attributes:
        ops: The actions' names.
        frames: uint64[k], the frames that they list, one list behind the other.
        ends: Where in `frames` each list ends.
        is_of_page_writes: Whether all are guest writes of one page each.
    """

    ops: list[str]
    frames: NDArray[np.uint64]
    ends: list[int]
    is_of_page_writes: bool

    def actions(self) -> Iterator[Access]:
        """Give what the actions are to the core."""
        starts = [0, *self.ends[:-1]]
        for op, start, end in zip(self.ops, starts, self.ends, strict=True):
            yield _ACTIONS[op](Gfns(self.frames[start:end]))


def plain_batch_of(body: bytes) -> PlainBatch | None:
    """Read a batch of plain accesses; None if it is anything else."""
    ops: list[str] = []
    ends: list[int] = []
    every: list[Any] = []
    for action in _actions_of(body) or (None,):
        if not isinstance(action, dict) or len(action) != 2:
            return None
        op, gfns = action.get("op"), action.get("gfns")
        if not isinstance(op, str) or op not in _ACTIONS or not isinstance(gfns, list):
            return None
        ops.append(op)
        every += gfns
        ends.append(len(every))
    if not _are_gfns(every):
        return None
    count = len(ops)
    writes_pages = ops.count("guest_write") == count and ends == list(range(1, count + 1))
    return PlainBatch(ops, np.array(every, np.uint64), ends, writes_pages)


def _actions_of(body: bytes) -> list[Any] | None:
    """Read the list of a batch, if it is likely that all its actions are plain accesses."""
    # Two fields an action and the list's own name: most other batches are told by their colons.
    if len(body) > MAX_PLAIN_BYTES or body.count(b":") != 2 * body.count(b'"gfns"') + 1:
        return None
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    actions = content.get("actions") if isinstance(content, dict) else None
    return actions if isinstance(actions, list) and len(actions) <= MAX_ACTIONS else None


def _are_gfns(values: list[Any]) -> bool:
    """Tell whether all are integers that the schema takes; 1.0 is the schema's to read."""
    if not values:
        return True
    # Of exactly this type: true is none.
    return set(map(type, values)) == {int} and min(values) >= 0 and max(values) <= MAX_JSON_INTEGER
