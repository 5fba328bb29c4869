"""What people and machines read of a demo, and when it is good."""

import io
import json

import pytest
from rich.console import Console

from hacdbs_sim.cli.demo.ledger import PageCounts
from hacdbs_sim.cli.demo.migration import FaultOutcome, Phase
from hacdbs_sim.cli.demo.phases import DemoResult, Length
from hacdbs_sim.cli.demo.report import as_json, live_table, plain_lines, print_report


def console(*, is_terminal: bool = False) -> tuple[Console, io.StringIO]:
    shown = io.StringIO()
    return Console(file=shown, force_terminal=is_terminal, width=120, highlight=False), shown


def result(**counts: object) -> DemoResult:
    phases = [
        Phase("one", 2, 2, written=10, reported=8, hardware=5, software=3, requeued=1),
        Phase("two", 1, 1, written=4, reported=4, hardware=4),
    ]
    faults = [FaultOutcome("ipaf", "clear", 2)]
    return DemoResult(PageCounts(**counts), phases, faults)  # type: ignore[arg-type]


def test_nothing_lost_and_nothing_over_reported_is_good() -> None:
    assert result().complaints == []
    assert as_json(result(), url="http://vm", seed=7, seconds=1)["good"] is True


@pytest.mark.parametrize("wrong", ["lost", "over_reported"])
def test_one_page_wrong_is_not_good_and_is_named(wrong: str) -> None:
    bad = result(**{wrong: 1, f"first_{wrong}": [77]})

    assert as_json(bad, url="http://vm", seed=7, seconds=1)["good"] is False
    assert bad.complaints == [f"1 pages {wrong.replace('_', '-')}, the first: [77]"]


def test_a_fault_that_never_hit_is_not_good_either() -> None:
    bad = result()
    bad.unmet.append("ipaf never hit")

    assert as_json(bad, url="http://vm", seed=7, seconds=1)["good"] is False
    assert bad.complaints == ["ipaf never hit"]


def test_the_service_counts_are_sums_over_the_phases() -> None:
    report = as_json(result(written=14), url="http://vm", seed=7, seconds=1.23456)

    assert json.loads(json.dumps(report)) == report
    assert report["seconds"] == 1.235
    assert report["pages"] == {
        "written": 14,
        "reported": 0,
        "taken": 0,
        "cleaned_by_hardware": 9,
        "cleaned_by_software": 3,
        "requeued": 1,
        "lost": 0,
        "over_reported": 0,
    }


def test_a_terminal_sees_the_phases_grow() -> None:
    screen, shown = console(is_terminal=True)
    first, second = result().phases

    with live_table(screen, 3) as report:
        report(first)
        first.note("ipaf x2")
        first.note("ipaf x2")
        report(first)
        report(second)

    last = shown.getvalue().rpartition("phase")[2]
    assert last.count("ipaf x2") == 1
    assert "2/2" in last
    assert "3/3" in last  # the bar


def test_a_file_gets_one_line_for_each_phase() -> None:
    screen, shown = console()

    with plain_lines(screen) as report:
        for phase in result().phases:
            report(phase)
            report(phase)

    assert shown.getvalue().splitlines() == [
        "one: written 10, reported 8, hardware 5, software 3, requeued 1; -",
        "two: written 4, reported 4, hardware 4, software 0, requeued 0; -",
    ]


def test_no_phase_is_no_line() -> None:
    screen, shown = console()

    with plain_lines(screen):
        pass

    assert shown.getvalue() == ""


def test_the_report_ends_with_the_verdict() -> None:
    screen, shown = console()

    print_report(screen, result(written=14))
    print_report(screen, result(lost=2, first_lost=[3, 4]))

    lines = shown.getvalue().splitlines()
    assert "0 pages lost, 0 over-reported" in lines
    assert lines[-1] == "2 pages lost, the first: [3, 4]"
    assert "faults that hit: ipaf x2" in lines


def test_a_demo_without_a_pace_plays_all_intervals() -> None:
    length = Length(live_rounds=5)

    assert length.rounds * length.intervals(521) >= 521
    assert Length(live_rounds=5, intervals_per_round=2).intervals(521) == 2
