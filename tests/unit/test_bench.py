"""How scripts/bench judges, pairs and shows its figures; nothing here is timed."""

from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from bench.__main__ import all_rows
from bench.core import CoreSlot, random_pages
from bench.goals import Goal, Verdict, at_least, at_most
from bench.kernel_loop import KernelLoop, LoopSlot, compiler_version
from bench.report import BY_HAND, kept
from bench.rounds import Effort, Side, in_turn
from bench.rows import (
    Figures,
    Result,
    Row,
    SkippedError,
    Spread,
    compare,
    duration,
    measure,
    measure_again,
    rate,
)
from bench.service import Service
from bench.table import HEAD, MARKDOWN_HEAD, as_markdown, as_text, shortfalls, small_margins
from hacdbs_sim.model import PeekDirtyLog

ROUNDS = Effort(0, 4)


def row_with(goal: Goal, figure: float) -> Row:
    figures = Figures(Spread.of([figure]), "1 ms", "2 ms")
    return Row("name", "measure", "state", "against", goal, lambda _: figures)


def refuse(_: Goal) -> Figures:
    raise SkippedError("there is no compiler")


def no_service() -> Service:
    raise AssertionError("asked for")


@pytest.mark.parametrize(
    ("goal", "figure", "verdict"),
    [
        (at_least(30), 30.0, Verdict.MET),
        (at_least(30), 29.9, Verdict.MISSED),
        (at_least(30), 10.0, Verdict.MISSED),
        (at_least(30), 9.9, Verdict.WILDLY_OFF),
        (at_most(2), 2.0, Verdict.MET),
        (at_most(2), 2.1, Verdict.MISSED),
        (at_most(2), 6.0, Verdict.MISSED),
        (at_most(2), 6.1, Verdict.WILDLY_OFF),
    ],
)
def test_only_a_figure_three_times_worse_than_its_goal_is_wildly_off(
    goal: Goal, figure: float, verdict: Verdict
) -> None:
    assert goal.judge(figure) is verdict
    assert measure(row_with(goal, figure)).verdict is verdict


def test_a_floor_asks_how_many_times_faster_and_a_ceiling_how_many_times_as_long() -> None:
    assert at_least(1).ratio(ours=2.0, theirs=6.0) == 3.0
    assert at_most(1).ratio(ours=6.0, theirs=2.0) == 3.0


def test_sides_take_turns_each_restored_first_and_the_first_round_does_not_count() -> None:
    said: list[str] = []
    ticks = count()

    def clock() -> float:
        return float(next(ticks))

    restore = partial(said.append, "restore ours")
    ours = Side(partial(said.append, "ours"), restore, clock=clock)
    theirs = Side(partial(said.append, "theirs"), clock=clock)

    times = in_turn(ours, theirs, ROUNDS)

    assert times == ([1.0] * 4, [1.0] * 4)
    first, second = ["restore ours", "ours", "theirs"], ["theirs", "restore ours", "ours"]
    assert said == first + 2 * (second + first)


def test_a_round_of_a_repeated_side_is_the_median() -> None:
    readings = iter([0.0, 5.0, 10.0, 11.0, 20.0, 22.0])
    restored: list[None] = []
    side = Side(
        lambda: None, lambda: restored.append(None), repeats=3, clock=lambda: next(readings)
    )

    assert side.timed() == 2.0
    assert len(restored) == 3


def test_the_ratio_is_taken_round_by_round() -> None:
    # The machine slows down tenfold half way: both sides do, and no ratio moves
    slow, work = [1.0, 1.0, 1.0, 10.0, 10.0, 10.0], []
    clock = [0.0]

    def takes(seconds: float) -> None:
        work.append(seconds)
        clock[0] += seconds * slow[(len(work) - 1) // 2]

    ours, theirs = (Side(partial(takes, seconds), clock=lambda: clock[0]) for seconds in (1.0, 3.0))
    figures = compare(at_least(1), ours, theirs, Effort(0, 5), show=rate(6))

    assert figures.spread == Spread(3.0, 3.0, 3.0, 5)
    assert (figures.ours, figures.theirs) == ("1/s", "0/s")


def test_a_spread_is_the_median_and_the_middle_half() -> None:
    assert Spread.of([8.0, 1.0, 2.0, 3.0, 100.0]) == Spread(3.0, 2.0, 8.0, 5)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(2.5, "2.5 s"), (0.0018, "1.8 ms"), (113e-6, "113 us"), (5e-9, "5 ns")],
)
def test_times_are_shown_in_the_unit_that_suits_them(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_a_missed_goal_is_reported_with_how_much_of_it_was_reached() -> None:
    results = [
        measure(row_with(at_least(30), 15.0)),
        measure(row_with(at_most(2), 8.0)),
        measure(row_with(at_least(1), 1.0)),
        measure(replace(row_with(at_least(1), 1.0), run=refuse)),
    ]
    assert shortfalls(results) == [
        "name: 15 where at least 30 was asked, 50 % of the goal",
        "name: 8 where at most 2 was asked, 25 % of the goal",
    ]


def test_a_row_that_is_near_to_wildly_off_is_reported() -> None:
    results = [
        measure(row_with(at_least(30), 15.0)),
        measure(row_with(at_least(30), 21.0)),
        measure(row_with(at_least(30), 9.0)),
        measure(row_with(at_most(2), 4.0)),
        measure(row_with(at_most(2), 2.0)),
        measure(replace(row_with(at_least(1), 1.0), run=refuse)),
    ]
    assert small_margins(results) == [
        "name: 1.5 times worse would be wildly off",
        "name: 1.5 times worse would be wildly off",
    ]


@pytest.mark.parametrize(
    ("figures", "measured", "verdict"),
    [
        ([12.0], 12.0, Verdict.MISSED),
        ([9.0, 12.0], 12.0, Verdict.MISSED),
        ([9.0, 8.0], 9.0, Verdict.WILDLY_OFF),
    ],
)
def test_a_row_that_is_wildly_off_is_measured_once_more(
    figures: list[float], measured: float, verdict: Verdict
) -> None:
    left = list(figures)
    row = row_with(at_least(30), 0.0)

    result = measure_again(
        replace(row, run=lambda _: Figures(Spread.of([left.pop(0)]), "1 ms", "2 ms"))
    )

    assert result.figures is not None
    assert (result.figures.spread.median, result.verdict, left) == (measured, verdict, [])


def test_a_skipped_row_is_loud_in_the_table_and_no_failure() -> None:
    skipped = measure(replace(row_with(at_least(30), 1.0), run=refuse))

    assert skipped == Result(skipped.row, None, "there is no compiler")
    assert skipped.verdict is None
    text = as_text([skipped, measure(row_with(at_least(30), 31.0))])
    assert "SKIPPED: there is no compiler" in text
    assert "31" in text


def test_each_line_of_the_table_has_a_cell_for_each_heading() -> None:
    results = [
        measure(row_with(at_least(30), 15.0)),
        measure(replace(row_with(at_least(1), 1.0), run=refuse)),
    ]
    lines = as_markdown(results).splitlines()
    assert {line.count("|") for line in lines} == {len(MARKDOWN_HEAD) + 1}
    assert all(name in as_text(results).splitlines()[0] for name in HEAD)


def test_rows_have_names_of_their_own_and_none_is_measured_by_being_listed() -> None:
    for quick in (True, False):
        names = [row.name for row in all_rows(no_service, quick=quick)]
        assert len(set(names)) == len(names) > 15


def test_the_handwritten_part_stays(tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    assert kept(document) == ""
    document.write_text(f"# Performance\n\nmeasured\n\n{BY_HAND}\nWe looked.\n")
    assert kept(document) == f"{BY_HAND}\nWe looked.\n"


@pytest.mark.skipif(compiler_version() is None, reason="no C compiler")
def test_the_loop_clears_what_the_core_clears() -> None:
    dirty = random_pages(4096, 1500)
    core, loop = CoreSlot(4096 * 4096, dirty), LoopSlot(KernelLoop(), dirty)
    for _ in range(2):
        core.refill()
        loop.refill()
        core.clear()
        loop.clear()
    log = core.machine.query(PeekDirtyLog(slot=0)).bitmap
    assert log is not None
    assert not np.any(log.words)
    assert loop.is_clean
