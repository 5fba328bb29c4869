"""The client's ledger: exact where calls do not overlap, and never unfair where they do."""

import random
from collections.abc import Iterable

import numpy as np
import pytest
from typing_extensions import override

from hacdbs_sim.cli.demo.ledger import Ledger, PageMask, Pages, Write

NPAGES = 64


def pages(*numbers: int) -> Pages:
    return np.array(numbers, dtype=np.int64)


def mask(numbers: Iterable[int]) -> PageMask:
    found = np.zeros(NPAGES, dtype=np.bool_)
    found[list(numbers)] = True
    return found


def write(ledger: Ledger, *numbers: int) -> None:
    ledger.write_done(ledger.write_sent(pages(*numbers)))


def get(ledger: Ledger, *numbers: int, taken: bool = True) -> None:
    ledger.collection_began()
    ledger.reported(mask(numbers), taken=taken)


def clear(ledger: Ledger, *numbers: int) -> None:
    ledger.collection_began()
    ledger.cleared(mask(numbers))


def verdict(ledger: Ledger) -> tuple[int, int]:
    ledger.finish()
    return ledger.counts.lost, ledger.counts.over_reported


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(NPAGES)


class TestGetThatTakes:
    def test_a_page_reported_once_is_settled(self, ledger: Ledger) -> None:
        write(ledger, 3, 5, 3)

        get(ledger, 3, 5)

        assert verdict(ledger) == (0, 0)
        assert (ledger.counts.written, ledger.counts.reported, ledger.counts.taken) == (3, 2, 2)

    def test_a_page_not_reported_is_lost_at_once(self, ledger: Ledger) -> None:
        write(ledger, 3, 5)

        get(ledger, 5)

        assert ledger.counts.lost == 1
        assert ledger.counts.first_lost == [3]

    def test_a_lost_page_that_turns_up_later_is_no_second_fault(self, ledger: Ledger) -> None:
        write(ledger, 3)
        get(ledger)

        get(ledger, 3)

        assert verdict(ledger) == (1, 0)

    def test_a_page_never_written_is_over_reported(self, ledger: Ledger) -> None:
        get(ledger, 9)

        assert verdict(ledger) == (0, 1)
        assert ledger.counts.first_over_reported == [9]

    def test_a_page_reported_twice_for_one_write_is_over_reported(self, ledger: Ledger) -> None:
        write(ledger, 3)
        get(ledger, 3)

        get(ledger, 3)

        assert verdict(ledger) == (0, 1)

    def test_a_page_written_again_is_owed_again(self, ledger: Ledger) -> None:
        write(ledger, 3)
        get(ledger, 3)
        write(ledger, 3)

        get(ledger)

        assert verdict(ledger) == (1, 0)


class TestManualProtect:
    def test_gets_repeat_a_page_until_it_is_cleared(self, ledger: Ledger) -> None:
        write(ledger, 3)

        get(ledger, 3, taken=False)
        get(ledger, 3, taken=False)
        clear(ledger, 3)
        get(ledger, taken=False)

        assert verdict(ledger) == (0, 0)
        assert (ledger.counts.reported, ledger.counts.taken) == (1, 1)

    def test_a_get_that_forgets_a_page_before_its_clear_loses_it(self, ledger: Ledger) -> None:
        write(ledger, 3)
        get(ledger, 3, taken=False)

        get(ledger, taken=False)

        assert verdict(ledger) == (1, 0)

    def test_a_page_reported_after_its_clear_is_over_reported(self, ledger: Ledger) -> None:
        write(ledger, 3)
        get(ledger, 3, taken=False)
        clear(ledger, 3)

        get(ledger, 3, taken=False)

        assert ledger.counts.over_reported == 1

    def test_a_write_between_get_and_clear_goes_with_the_clear(self, ledger: Ledger) -> None:
        write(ledger, 3)
        get(ledger, 3, taken=False)
        write(ledger, 3)
        clear(ledger, 3)

        get(ledger, taken=False)

        assert verdict(ledger) == (0, 0)

    def test_a_page_cleared_that_no_get_had_reported_is_lost(self, ledger: Ledger) -> None:
        write(ledger, 3)

        clear(ledger, 3)

        assert verdict(ledger) == (1, 0)

    def test_a_log_initially_all_set_owes_every_page(self, ledger: Ledger) -> None:
        ledger.expect_all()

        get(ledger, *range(1, NPAGES), taken=False)

        assert ledger.counts.first_lost == [0]
        assert list(ledger.owed) == list(range(1, NPAGES))

    def test_a_refused_get_changes_nothing(self, ledger: Ledger) -> None:
        write(ledger, 3)
        ledger.collection_began()
        ledger.collection_ended()

        get(ledger, 3)

        assert verdict(ledger) == (0, 0)


class TestOverlap:
    @pytest.mark.parametrize("first", [(), (3,)])
    def test_a_page_in_flight_may_be_reported_or_not(
        self, ledger: Ledger, first: tuple[int, ...]
    ) -> None:
        in_flight = ledger.write_sent(pages(3))
        get(ledger, *first)
        ledger.write_done(in_flight)

        get(ledger, 3)

        assert verdict(ledger) == (0, 0)

    def test_a_page_taken_while_its_write_was_in_flight_need_not_come_again(
        self, ledger: Ledger
    ) -> None:
        in_flight = ledger.write_sent(pages(3))
        get(ledger, 3)
        ledger.write_done(in_flight)

        get(ledger)

        assert verdict(ledger) == (0, 0)

    def test_a_page_not_taken_while_its_write_was_in_flight_must_come(self, ledger: Ledger) -> None:
        in_flight = ledger.write_sent(pages(3))
        get(ledger)
        ledger.write_done(in_flight)

        get(ledger)

        assert verdict(ledger) == (1, 0)

    def test_a_write_within_a_collection_is_judged_at_its_end(self, ledger: Ledger) -> None:
        ledger.collection_began()
        write(ledger, 3)
        ledger.reported(mask([]), taken=True)

        assert list(ledger.owed) == [3]

    def test_a_possible_page_that_stayed_away_may_not_come_later(self, ledger: Ledger) -> None:
        in_flight = ledger.write_sent(pages(3))
        get(ledger, 3)
        ledger.write_done(in_flight)
        get(ledger)

        get(ledger, 3)

        assert verdict(ledger) == (0, 1)

    def test_a_clear_that_overlaps_a_write_leaves_its_page_possible(self, ledger: Ledger) -> None:
        write(ledger, 3)
        get(ledger, 3, taken=False)
        ledger.collection_began()
        write(ledger, 3)
        ledger.cleared(mask([3]))

        get(ledger, 3, taken=False)
        clear(ledger, 3)

        assert verdict(ledger) == (0, 0)


class TrueLog:
    """A dirty log that does each call at one moment between its request and its answer."""

    def __init__(self) -> None:
        self.dirty: set[int] = set()

    def get(self, owed: set[int], *, taken: bool) -> set[int]:  # noqa: ARG002 - liars aim by it
        found = set(self.dirty)
        if taken:
            self.dirty.clear()
        return found


class ForgetfulLog(TrueLog):
    """Once leaves out a page that was written, and answered, before the call began."""

    has_forgotten = False

    @override
    def get(self, owed: set[int], *, taken: bool) -> set[int]:
        found = super().get(owed, taken=taken)
        if owed and not self.has_forgotten:
            self.has_forgotten = True
            found.remove(max(owed))
        return found


class InventiveLog(TrueLog):
    """Once reports a page that nobody has written."""

    has_invented = False

    @override
    def get(self, owed: set[int], *, taken: bool) -> set[int]:
        found = super().get(owed, taken=taken)
        if owed and not self.has_invented:
            self.has_invented = True
            found.add(NPAGES - 1)
        return found


class Writers:
    """Writes on their way: each is sent, done in the log, and answered, in any order."""

    def __init__(self, ledger: Ledger, log: TrueLog, rng: random.Random) -> None:
        self.ledger = ledger
        self.log = log
        self.rng = rng
        self.sent: list[Write] = []
        self.done: list[Write] = []

    def step(self, *, may_send: bool = True) -> None:
        match self.rng.choice(["send", "do", "answer"]):
            case "send" if may_send:
                # The last page is never written, so that inventing it is always wrong
                numbers = [self.rng.randrange(12) for _ in range(self.rng.randint(1, 4))]
                self.sent.append(self.ledger.write_sent(pages(*numbers)))
            case "do" if self.sent:
                write = self.sent.pop(self.rng.randrange(len(self.sent)))
                self.log.dirty.update(write.pages.tolist())
                self.done.append(write)
            case "answer" if self.done:
                self.ledger.write_done(self.done.pop(self.rng.randrange(len(self.done))))
            case _:
                pass

    def steps(self) -> None:
        for _ in range(self.rng.randrange(6)):
            self.step()

    def drain(self) -> None:
        while self.sent or self.done:
            self.step(may_send=False)


def play(log: TrueLog, seed: int) -> tuple[int, int]:
    """Overlapping writers and one collector in a random interleaving; the verdict at the end."""
    rng = random.Random(seed)
    ledger = Ledger(NPAGES)
    writers = Writers(ledger, log, rng)

    def collect(*, taken: bool) -> None:
        owed = set(ledger.owed.tolist())
        ledger.collection_began()
        writers.steps()
        found = log.get(owed, taken=taken)
        writers.steps()
        ledger.reported(mask(found), taken=taken)
        if not taken:
            writers.steps()
            seen = set(np.flatnonzero(ledger.seen).tolist())
            ledger.collection_began()
            writers.steps()
            log.dirty -= seen
            writers.steps()
            ledger.cleared(mask(seen))

    for _ in range(12):
        writers.steps()
        collect(taken=rng.random() < 0.5)
    writers.drain()
    for _ in range(2):
        get(ledger, *log.get(set(ledger.owed.tolist()), taken=True))
    return verdict(ledger)


@pytest.mark.parametrize("seed", range(200))
def test_a_true_log_is_never_accused(seed: int) -> None:
    assert play(TrueLog(), seed) == (0, 0)


@pytest.mark.parametrize("seed", range(50))
def test_a_page_forgotten_is_lost_in_any_interleaving(seed: int) -> None:
    lost, over_reported = play(ForgetfulLog(), seed)

    assert lost >= 1
    assert over_reported == 0


@pytest.mark.parametrize("seed", range(50))
def test_one_page_invented_is_one_over_reported_in_any_interleaving(seed: int) -> None:
    assert play(InventiveLog(), seed) == (0, 1)
