"""docs/performance.md: machine, versions, table and plots; what is written there by hand stays."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.curves import requests_against_connections, time_against_pages
from bench.machine import facts
from bench.over_http import GetService
from bench.rows import Result
from bench.service import ROOT
from bench.table import as_markdown, shortfalls

DOCUMENT: Final = ROOT / "docs" / "performance.md"
PLOTS: Final = ROOT / "docs" / "plots"
TIMES: Final = "time-against-pages.svg"
RATES: Final = "requests-against-connections.svg"

BY_HAND: Final = "## What the profile shows\n"
"""Where the handwritten part of the document begins."""

_TITLE: Final = """\
# Performance

`scripts/bench --write` writes this page, except the last section. Every figure is a **ratio of two sides measured in
turn, round by round, in the same run**, so it says little about this machine and much about the code. The ratio is
computed in each round; the table has the median of the rounds and the range of their middle half. The state is restored
before each round, outside of the timing. The first round warms up and does not count. A side that runs in one thread
(core, C loop, numpy, KVM) is timed by its CPU time, which on an idle machine is wall-clock time; over HTTP, wall-clock
time counts. The guest of the real kernel is the oracle's (`tests/oracle`): one vCPU, memory resident, 4 KiB pages.
"""

_PLOTS: Final = f"""\
## Time against pages

A clear of a slot with every page dirty and no failure.

![Time of a clear against the pages of the slot](plots/{TIMES})

## Requests against connections

`POST .../dirty-log/get?format=summary` of a 1 GiB slot, each request to its own VM, and a plain FastAPI endpoint that
receives the same request.

![Requests a second against connections](plots/{RATES})
"""


def write(results: Sequence[Result], get_service: GetService) -> None:
    """Write the document and its plots."""
    from bench.plots import draw  # noqa: PLC0415 - matplotlib is slow, and only this needs it

    draw(
        PLOTS / TIMES,
        "Clear, every page dirty",
        ("pages of the slot", "seconds"),
        time_against_pages(),
        from_zero=False,
    )
    draw(
        PLOTS / RATES,
        "Get and clear a 1 GiB slot, summary",
        ("connections", "requests a second"),
        requests_against_connections(get_service),
        from_zero=True,
    )
    DOCUMENT.write_text(document(results, kept(DOCUMENT)), "utf-8")


def kept(path: Path) -> str:
    """Return the handwritten part."""
    text = path.read_text("utf-8") if path.exists() else ""
    _, found, by_hand = text.partition(BY_HAND)
    return found + by_hand


def document(results: Sequence[Result], by_hand: str) -> str:
    """Make the document."""
    on = "\n".join(f"| {name} | {value} |" for name, value in facts())
    missed = "\n".join(f"* {line}" for line in shortfalls(results)) or "None."
    parts = (
        _TITLE,
        f"## Machine\n\n| | |\n|---|---|\n{on}\n",
        f"## Table\n\n{as_markdown(results)}\n",
        f"## Goals missed\n\n{missed}\n",
        _PLOTS,
        by_hand or BY_HAND,
    )
    return "\n".join(parts)
