"""Measure how long `/readyz` takes while each operation runs at its limits.

`scripts/latency` ends with 1 if an answer to `/readyz` of the service that works took, at p99.9, more than
BOUND_SECONDS longer than that of an idle service beside it. What exceeds the bound is measured again: what
holds the event loop does so each time, a busy machine does not.
"""

import argparse
import json
import re
import sys
import time
from typing import Final

from tests.latency.cases import DOCUMENT, MAX_BODY_BYTES, Case, World, cases_of, make_world
from tests.latency.prober import Prober, probing
from tests.support.quantiles import quantile
from tests.support.serving import serving
from tests.support.wire import Calls

BOUND_SECONDS: Final = 0.050
LEAST_SECONDS: Final = 0.4
"""How long a case is repeated at least."""

SETTLE_SECONDS: Final = 10.0
QUIET_SECONDS: Final = 0.02

SHARES: Final = (0.5, 0.999, 1.0)


def measure(case: Case, world: World, service: Prober, control: Prober) -> list[list[float]]:
    """Run a case again and again; return the seconds of the health checks of service and control."""
    if case.prepare is not None:
        case.prepare(world)
    settle(service)
    control.take()
    began = time.perf_counter()
    while True:
        case.run(world)
        if not case.repeats or time.perf_counter() - began > LEAST_SECONDS:
            break
    seen = [service.take(), control.take()]
    if case.tidy is not None:
        case.tidy(world)
    return seen


def settle(prober: Prober) -> None:
    """Wait until the service answers at once: what came before is over."""
    give_up_at = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < give_up_at:
        time.sleep(0.05)
        if max(prober.take()) < QUIET_SECONDS:
            return


def excess(seen: list[list[float]]) -> float:
    """Return by how much the service's p99.9 is above the control's."""
    busy, idle = (quantile(each, 0.999) for each in seen)
    return busy - idle


def row(name: str, seen: list[list[float]], mark: str) -> None:
    """Print a line of the table."""
    cells = (f"{quantile(each, share) * 1e3:8.1f}" for each in seen for share in SHARES)
    print(f"{name:<44}{''.join(cells)}{len(seen[0]):>8}  {mark}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="scripts/latency", description=__doc__)
    parser.add_argument("--only", default="", help="cases whose name matches")
    parser.add_argument("--rounds", type=int, default=3, help="of a case above the bound, at most")
    options = parser.parse_args()
    document = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    cases = [case for case in cases_of(document) if re.search(options.only, case.name)]
    print(f"{'milliseconds of /readyz while':<44}{'p50':>8}{'p99.9':>8}{'max':>8}", end="")
    print(f"{'p50':>8}{'p99.9':>8}{'max':>8}{'checks':>8}\n{'':<44}{'service':>24}{'control':>24}")
    failed = []
    with (
        serving(max_batch_bytes=MAX_BODY_BYTES) as service,
        serving() as control,
        Calls(service.url) as calls,
        probing(service.url) as service_prober,
        probing(control.url) as control_prober,
    ):
        world = make_world(service.url, calls)
        for case in cases:
            best: list[list[float]] | None = None
            for _ in range(options.rounds):
                seen = measure(case, world, service_prober, control_prober)
                best = seen if best is None or excess(seen) < excess(best) else best
                if excess(best) <= BOUND_SECONDS:
                    break
            assert best is not None
            is_slow = excess(best) > BOUND_SECONDS
            row(case.name, best, "ABOVE THE BOUND" if is_slow else "")
            failed += [case.name] * is_slow
    if failed:
        print(f"above {BOUND_SECONDS * 1e3:.0f} ms: {', '.join(failed)}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
