"""No story fools the proof: what it calls proved is what the destination has in truth.

Hands reach in at every moment: other readers take the log, gets fail, slots go, come back, move and stop
logging, versions end, the guest gives up pages and writes them again, the link breaks, an attempt is
cancelled and another begins where it ended, in pre-copy and in post-copy.
"""

from collections import Counter
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hacdbs_sim.model import MigrationStatus, Reason
from hacdbs_sim.vmm import public_report
from hacdbs_sim.wire import to_plain
from tests.conftest import PROFILE
from tests.property.dice import DrawnDice, SeededDice
from tests.property.migration_stories import Attempt, tell

GONE: Final = Reason.MEMORY_LAYOUT_CHANGED
STORIES: Final = {"dev": 250, "ci": 1_000, "long": 50_000}[PROFILE]
BLOCKS: Final = 5


def check(attempt: Attempt) -> None:
    """Check that a proof is true; without one there is nothing to check."""
    proof, judged = attempt.report.verification, attempt.judged
    if not proof.verified:
        return
    assert proof.lost_pages >= judged.lost
    if attempt.report.status is MigrationStatus.COMPLETED:
        assert {each.slot for each in proof.slots} == judged.slots
    # What nothing is known of counts as lost, even where it happens to be the same
    is_simple = attempt.is_first and not attempt.ends_versions
    if is_simple and not attempt.report.changed_slots and attempt.report.reason is not GONE:
        assert proof.lost_pages == judged.lost


@given(st.data())
def test_what_is_called_proved_is_so(data: st.DataObject) -> None:
    for attempt in tell(DrawnDice(data)):
        check(attempt)


@pytest.mark.parametrize("block", range(BLOCKS))
def test_what_is_called_proved_is_so_in_many_stories_of_every_kind(block: int) -> None:
    came_up: Counter[str] = Counter()
    for number in range(block, STORIES, BLOCKS):
        for attempt in tell(SeededDice(f"migration {number}")):
            check(attempt)
            came_up.update(kinds_of(attempt))

    missing = {"completed", "cancelled", "failed", "post-copy", "proved", "unproved"} - {*came_up}
    assert not missing


def kinds_of(attempt: Attempt) -> list[str]:
    report = attempt.report
    kinds = [report.status.value, "proved" if report.verification.verified else "unproved"]
    if report.postcopy is not None:
        kinds.append("post-copy")
    if report.verification.lost_pages:
        kinds.append("lost")
    return kinds


def test_stories_lose_pages_now_and_then_so_the_proof_has_something_to_find() -> None:
    assert any(
        attempt.report.verification.verified and attempt.judged.lost
        for number in range(300)
        for attempt in tell(SeededDice(f"losses {number}"))
    )


@given(st.integers(0, 10**6))
def test_the_same_story_has_the_same_reports(seed: int) -> None:
    one, other = (
        [to_plain(public_report(each.report)) for each in tell(SeededDice(str(seed)))]
        for _ in range(2)
    )

    assert one == other
