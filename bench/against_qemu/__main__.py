"""Migrate with QEMU and with the simulator, and compare: `scripts/against-qemu [--times N]`.

Each setting is run N times, and the run is compared in which QEMU waited least for a CPU; `--realtime`
has it wait for nothing else that runs. Without QEMU 10 or newer and /dev/kvm it says so, and is done.
The exit status is 1 if a goal is missed, 2 if there is nothing to compare in a recording.
"""

import argparse
import os
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from bench.against_qemu.comparison import Comparison, as_markdown, as_text
from bench.against_qemu.qemu import find_qemu, migrate
from bench.against_qemu.recording import (
    Line,
    Recording,
    UnusableRecordingError,
    parse,
    read,
    write,
)
from bench.against_qemu.replay import simulate
from bench.against_qemu.settings import IDLE, SETTINGS, Setting
from bench.machine import facts
from bench.rows import SkippedError
from hacdbs_sim.model import Timing

RECORDINGS: Final = Path(__file__).with_name("recordings")
"""A quiet run of each setting."""


def link_speed(qemu: str) -> int:
    """Measure what a unix socket carries from QEMU to QEMU here, in bytes a second."""
    found = parse(IDLE.name, migrate(qemu, IDLE))
    first, second, *_ = found.times.passes
    return int(found.sent_bytes * 1_000 / (second - first))


def run(qemu: str, setting: Setting, speed: int) -> list[Line]:
    """Run a migration; return its recording."""
    return [{"t_ms": 0.0, "kind": "link", "bytes_per_second": speed}, *migrate(qemu, setting)]


def quietest(qemu: str, setting: Setting, speed: int, times: int) -> list[Line]:
    """Run a migration so often; return the recording of the run that was disturbed least."""
    recordings = []
    for number in range(times):
        print(f"... {setting.name}, {number + 1} of {times}", file=sys.stderr, flush=True)
        recordings.append(run(qemu, setting, speed))
    return min(recordings, key=lambda lines: parse(setting.name, lines).waiting or 0.0)


def recordings(options: argparse.Namespace) -> Iterator[Recording]:
    """Read the recordings, or run the settings.

    Raises:
        SkippedError: No migration can be run here.
    """
    if options.recording:
        for path in options.recording:
            recording = parse(path.name.partition(".")[0], read(path))
            yield replace(recording, link=recording.link or options.link)
        return
    qemu = find_qemu()
    with _priority(realtime=options.realtime):
        speed = link_speed(qemu)
    print(f"unix socket: {speed / 1e6:,.0f} MB/s")
    wanted = options.setting or [each.name for each in SETTINGS]
    for setting in SETTINGS:
        if setting.name in wanted:
            with _priority(realtime=options.realtime):
                lines = quietest(qemu, setting, speed, options.times)
            if options.save:
                write(options.save / f"{setting.name}.jsonl.gz", lines)
            yield parse(setting.name, lines)


@contextmanager
def _priority(*, realtime: bool) -> Generator[None]:
    """Run what is started in it before all else that runs on this machine."""
    if realtime:
        try:
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        except PermissionError:
            sys.exit("--realtime needs root")
    try:
        yield
    finally:
        if realtime:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/against-qemu", description="Migrations of QEMU, and the same simulated."
    )
    names = [each.name for each in SETTINGS]
    parser.add_argument(
        "--setting", action="append", choices=names, help="this one only; repeatable"
    )
    parser.add_argument("--times", type=int, default=1, help="runs of each, the quietest counts")
    parser.add_argument("--realtime", action="store_true", help="run QEMU first; needs root")
    parser.add_argument("--link", type=int, help="bytes a second, where recordings do not say it")
    parser.add_argument("--timing", type=Timing, choices=list(Timing), default=Timing.EXACT)
    parser.add_argument("--save", type=Path, metavar="DIRECTORY", help="keep the recordings there")
    parser.add_argument("--markdown", action="store_true", help="print the table for the manual")
    parser.add_argument("--recorded", action="store_true", help="compare the recordings kept here")
    parser.add_argument(
        "recording", nargs="*", type=Path, help="compare these recordings, and run nothing"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Compare; return the exit status."""
    options = parsed(arguments)
    if options.recorded:
        options.recording = sorted(RECORDINGS.glob("*.jsonl.gz"))
    try:
        compared = [
            Comparison(each, simulate(each, options.timing)) for each in recordings(options)
        ]
    except SkippedError as why:
        print(f"SKIPPED: nothing was compared with QEMU: {why}")
        return 0
    except (UnusableRecordingError, OSError) as why:
        print(why, file=sys.stderr)
        return 2
    for name, value in facts():
        print(f"{name}: {value}")
    print(f"\n{(as_markdown if options.markdown else as_text)(compared)}\n")
    return int(any(each.missed for each in compared))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
