"""Compare the core, or the service over HTTP, with real KVM on random sequences of operations.

`scripts/oracle --ops 1000000` where /dev/kvm can be opened. Each difference is shrunk and printed as
a script that reproduces it.
"""

import argparse
import sys
import time
from typing import Final

from hacdbs_sim.host_kvm import why_unusable
from tests.oracle.comparing import Comparison, Start, Tally
from tests.oracle.scripts import script_of
from tests.oracle.shrinking import shrink
from tests.oracle.sides import CoreSide, RealSide, host_facts

MAX_DIFFERENCES: Final = 5
PROGRESS_SECONDS: Final = 30


def compare(comparison: Comparison, ops: int, seed: str, *, http: bool) -> int:
    """Run sequences until enough operations are compared; return how many differed."""
    tally = comparison.tally
    differences = 0
    reported = time.monotonic()
    while tally.compared < ops and differences < MAX_DIFFERENCES:
        difference = comparison.random_run(f"{seed}/{tally.sequences}")
        if difference is not None:
            differences += 1
            print(f"\ndifference {differences}, shortest sequence:\n")
            print(script_of(shrink(comparison, difference), http=http), flush=True)
        if time.monotonic() - reported > PROGRESS_SECONDS:
            reported = time.monotonic()
            print(f"... {tally.compared:,} operations", file=sys.stderr, flush=True)
    return differences


def report(tally: Tally, seconds: float) -> None:
    """Print what was compared and what was left out."""
    print(f"{'operation':<20}{'answer':<10}{'compared':>12}")
    for (kind, answer), count in sorted(tally.kinds.items()):
        print(f"{kind:<20}{answer:<10}{count:>12,}")
    print("\nleft out, because x86-64 and arm64 need not agree:")
    for why, count in tally.left_out.most_common():
        print(f"{count:>12,}  {why}")
    rate = tally.compared / seconds
    print(f"\n{tally.sequences:,} sequences in {seconds:.0f} s, {rate:,.0f} operations a second")


def main() -> None:
    """Compare and print; the exit status is 1 if anything differed, 2 without /dev/kvm."""
    parser = argparse.ArgumentParser(
        prog="scripts/oracle", description="Random sequences on real KVM and on this project."
    )
    parser.add_argument("--ops", type=int, default=100_000, help="operations to compare")
    parser.add_argument("--seed", default="0", help="of the sequences")
    parser.add_argument("--http", action="store_true", help="the whole service instead of the core")
    options = parser.parse_args()
    if (why := why_unusable()) is not None:
        print(f"no oracle: {why}", file=sys.stderr)
        sys.exit(2)
    subject: Start = CoreSide
    if options.http:
        from tests.oracle.service import HttpService  # noqa: PLC0415 - the core's side needs no app

        subject = HttpService().start
    comparison = Comparison(host_facts(), RealSide, subject)
    start = time.monotonic()
    differences = compare(comparison, options.ops, options.seed, http=options.http)
    report(comparison.tally, time.monotonic() - start)
    print(f"{comparison.tally.compared:,} operations compared, {differences} differences")
    sys.exit(bool(differences))


if __name__ == "__main__":
    main()
