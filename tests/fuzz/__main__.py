"""Fuzz a service of its own: good requests, damaged ones, and malformed HTTP.

`scripts/fuzz --requests 100000 --seed S` ends with 1 at the first answer that the OpenAPI document
does not promise, at a 5xx, a hang, a line in the service's log, or memory that grows. With
--examples, schemathesis follows with so many examples of each operation.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Final

from tests.fuzz.campaign import MAX_GROWTH, Outcome, run
from tests.support.serving import watched_service

ROOT: Final = Path(__file__).resolve().parents[2]
DOCUMENT: Final = ROOT / "openapi" / "openapi.json"
SCHEMATHESIS: Final = "tests/contract/test_schemathesis.py"
PROGRESS_SECONDS: Final = 20.0
MIN_REQUESTS_FOR_GROWTH: Final = 20_000
"""Fewer than these are over before the service's memory has settled."""


def report(outcome: Outcome, seconds: float) -> None:
    """Print what was asked and answered."""
    by_operation: defaultdict[str, dict[int, int]] = defaultdict(dict)
    for (operation_id, status), count in sorted(outcome.contract.seen.items()):
        by_operation[operation_id][status] = count
    for operation_id, statuses in sorted(by_operation.items()):
        counted = "  ".join(f"{status}: {count:,}" for status, count in statuses.items())
        print(f"{operation_id:<20}{sum(statuses.values()):>8,}  {counted}")
    print("\n0 stands for a connection that was left or closed without an answer")
    for kind in ("good", "damaged", "elsewhere", "raw"):
        counts = {s: n for (k, s), n in sorted(outcome.statuses.items()) if k == kind}
        counted = "  ".join(f"{status}: {count:,}" for status, count in counts.items())
        print(f"{kind:<20}{sum(counts.values()):>8,}  {counted}")
    rss = [size / 2**20 for size in outcome.rss_bytes]
    print(
        f"\nmemory: {rss[0]:.1f} MiB at first, {rss[len(rss) // 2]:.1f} at half,"
        f" {rss[-1]:.1f} at the end, {max(rss):.1f} at most;"
        f" last quarter to third {outcome.growth():+.2%}"
    )
    print(f"{outcome.requests:,} requests in {seconds:.0f} s, {outcome.requests / seconds:,.0f}/s")


def examine(examples: int) -> bool:
    """Run schemathesis with more examples than in the tests; return whether it found nothing."""
    pytest = [sys.executable, "-m", "pytest", "-q", "-n0", SCHEMATHESIS]
    environ = {**os.environ, "CONTRACT_EXAMPLES": str(examples)}
    return subprocess.run(pytest, cwd=ROOT, env=environ, check=False).returncode == 0


def main() -> None:
    """Fuzz and print."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description="Fuzz a service of its own.")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", default="0")
    parser.add_argument("--examples", type=int, default=0, help="of each operation, schemathesis")
    options = parser.parse_args()
    start = reported_at = time.monotonic()

    def progress(outcome: Outcome) -> None:
        nonlocal reported_at
        if time.monotonic() - reported_at > PROGRESS_SECONDS:
            reported_at = time.monotonic()
            print(f"... {outcome.requests:,} requests", file=sys.stderr, flush=True)

    with watched_service() as service:
        document = json.loads(DOCUMENT.read_text(encoding="utf-8"))
        outcome = run(service, document, options.requests, options.seed, progress)
    report(outcome, time.monotonic() - start)
    failed = False
    if (never := outcome.never_good()) and options.requests >= MIN_REQUESTS_FOR_GROWTH:
        print(f"never answered well: {', '.join(never)}")
        failed = True
    if outcome.growth() > MAX_GROWTH and options.requests >= MIN_REQUESTS_FOR_GROWTH:
        print("memory grows")
        failed = True
    if options.examples:
        failed |= not examine(options.examples)
    sys.exit(failed)


if __name__ == "__main__":
    main()
