"""Guest writes of one page each, performed as one batch and told one by one.

While a slot logs and has no block, a write does nothing but fault its own page in and mark it. So what each of
many does follows from what its page was before, and the machine performs them all at once: 0.25 us
a write, where one action each takes 5.
"""

from typing import Final

import numpy as np

from hacdbs_sim.model.words import Words

from .vm_runtime import VmRuntime
from hacdbs_sim.model import AccessOutcome, Gfns, GuestWrite

_DIRTY: Final = 4
_KINDS: Final = [
    AccessOutcome(
        pages=1,
        newly_dirty=int(bool(kind & _DIRTY)),
        translation_faults=int(kind & 3 == 1),
        permission_faults=int(kind & 3 == 2),
    )
    for kind in range(8)
]
"""By number: which fault a write takes (0 none, 1 translation, 2 permission), and 4 if the page is new in the log."""


def can_write_each(runtime: VmRuntime, gfns: Words) -> bool:
    """Tell whether `write_each` would do it, for less than it takes."""
    return runtime.machine.last_version is None and runtime.machine.takes_pages_apart(gfns)


def write_each(runtime: VmRuntime, gfns: Words) -> list[AccessOutcome] | None:
    """Perform guest writes by vCPU 0 of frames, uint64[k], k at least 1, in order, repeats allowed.

    Returns:
        What each did; None, and nothing has been done, where they cannot be told apart.
    """
    # Versions count batches, so each write wants its own
    was = None if runtime.machine.last_version is not None else runtime.machine.look_at_pages(gfns)
    if was is None:
        return None
    faults = np.zeros(len(gfns), np.bool_)
    faults[np.unique(gfns, return_index=True)[1]] = True  # a page written again is writable by then
    faults &= ~was.writable
    kinds = (faults & ~was.mapped) + 2 * (faults & was.mapped) + _DIRTY * (faults & ~was.dirty)
    runtime.perform(GuestWrite(pages=Gfns(gfns)))
    return [_KINDS[kind] for kind in kinds.tolist()]
