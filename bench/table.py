"""The table: for a terminal, and for the manual."""

from collections.abc import Sequence
from typing import Final

from bench.goals import SMALL_MARGIN, Verdict
from bench.rows import Result, Spread

HEAD: Final = ("measure", "against", "here", "there", "ratio", "middle half", "goal", "")
MARKDOWN_HEAD: Final = (
    "measure",
    "state before each round",
    "against",
    "here",
    "there",
    "ratio",
    "middle half",
    "rounds",
    "goal",
    "",
)

_RIGHT: Final = frozenset({"here", "there", "ratio", "middle half", "rounds"})


def figure(value: float) -> str:
    """Show a ratio, to three digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def spread(figures: Spread) -> str:
    """Show what the middle half of the rounds lies between."""
    if figures.rounds == 1:
        return ""
    return f"{figure(figures.low)} to {figure(figures.high)}"


def _verdict(result: Result) -> str:
    return str(result.verdict) if result.verdict else "SKIPPED"


def _cells(result: Result) -> tuple[str, ...]:
    row, figures = result.row, result.figures
    if figures is None:
        return (row.measure, row.against, "", "", "", "", str(row.goal), "SKIPPED")
    return (
        row.measure,
        row.against,
        figures.ours,
        figures.theirs,
        figure(figures.spread.median),
        spread(figures.spread),
        str(row.goal),
        _verdict(result),
    )


def as_text(results: Sequence[Result]) -> str:
    """Lay the table out for a terminal; the state, and why a row was skipped, follow in its next line."""
    rows = [_cells(result) for result in results]
    widths = [max(map(len, column)) for column in zip(HEAD, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if name in _RIGHT else cell.ljust(width)
            for name, cell, width in zip(HEAD, cells, widths, strict=True)
        )
        return "  ".join(padded).rstrip()

    lines = [line(HEAD), line(["-" * width for width in widths])]
    for result, cells in zip(results, rows, strict=True):
        lines += [line(cells), f"    {result.row.name}: {result.row.state}"]
        if result.skipped:
            lines.append(f"    SKIPPED: {result.skipped}")
    return "\n".join(lines)


def as_markdown(results: Sequence[Result]) -> str:
    """Lay the table out for the manual."""
    rule = ["--:" if name in _RIGHT else "---" for name in MARKDOWN_HEAD]
    lines = [MARKDOWN_HEAD, rule]
    for result in results:
        measure, against, *rest = _cells(result)
        rounds = str(result.figures.spread.rounds) if result.figures else ""
        lines.append((measure, result.row.state, against, *rest[:4], rounds, *rest[4:]))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def shortfalls(results: Sequence[Result]) -> list[str]:
    """Return by how much each missed goal is missed."""
    lines = []
    for result in results:
        if result.figures is None or result.verdict in (None, Verdict.MET):
            continue
        got, goal = result.figures.spread.median, result.row.goal
        share = 100 * (got / goal.bound if goal.is_floor else goal.bound / got)
        lines.append(
            f"{result.row.name}: {figure(got)} where {goal} was asked, {share:.0f} % of the goal"
        )
    return lines


def small_margins(results: Sequence[Result]) -> list[str]:
    """Return the rows that are near to being wildly off."""
    lines = []
    for result in results:
        if result.figures is None:
            continue
        margin = result.row.goal.margin(result.figures.spread.median)
        if 1 <= margin < SMALL_MARGIN:
            lines.append(f"{result.row.name}: {margin:.2g} times worse would be wildly off")
    return lines
