"""What earlier attempts left, by slot."""

from dataclasses import replace

import numpy as np

from hacdbs_sim.model import MemslotLife
from hacdbs_sim.vmm import TransferHistory
from hacdbs_sim.vmm.history import Left

LIFE = MemslotLife(slot=1, created=4, log=5, npages=64, base_gfn=0)
LEFT = Left(log=5, taken=3, pending=np.ones(1, np.uint64), lacking=None)


def test_nothing_is_left_of_a_slot_that_was_never_migrated() -> None:
    assert TransferHistory().left(LIFE) is None


def test_what_an_attempt_leaves_is_found_by_the_next_until_all_is_delivered() -> None:
    history = TransferHistory()

    history.leave(LIFE, LEFT)
    found = history.left(LIFE)
    history.forget(LIFE)

    assert found is LEFT
    assert history.left(LIFE) is None


def test_nothing_is_left_of_a_slot_that_was_made_again() -> None:
    history = TransferHistory()

    history.leave(LIFE, LEFT)

    assert history.left(replace(LIFE, created=6)) is None


def test_a_slot_made_after_the_first_attempt_is_new() -> None:
    history = TransferHistory()
    before = history.is_new(LIFE)

    history.begin(4)
    history.begin(9)

    assert (before, history.is_new(LIFE), history.is_new(replace(LIFE, created=5))) == (
        False,
        False,
        True,
    )
