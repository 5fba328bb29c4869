"""Output of the demo: a live table on a terminal, plain lines elsewhere, a report at the end."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Final

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from hacdbs_sim.cli import views
from hacdbs_sim.cli.demo.migration import Phase
from hacdbs_sim.cli.demo.phases import DemoResult
from hacdbs_sim.cli.tables import Rows

COLUMNS: Final = ("written", "reported", "hardware", "software", "requeued")

LEAST_COLUMNS: Final = 4
"""Columns that a narrow terminal keeps: to what was reported."""


@contextmanager
def live_table(console: Console, rounds: int) -> Generator[Callable[[Phase], None]]:
    """Show a row for each phase, and a bar of the rounds."""
    phases: list[Phase] = []
    bar = (TextColumn("rounds"), BarColumn(bar_width=None), MofNCompleteColumn())
    progress = Progress(*bar, TimeElapsedColumn(), expand=True)
    task = progress.add_task("rounds", total=rounds)
    with Live(console=console, refresh_per_second=12) as live:

        def report(phase: Phase) -> None:
            if phase not in phases:
                phases.append(phase)
            progress.update(task, completed=sum(each.rounds_done for each in phases))
            live.update(Group(_phase_table(phases), progress))

        yield report


@contextmanager
def plain_lines(console: Console) -> Generator[Callable[[Phase], None]]:
    """Print the counts of each phase when it has ended."""
    current: Phase | None = None

    def report(phase: Phase | None) -> None:
        nonlocal current
        if current is not None and phase is not current:
            counts = ", ".join(f"{name} {getattr(current, name):,}" for name in COLUMNS)
            line = f"{current.name}: {counts}; {'; '.join(current.notes) or '-'}"
            console.print(line, soft_wrap=True)
        current = phase

    yield report
    report(None)


def _phase_table(phases: list[Phase]) -> Rows:
    headers = ("phase", "rounds", *(f"#{name}" for name in COLUMNS), "notes")
    rows = (
        (
            phase.name,
            f"{phase.rounds_done}/{phase.rounds}" if phase.rounds else " ",
            *(getattr(phase, name) for name in COLUMNS),
            "; ".join(phase.notes) or " ",
        )
        for phase in phases
    )
    return views.rows_table("", headers, rows, least_columns=LEAST_COLUMNS)


def print_report(console: Console, result: DemoResult) -> None:
    """Print the report that ends the demo."""
    counts = result.counts
    service = "reports of the service"
    compared = "gfns compared with bitmaps, by this client"
    rows = (
        ("written by the guest", counts.written, "gfns that this client sent"),
        ("reported", counts.reported, "bitmaps that it received"),
        ("cleaned by hardware", result.total("hardware"), service),
        ("cleaned by software", result.total("software"), service),
        ("requeued", result.total("requeued"), service),
        ("lost", counts.lost, compared),
        ("over-reported", counts.over_reported, compared),
    )
    console.print(views.rows_table("report", ("pages", "#", "source"), rows))
    hits = ", ".join(f"{fault.type} x{fault.hits}" for fault in result.faults)
    console.print(f"faults that hit: {hits}", soft_wrap=True)
    for complaint in result.complaints:
        console.print(Text(complaint, style="bold red"), soft_wrap=True)
    if not result.complaints:
        console.print(Text("0 pages lost, 0 over-reported", style="bold green"))


def as_json(result: DemoResult, *, url: str, seed: int, seconds: float) -> dict[str, Any]:
    """Return the report as a JSON object."""
    counts = result.counts
    return {
        "good": not result.complaints,
        "url": url,
        "seed": seed,
        "seconds": round(seconds, 3),
        "pages": {
            "written": counts.written,
            "reported": counts.reported,
            "taken": counts.taken,
            "cleaned_by_hardware": result.total("hardware"),
            "cleaned_by_software": result.total("software"),
            "requeued": result.total("requeued"),
            "lost": counts.lost,
            "over_reported": counts.over_reported,
        },
        "first_lost": counts.first_lost,
        "first_over_reported": counts.first_over_reported,
        "unmet": result.unmet,
        "faults": [asdict(fault) for fault in result.faults],
        "phases": [asdict(phase) for phase in result.phases],
    }
