"""Measure, and print one table: `scripts/bench [--quick] [--write] [--row NAME]...`.

The exit status is 1 if a figure is worse than a third of its goal; a goal missed by less is only reported.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache

from bench import against_kvm, bulk, core, memory, over_http
from bench.goals import WILD_FACTOR, Verdict
from bench.machine import facts
from bench.rounds import Effort
from bench.rows import Result, Row, measure, measure_again
from bench.service import Service, service
from bench.table import as_text, shortfalls, small_margins


def all_rows(get_service: Callable[[], Service], *, quick: bool) -> Iterator[Row]:
    """Return every row; the quick ones take less than a minute together."""
    alone = Effort(1.0, 3) if quick else Effort(5.0, 9)
    over_wire = Effort(1.5, 3) if quick else Effort(8.0, 9)
    yield from core.rows(alone)
    yield from against_kvm.rows(Effort(0, 3) if quick else Effort(0, 5), get_service, quick=quick)
    yield from over_http.rows(over_wire, get_service)
    yield from bulk.rows(over_wire, get_service)
    yield from memory.rows(quick=quick)


def measured(rows: Iterator[Row], *, quick: bool) -> Iterator[Result]:
    """Measure rows and print their names; a quick measurement that is wildly off is repeated."""
    for row in rows:
        print(f"... {row.name}", file=sys.stderr, flush=True)
        result = measure_again(row) if quick else measure(row)
        if result.skipped:
            print(f"SKIPPED {row.name}: {result.skipped}", file=sys.stderr, flush=True)
        yield result


def main() -> None:
    """Measure and print."""
    names = [row.name for row in all_rows(_no_service, quick=True)]
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="Ratios of the core and of the service."
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller guests")
    parser.add_argument("--write", action="store_true", help="rewrite docs/performance.md too")
    parser.add_argument("--row", action="append", choices=names, help="this row only; repeatable")
    options = parser.parse_args()
    if options.write and (options.quick or options.row):
        parser.error("--write wants every row, measured with care")
    with ExitStack() as stack:
        get_service = cache(lambda: stack.enter_context(service()))
        wanted = options.row or names
        rows = (row for row in all_rows(get_service, quick=options.quick) if row.name in wanted)
        results = list(measured(rows, quick=options.quick))
        for name, value in facts():
            print(f"{name}: {value}")
        print(f"\n{as_text(results)}\n")
        print("\n".join(shortfalls(results)) or "every goal is met")
        if near := small_margins(results):
            print("\n".join(near))
        if options.quick:
            print(f"quick: smaller guests, fewer rounds; wildly off is {WILD_FACTOR:g} times worse")
        if options.write:
            from bench.report import write  # noqa: PLC0415 - matplotlib, which only this needs

            write(results, get_service)
    sys.exit(any(result.verdict is Verdict.WILDLY_OFF for result in results))


def _no_service() -> Service:
    raise AssertionError("a row's name needs no service")


if __name__ == "__main__":
    main()
