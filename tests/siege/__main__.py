"""Besiege a service that may have 1 GiB: `scripts/siege --seconds 180`; ends with 1 if it does not hold."""

import argparse
import sys
from collections import defaultdict

from tests.siege.campaign import Outcome, run
from tests.support.quantiles import quantile


def report(outcome: Outcome) -> None:
    """Print what was asked, answered and taken."""
    by_attack: defaultdict[str, dict[int, int]] = defaultdict(dict)
    for (attack, status), count in sorted(outcome.statuses.items()):
        by_attack[attack][status] = count
    for attack, statuses in by_attack.items():
        print(f"{attack:<16}", "  ".join(f"{each}: {count:,}" for each, count in statuses.items()))
    print("0 stands for a connection that was closed or left without an answer")
    start, peak, end = (
        size / 2**20 for size in (outcome.start_bytes, outcome.peak_bytes, outcome.end_bytes)
    )
    print(f"memory: {start:.0f} MiB at the start, {peak:.0f} at most, {end:.0f} at the end")
    print(f"limit: {outcome.cage}")
    ready = outcome.ready_seconds
    if ready:
        p99 = quantile(ready, 0.99)
        print(f"/readyz: {p99 * 1000:.0f} ms at p99, {max(ready) * 1000:.0f} at most")
    print(f"the bystander was served {outcome.served:,} times")
    for fault in outcome.faults[:20]:
        print("FAULT", fault)


def main() -> None:
    """Besiege and print."""
    parser = argparse.ArgumentParser(prog="scripts/siege", description="Besiege a service.")
    parser.add_argument("--seconds", type=float, default=180.0)
    outcome = run(parser.parse_args().seconds)
    report(outcome)
    try:
        outcome.check()
    except AssertionError as failed:
        sys.exit(f"the service did not hold: {failed}")


if __name__ == "__main__":
    main()
