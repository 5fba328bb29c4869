"""How a migration is watched: a table that grows and a bar on a terminal, lines elsewhere."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final, NamedTuple

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hacdbs_sim.cli import views
from hacdbs_sim.client.reports import Iteration

SHOWN_PASSES: Final = 20
"""The passes of a live table: those before have scrolled away."""

_COLUMNS: Final = (
    *("#pass", "phase", "#dirty", "#sent", "#remaining", "#ms", "#throttle %"),
    *("#hardware", "#software", "#requeued"),
)


class Shown(NamedTuple):
    """What is seen of a migration."""

    migration_id: str
    status: str
    iterations: tuple[Iteration, ...]


@contextmanager
def showing(console: Console, *, is_silent: bool) -> Generator[Callable[[Shown], None]]:
    """Give what shows a migration whenever there is something new."""
    if is_silent:
        yield lambda _: None
    elif console.is_terminal:
        with Live(console=console, refresh_per_second=12) as live:
            yield lambda shown: live.update(_view(shown))
    else:
        yield _lines(console)


def _view(shown: Shown) -> RenderableType:
    """Draw the last passes, and how much of the memory has arrived for good."""
    passes = shown.iterations[-SHOWN_PASSES:]
    parts: list[RenderableType] = [_table(f"{shown.migration_id}: {shown.status}", passes)]
    if shown.iterations:
        most = max(each.dirty_pages for each in shown.iterations)
        left = shown.iterations[-1].remaining_pages
        parts.append(ProgressBar(total=max(most, 1), completed=max(most - left, 0), width=60))
    return Group(*parts)


def _lines(console: Console) -> Callable[[Shown], None]:
    told = 0

    def tell(shown: Shown) -> None:
        nonlocal told
        for each in shown.iterations[told:]:
            pairs = zip(_COLUMNS[1:], _row(each)[1:], strict=True)
            figures = ", ".join(f"{name.removeprefix('#')} {cell}" for name, cell in pairs)
            console.print(Text(f"pass {each.iteration}: {figures}"), soft_wrap=True)
        told = len(shown.iterations)

    return tell


def _table(title: str, passes: tuple[Iteration, ...]) -> Table:
    return views.filled(title, _COLUMNS, (_row(each) for each in passes))


def _row(each: Iteration) -> tuple[object, ...]:
    return (
        each.iteration,
        each.phase,
        each.dirty_pages,
        each.sent_pages,
        each.remaining_pages,
        f"{each.duration_ns / 1e6:,.1f}",
        each.throttle_percent,
        each.hardware_cleaned,
        each.software_cleaned,
        each.requeued,
    )
