"""Simulated migrations begin each pass when QEMU did, and stop the guest for as long."""

from functools import cache
from pathlib import Path
from typing import Final

import pytest

from bench.qemu_run import Recording, Run, read_recording, simulate, worst_percent
from hacdbs_sim.model import Timing

RECORDINGS: Final = Path(__file__).with_name("recordings")
NAMES: Final = sorted(path.stem for path in RECORDINGS.glob("*.json"))
FACTOR: Final = 2
STOPPED_MS: Final = 10

every_recording = pytest.mark.parametrize("name", NAMES)
both_timings = pytest.mark.parametrize("timing", list(Timing))


def recording(name: str) -> Recording:
    return read_recording(RECORDINGS / f"{name}.json")


@cache
def simulated(name: str, timing: Timing) -> Run:
    return simulate(recording(name), timing=timing)


def within_percent(found: Recording) -> float:
    return 5 if found.auto_converges else 3


@every_recording
@both_timings
def test_each_pass_begins_when_qemu_began_it(name: str, timing: Timing) -> None:
    recorded = recording(name)

    run = simulated(name, timing)

    assert worst_percent(run, recorded.run) < within_percent(recorded)


@every_recording
@both_timings
def test_there_are_as_many_passes_as_qemu_made_give_or_take_one(name: str, timing: Timing) -> None:
    recorded = recording(name)

    run = simulated(name, timing)

    assert abs(len(run.pass_ms) - len(recorded.run.pass_ms)) <= 1


@every_recording
@both_timings
def test_the_guest_is_stopped_for_about_as_long(name: str, timing: Timing) -> None:
    recorded = recording(name)

    run = simulated(name, timing)

    ours_ms, theirs_ms = run.stopped_for_ms, recorded.run.stopped_for_ms
    is_near = abs(ours_ms - theirs_ms) <= STOPPED_MS
    assert is_near or theirs_ms / FACTOR <= ours_ms <= theirs_ms * FACTOR


@every_recording
def test_both_timings_agree(name: str) -> None:
    windows, exact = (simulated(name, timing) for timing in Timing)

    assert worst_percent(windows, exact) < 2
    assert abs(len(windows.pass_ms) - len(exact.pass_ms)) <= 1


@pytest.mark.parametrize("seed", [2, 3])
def test_other_pages_at_the_same_rate_take_about_as_long(seed: int) -> None:
    recorded = recording("uniform-6400")

    run = simulate(recorded, seed=seed)

    assert worst_percent(run, recorded.run) < within_percent(recorded)


def test_the_comparison_finds_a_run_that_is_off() -> None:
    run = Run(pass_ms=(1, 100, 200, 300), stop_ms=300, completed_ms=310)
    other = Run(pass_ms=(0, 100, 190, 300), stop_ms=300, completed_ms=320)

    assert worst_percent(run, other) == pytest.approx(10 / 190 * 100)
    assert other.stopped_for_ms == 20


@every_recording
def test_a_bandwidth_off_by_a_tenth_would_be_noticed(name: str) -> None:
    recorded = recording(name)
    slower = Recording(
        run=recorded.run,
        bandwidth=recorded.bandwidth * 9 // 10,
        downtime_limit_ms=recorded.downtime_limit_ms,
        auto_converges=recorded.auto_converges,
        link_bytes_per_second=recorded.link_bytes_per_second * 9 // 10,
        guest_writes=recorded.guest_writes,
    )

    assert worst_percent(simulate(slower), recorded.run) > within_percent(recorded)
