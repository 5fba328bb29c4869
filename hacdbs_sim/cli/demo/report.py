"""How the demo shows itself: a live table on a terminal, plain lines elsewhere, a report at the end."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from hacdbs_sim.cli.demo.ledger import Totals
from hacdbs_sim.cli.demo.migration import Phase
from hacdbs_sim.cli.demo.story import Verdict

COLUMNS = ("written", "reported", "hardware", "software", "requeued")


@contextmanager
def live_table(console: Console, rounds: int) -> Generator[Callable[[Phase], None]]:
    """Show each phase as a row that grows, and how many rounds are done of all."""
    phases: list[Phase] = []
    progress = Progress(
        TextColumn("rounds"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        expand=True,
    )
    task = progress.add_task("rounds", total=rounds)
    with Live(console=console, refresh_per_second=12) as live:

        def tell(phase: Phase) -> None:
            if phase not in phases:
                phases.append(phase)
            progress.update(task, completed=sum(each.rounds_done for each in phases))
            live.update(Group(phase_table(phases), progress))

        yield tell


@contextmanager
def plain_lines(console: Console) -> Generator[Callable[[Phase], None]]:
    """Print a line when a phase begins, and its counts when the next one does."""
    shown: list[Phase] = []

    def end_line() -> None:
        if shown:
            phase = shown[-1]
            counts = ", ".join(f"{name} {getattr(phase, name):,}" for name in COLUMNS)
            console.print(
                f"{phase.name}: {counts}; {'; '.join(phase.notes) or '-'}", soft_wrap=True
            )

    def tell(phase: Phase) -> None:
        if not shown or phase is not shown[-1]:
            end_line()
            shown.append(phase)

    yield tell
    end_line()


def phase_table(phases: list[Phase]) -> Table:
    """One row for each phase."""
    table = Table(box=box.SIMPLE_HEAD, expand=True)
    table.add_column("phase", no_wrap=True)
    table.add_column("rounds", justify="right", no_wrap=True)
    for name in COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("of note", overflow="fold")
    for phase in phases:
        rounds = f"{phase.rounds_done}/{phase.rounds}" if phase.rounds else ""
        counts = [f"{getattr(phase, name):,}" for name in COLUMNS]
        table.add_row(phase.name, rounds, *counts, "; ".join(phase.notes))
    return table


def print_verdict(console: Console, verdict: Verdict) -> None:
    """Print the report that ends the demo."""
    totals = verdict.totals
    table = Table(box=box.SIMPLE_HEAD, title="report", title_justify="left")
    table.add_column("pages")
    table.add_column("", justify="right")
    table.add_column("known from")
    for name, count, source in (
        ("written by the guest", totals.written, "the gfns that this client sent"),
        ("reported", totals.reported, "the bitmaps that it received"),
        ("cleaned by hardware", verdict.hardware, "the service's answers"),
        ("cleaned by software", verdict.software, "the service's answers"),
        ("requeued", verdict.requeued, "the service's answers"),
        ("lost", totals.lost, "gfns against bitmaps, by this client alone"),
        ("over-reported", totals.over_reported, "gfns against bitmaps, by this client alone"),
    ):
        table.add_row(name, f"{count:,}", source)
    console.print(table)
    hits = ", ".join(f"{fault.type} x{fault.hits}" for fault in verdict.faults)
    console.print(f"faults that hit: {hits}", soft_wrap=True)
    for complaint in complaints(verdict):
        console.print(Text(complaint, style="bold red"), soft_wrap=True)
    if verdict.is_good:
        console.print(Text("0 pages lost, 0 over-reported", style="bold green"))


def complaints(verdict: Verdict) -> list[str]:
    """What is wrong, a line each."""
    totals = verdict.totals
    found = list(verdict.unmet)
    if totals.lost:
        found.append(f"{totals.lost:,} pages lost, the first: {totals.first_lost}")
    if totals.over_reported:
        found.append(
            f"{totals.over_reported:,} pages over-reported, the first: {totals.first_over_reported}"
        )
    return found


def as_json(verdict: Verdict, *, url: str, seed: int, seconds: float) -> dict[str, Any]:
    """Give the report for machines."""
    totals: Totals = verdict.totals
    return {
        "good": verdict.is_good,
        "url": url,
        "seed": seed,
        "seconds": round(seconds, 3),
        "pages": {
            "written": totals.written,
            "reported": totals.reported,
            "taken": totals.taken,
            "cleaned_by_hardware": verdict.hardware,
            "cleaned_by_software": verdict.software,
            "requeued": verdict.requeued,
            "lost": totals.lost,
            "over_reported": totals.over_reported,
        },
        "first_lost": totals.first_lost,
        "first_over_reported": totals.first_over_reported,
        "unmet": verdict.unmet,
        "faults": [asdict(fault) for fault in verdict.faults],
        "phases": [asdict(phase) for phase in verdict.phases],
    }
