"""Play schedules until the time is over, or one seed: `scripts/interleave [--seconds N] [--seed S]`."""

import argparse
import sys
import time
import traceback
from collections import Counter

from tests.interleave.stories import make_application, play


def main() -> int:
    """Play, and print the seed of each schedule that fails; return 1 if any did."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to play")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="play this seed only")
    options = parser.parse_args()
    app = make_application()
    began = time.monotonic()
    codes: Counter[str] = Counter()
    schedules = requests = steps = failed = 0
    seed = options.first if options.seed is None else options.seed
    while not schedules or (options.seed is None and time.monotonic() - began < options.seconds):
        try:
            played = play(app, seed)
        except Exception:  # noqa: BLE001 - each failure is reported with its seed
            failed += 1
            print(f"seed {seed}:")
            traceback.print_exc(limit=-3, file=sys.stdout)
        else:
            codes.update(played.codes)
            requests += played.requests
            steps += played.steps
        schedules += 1
        seed += 1
    seconds = time.monotonic() - began
    print(f"{schedules} schedules, {requests} requests, {steps} steps in {seconds:.1f} s;", end=" ")
    print(f"{schedules / seconds:.0f} schedules and {steps / seconds:.0f} steps a second")
    print(f"{failed} failed; responses:", dict(codes.most_common()))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
