"""What an invariant is, and what several of them ask of a step."""

import numpy as np

from hacdbs_sim.model import Bitmap, ClearDirtyLog, DirtyLog
from tests.property.states import Pages, Step, offsets_in, pages_of_words


class Invariant:
    """A rule; one object follows one machine through its life."""

    def after(self, step: Step) -> None:
        """Judge one action."""
        raise NotImplementedError


def reported(step: Step) -> Pages:
    assert isinstance(step.answer, DirtyLog)
    assert step.answer.bitmap is not None
    return pages_of_words(step.answer.bitmap.words, step.after.slots[step.answer.slot].npages)


def requested_by(step: Step) -> Pages:
    """Return which pages of its slot a clear requests."""
    action = step.action
    assert isinstance(action, ClearDirtyLog)
    npages = step.after.slots[action.slot].npages
    if not isinstance(action.pages, Bitmap):
        return offsets_in(action.pages, 0, npages)
    found = np.zeros(npages + 64, np.bool_)
    bits = pages_of_words(action.pages.words, len(action.pages.words) * 64)
    found[action.first_page : action.first_page + len(bits)] = bits
    if action.num_pages is not None:
        found[action.first_page + -(-action.num_pages // 64) * 64 :] = False
    return found[:npages]
