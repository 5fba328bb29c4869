"""`trace import | record | info`: recordings of page writes of real programs."""

import os
import sys
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import RenderableType

from hacdbs_sim.cli import completion, views
from hacdbs_sim.cli.command_context import open_console, print_json
from hacdbs_sim.cli.exit_codes import ExitCode
from hacdbs_sim.files import BadFileError, open_regular
from hacdbs_sim.traces.figures import figures_of, interval_length, pages_over_time, rewritten
from hacdbs_sim.traces.lackey import DEFAULT_INTERVAL_INSTRUCTIONS, import_lackey
from hacdbs_sim.traces.plot import svg_of
from hacdbs_sim.traces.recording import SHIPPED, Recording, builtin
from hacdbs_sim.traces.soft_dirty import has_soft_dirty, record

BAR_COLUMNS = 40
TIME_ROWS = 20

app = typer.Typer(
    name="trace", no_args_is_help=True, help="Make and show recordings of page writes."
)

Output = Annotated[Path, typer.Option("-o", "--output", help="The .npz file to write.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")]


@contextmanager
def _exit_on_error(name: str, advice: str = "") -> Generator[None]:
    """Print the error of a file or a process, and exit with a usage error."""
    try:
        yield
    except (BadFileError, OSError) as error:
        typer.echo(f"{name}: {error}{advice}", err=True)
        raise typer.Exit(ExitCode.USAGE) from None


@app.command("import")
def import_(
    source: Annotated[str, typer.Argument(metavar="FILE", help="Lackey's output; - for stdin.")],
    output: Output,
    interval_instructions: Annotated[
        int, typer.Option(min=1, help="Instructions in an interval.")
    ] = DEFAULT_INTERVAL_INSTRUCTIONS,
    as_json: AsJson = False,
) -> None:
    """Import the output of valgrind --tool=lackey --trace-mem=yes."""
    name = "stdin" if source == "-" else source
    with _exit_on_error(name), ExitStack() as stack:
        is_stdin = source == "-"
        file = sys.stdin.buffer if is_stdin else stack.enter_context(open_regular(source))
        recording, skipped = import_lackey(file, interval_instructions)
    _save(recording, output)
    typer.echo(f"{output}: {skipped} other lines passed over", err=True)
    _show(recording, output.stem, as_json=as_json)


@app.command("record")
def record_(
    output: Output,
    pid: Annotated[int, typer.Option(min=1, help="The process.")],
    intervals: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Number of intervals.")
    ] = 100,
    interval_ms: Annotated[
        int, typer.Option(min=1, max=60_000, help="Length of an interval.")
    ] = 100,
    as_json: AsJson = False,
) -> None:
    """Record a running process by the kernel's soft-dirty bits."""
    if not has_soft_dirty():
        typer.echo(
            "this kernel keeps no soft-dirty bits (CONFIG_MEM_SOFT_DIRTY): use `trace import` with "
            "valgrind's lackey instead",
            err=True,
        )
        raise typer.Exit(ExitCode.NEGATIVE)
    with _exit_on_error(f"process {pid}"):
        recording = record(pid, intervals=intervals, interval_ns=interval_ms * 1_000_000)
    _save(recording, output)
    _show(recording, output.stem, as_json=as_json)


@app.command("info")
def info(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help=f"An .npz file, or one of {', '.join(SHIPPED)}.",
            autocompletion=completion.one_of(*SHIPPED),
        ),
    ],
    plot: Annotated[Path | None, typer.Option(help="Draw it to this .svg file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the figures of a recording."""
    others = f"; the builtin traces are {', '.join(SHIPPED)}"
    with _exit_on_error(source, "" if os.path.lexists(source) else others):
        recording = builtin(source) if source in SHIPPED else Recording.load(source)
    name = Path(source).stem
    if plot is not None:
        with _exit_on_error(str(plot)):
            plot.write_text(svg_of(recording, name), encoding="utf-8")
    _show(recording, name, as_json=as_json)


def _save(recording: Recording, output: Path) -> None:
    with _exit_on_error(str(output)), output.open("wb") as file:
        recording.save(file)


def _show(recording: Recording, name: str, *, as_json: bool) -> None:
    if as_json:
        print_json(orjson.dumps({"name": name, **asdict(figures_of(recording))}))
        return
    console = open_console()
    for part in (_figures(recording, name), _over_time(recording), _rewritten(recording)):
        console.print(part)


def _figures(recording: Recording, name: str) -> RenderableType:
    figures = figures_of(recording)
    length = interval_length(recording)
    values: dict[str, object] = {} if length is None else {"an interval": length}
    values |= {
        "intervals": figures.intervals,
        "distinct pages": f"{figures.distinct_pages:,} of {figures.page_size} bytes",
        "page records": figures.records,
        "pages an interval": (
            f"{figures.least:,} to {figures.most:,},"
            f" median {figures.median:g}, mean {figures.mean:g}"
        ),
        "written in one interval only": figures.written_once,
    }
    return views.facts(name, values)


def _over_time(recording: Recording) -> RenderableType:
    parts = pages_over_time(recording, TIME_ROWS)
    rows = [(f"{first}-{last}", mean) for first, last, mean in parts]
    return _bars("pages an interval, over time", rows)


def _rewritten(recording: Recording) -> RenderableType:
    rows = rewritten(recording)
    named = [(f"{low}-{high}" if high > low else str(low), count) for low, high, count in rows]
    return _bars("pages by intervals that write them", named)


def _bars(title: str, rows: Sequence[tuple[str, float]]) -> RenderableType:
    most = max((value for _, value in rows), default=0) or 1
    cells = [
        (name, f"{value:,.0f}", "█" * round(BAR_COLUMNS * value / most) or " ")
        for name, value in rows
    ]
    return views.rows_table(title, ("#intervals", "#pages", ""), cells, least_columns=2)
