"""The passes of a running migration: a live table and a bar on a terminal, lines elsewhere."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final, TypeAlias

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from hacdbs_sim.cli import views
from hacdbs_sim.model import AppliedChange, IterationTable, MigrationInfo

SHOWN_PASSES: Final = 20
"""Passes that the live table lists: the last ones."""

SHOWN_CHANGES: Final = 3
"""Changes that are listed below it."""

LEAST_COLUMNS: Final = 3
"""Columns that a narrow terminal keeps, so that the table stays one that grows by a row a pass."""

Passes: TypeAlias = MigrationInfo | IterationTable


@contextmanager
def pass_display(console: Console, *, is_silent: bool) -> Generator[Callable[[Passes], None]]:
    """Yield a function that shows the passes of a migration; it is called after each pass."""
    if is_silent:
        yield lambda _: None
    elif console.is_terminal:
        with Live(console=console, refresh_per_second=12) as live:
            yield lambda passes: live.update(_live_view(passes))
    else:
        yield _line_printer(console)


def _live_view(passes: Passes) -> RenderableType:
    """Return a table of the last passes, and a bar of the memory that needs no further pass."""
    iterations = passes.iterations
    title = f"{passes.migration_id}: {passes.status}"
    shown = iterations[-SHOWN_PASSES:]
    parts: list[RenderableType] = [
        views.fields_table(title, views.PASSES, shown, least_columns=LEAST_COLUMNS)
    ]
    if iterations:
        most = max(each.dirty_pages for each in iterations)
        left = iterations[-1].remaining_pages
        parts += [Text(_change_line(change)) for change in _changes(passes)[-SHOWN_CHANGES:]]
        parts.append(ProgressBar(total=max(most, 1), completed=max(most - left, 0), width=60))
    return Group(*parts)


def _changes(passes: Passes) -> tuple[AppliedChange, ...]:
    return passes.changes if isinstance(passes, MigrationInfo) else ()


def _change_line(change: AppliedChange) -> str:
    return f"change in pass {change.iteration} by {change.by}: {views.change(change)}"


def _line_printer(console: Console) -> Callable[[Passes], None]:
    printed = printed_changes = 0

    def show(passes: Passes) -> None:
        nonlocal printed, printed_changes
        for each in passes.iterations[printed:]:
            cells = [
                f"{header.removeprefix('#')} {views.cell(each, source)}"
                for header, source in views.PASSES.items()
            ]
            console.print(Text(f"{cells[0]}: {', '.join(cells[1:])}"), soft_wrap=True)
        printed = len(passes.iterations)
        changes = _changes(passes)
        for change in changes[printed_changes:]:
            console.print(Text(_change_line(change)), soft_wrap=True)
        printed_changes = len(changes)

    return show
