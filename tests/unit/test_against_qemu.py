"""How scripts/against-qemu reads a recorded migration, replays it and compares; and one real run."""

import os
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.against_qemu import guest, qemu
from bench.against_qemu.__main__ import RECORDINGS, main
from bench.against_qemu.comparison import HEAD, Comparison, as_markdown, as_text
from bench.against_qemu.recording import (
    Line,
    Recording,
    Timeline,
    UnusableRecordingError,
    parse,
    read,
    write,
)
from bench.against_qemu.replay import simulate
from bench.against_qemu.settings import SETTINGS, Setting
from bench.rows import SkippedError
from hacdbs_sim.model import Timing

SHORT = Setting(name="brief", writes_per_second=1_600, bandwidth=1 << 28, downtime_limit_ms=100)
NAMES = sorted(path.name.partition(".")[0] for path in RECORDINGS.glob("*.jsonl.gz"))


def lines_of(name: str) -> list[Line]:
    return read(RECORDINGS / f"{name}.jsonl.gz")


def recorded(name: str) -> Recording:
    return parse(name, lines_of(name))


def compared(theirs: Timeline, ours: Timeline, *, auto_converge: bool = False) -> Comparison:
    recording = replace(recorded("tight"), times=theirs, auto_converge=auto_converge)
    return Comparison(recording, ours)


# The guest


def test_the_writes_of_the_guest_are_known_without_running_it() -> None:
    number, pages = 0, []
    for _ in range(1_000):
        number = (number * 1_664_525 + 1_013_904_223) % 2**32
        pages.append(number >> 17)

    assert guest.written(0, 1_000).tolist() == pages
    assert guest.written(700, 900).tolist() == pages[700:900]
    assert guest.written(5, 5).tolist() == []


def test_the_guest_writes_to_all_of_its_pages_alike() -> None:
    counts = np.bincount(guest.written(0, 64 * guest.PAGES), minlength=guest.PAGES)

    assert len(counts) == guest.PAGES
    assert counts.min() > 20
    assert counts.max() < 120


def test_guests_of_different_rates_differ_in_the_rate_alone() -> None:
    slow, fast = guest.rom(1), guest.rom(256)

    changed = [at for at, pair in enumerate(zip(slow, fast, strict=True)) if pair[0] != pair[1]]

    assert len(slow) == 1 << 16
    assert changed[1] == changed[0] + 1
    assert len(changed) == 2


# A recorded conversation


def test_a_recording_says_what_was_run_and_when() -> None:
    lines, found = lines_of("tight"), recorded("tight")

    setting = next(each for each in SETTINGS if each.name == "tight")
    assert (found.bandwidth, found.downtime_limit_ms) == (
        setting.bandwidth,
        setting.downtime_limit_ms,
    )
    assert (found.auto_converge, found.link, found.is_our_guest) == (False, None, True)
    answer = next(line["ret"] for line in lines if line.get("execute") == "query-migrate")
    assert len(found.times.passes) == answer["ram"]["dirty-sync-count"]
    assert found.times.completed - found.times.passes[0] == pytest.approx(
        answer["total-time"] - answer["setup-time"], abs=3
    )
    assert 0 < found.times.passes[0] < found.times.stop < found.times.completed
    assert found.total_pages - found.zero_pages > guest.PAGES
    assert np.all(np.diff(found.writes) > 0)
    assert np.all(np.diff(found.report_ms) >= 0)


def test_capabilities_and_the_link_are_those_of_the_source() -> None:
    assert recorded("throttled").auto_converge
    assert recorded("link").link == next(each.link for each in SETTINGS if each.name == "link")


def test_a_recording_without_the_lines_of_ours_is_read_too() -> None:
    ours = ("setting", "link", "load")
    found = parse("tight", [line for line in lines_of("tight") if line["kind"] not in ours])

    assert found.times == recorded("tight").times
    assert (found.is_our_guest, found.link_speed, found.load) == (False, None, None)
    assert simulate(found).passes[1] == pytest.approx(found.times.passes[1], rel=0.03)


def test_a_recording_of_a_migration_that_did_not_complete_is_refused() -> None:
    lines = lines_of("tight")
    ends = [
        line["event"]["data"]
        for line in lines
        if line["kind"] == "event" and "data" in line["event"]
    ]
    for data in ends:
        if data.get("status") == "completed":
            data["status"] = "failed"

    with pytest.raises(UnusableRecordingError, match="tight is not the recording"):
        parse("tight", lines)


def test_a_recording_is_read_as_it_was_written(tmp_path: Path) -> None:
    lines = lines_of("wide")
    write(tmp_path / "again.jsonl.gz", lines)

    assert read(tmp_path / "again.jsonl.gz") == lines


# The comparison


def test_errors_are_of_the_beginnings_of_passes_but_for_the_first() -> None:
    theirs = Timeline((10.0, 100.0, 200.0, 400.0), 400.0, 405.0)
    ours = Timeline((9.0, 101.0, 196.0, 400.0, 500.0), 500.0, 506.0)

    found = compared(theirs, ours)

    assert found.errors == [1.0, -2.0, 0.0]
    assert (found.worst, found.median) == (-2.0, 1.0)
    assert found.missed == []


@pytest.mark.parametrize(
    ("passes", "switch_over", "auto_converge", "missed"),
    [
        ((0.0, 103.0), 5.0, False, []),
        ((0.0, 103.1), 5.0, False, ["a pass within 3 %"]),
        ((0.0, 96.9), 5.0, False, ["a pass within 3 %"]),
        ((0.0, 105.0), 5.0, True, []),
        ((0.0, 105.1), 5.0, True, ["a pass within 5 %"]),
        ((0.0, 100.0, 110.0), 5.0, False, []),
        ((0.0, 100.0, 110.0, 120.0), 5.0, False, ["passes within 1"]),
        ((0.0,), 5.0, False, []),
        ((0.0, 100.0), 15.0, False, []),
        ((0.0, 100.0), 15.1, False, ["pause within a factor of 2"]),
    ],
)
def test_goals_are_missed_just_beyond_their_bounds(
    passes: tuple[float, ...], switch_over: float, auto_converge: bool, missed: list[str]
) -> None:
    theirs = Timeline((0.0, 100.0), 100.0, 105.0)
    ours = Timeline(passes, passes[-1], passes[-1] + switch_over)

    assert compared(theirs, ours, auto_converge=auto_converge).missed == missed


def test_a_long_pause_may_be_half_or_twice_as_long() -> None:
    theirs = Timeline((0.0, 100.0), 100.0, 200.0)
    for switch_over, is_missed in ((50.0, False), (49.0, True), (200.0, False), (201.0, True)):
        ours = Timeline((0.0, 100.0), 100.0, 100.0 + switch_over)
        assert bool(compared(theirs, ours).missed) is is_missed


def test_tables_have_a_cell_for_each_heading_and_name_what_is_missed() -> None:
    times = Timeline((0.0, 100.0), 100.0, 105.0)
    late = Timeline((0.0, 110.0), 110.0, 115.0)
    runs = [compared(times, times), compared(times, late)]

    lines = as_markdown(runs).splitlines()
    assert {line.count("|") for line in lines} == {len(HEAD) + 1}
    met, missed = as_text(runs).splitlines()[1:]
    assert met.endswith("met")
    assert missed.endswith("MISSED: a pass within 3 %")
    assert "+10.00 %" in missed


# Recorded runs, replayed


every_recording = pytest.mark.parametrize("name", NAMES)


@every_recording
@pytest.mark.parametrize(
    "timing", [Timing.WINDOWS, pytest.param(Timing.EXACT, marks=pytest.mark.slow)]
)
def test_a_real_run_is_reproduced_within_the_goals(name: str, timing: Timing) -> None:
    recording = recorded(name)

    assert Comparison(recording, simulate(recording, timing)).missed == []


@every_recording
def test_a_tenth_less_bandwidth_would_be_noticed(name: str) -> None:
    recording = recorded(name)
    slower = replace(
        recording,
        bandwidth=recording.bandwidth * 9 // 10,
        changes=tuple(
            replace(each, bandwidth=each.bandwidth and each.bandwidth * 9 // 10)
            for each in recording.changes
        ),
        link=recording.link and recording.link * 9 // 10,
        link_speed=recording.link_speed and recording.link_speed * 9 // 10,
    )

    assert Comparison(recording, simulate(slower, Timing.WINDOWS)).missed != []


def test_each_setting_has_been_recorded() -> None:
    assert {each.name for each in SETTINGS} <= set(NAMES)


def test_recordings_are_compared_without_qemu(capsys: pytest.CaptureFixture[str]) -> None:
    path = RECORDINGS / "tight.jsonl.gz"

    assert main([str(path)]) == 0
    table = capsys.readouterr().out
    assert "tight" in table
    assert "met" in table


def test_a_missed_goal_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = lines_of("tight")
    limits = next(line for line in lines if line.get("execute") == "migrate-set-parameters")
    limits["arguments"]["max-bandwidth"] //= 2
    write(tmp_path / "wrong.jsonl.gz", lines)

    assert main([str(tmp_path / "wrong.jsonl.gz")]) == 1
    assert "MISSED: a pass within 3 %" in capsys.readouterr().out


def test_a_recording_that_cannot_be_compared_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = [line for line in lines_of("tight") if line["kind"] != "event"]
    write(tmp_path / "cut.jsonl.gz", cut)

    assert main([str(tmp_path / "cut.jsonl.gz")]) == 2
    assert main([str(tmp_path / "absent.jsonl.gz")]) == 2
    said = capsys.readouterr().err
    assert "cut is not the recording of a migration that completed" in said
    assert "absent.jsonl.gz" in said


# QEMU itself


def stand_in(directory: Path, version: str) -> None:
    """A program of QEMU's name that says another version."""
    path = directory / qemu.PROGRAM
    path.write_text(f"#!/bin/sh\necho 'QEMU emulator version {version}'\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.mark.parametrize(
    ("version", "why"),
    [
        (None, f"there is no {qemu.PROGRAM} here"),
        ("7.2.18 (Debian 1:7.2)", "QEMU 10 or newer is needed, here is: QEMU emulator version 7.2"),
        ("9.2.4", "QEMU 10 or newer is needed"),
    ],
)
def test_without_a_new_qemu_the_comparison_is_skipped_in_one_line(
    version: str | None,
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    if version is not None:
        stand_in(tmp_path, version)

    assert main([]) == 0

    said = capsys.readouterr().out
    assert said.startswith("SKIPPED: nothing was compared with QEMU: ")
    assert why in said
    assert said.count("\n") == 1


def test_without_kvm_the_comparison_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    stand_in(tmp_path, "10.0.2")
    monkeypatch.setattr(qemu, "KVM", tmp_path / "kvm")

    with pytest.raises(SkippedError, match=f"{tmp_path}/kvm of an x86-64 machine is needed"):
        qemu.find_qemu()


@pytest.mark.slow
def test_a_real_run_is_recorded_and_simulated(tmp_path: Path) -> None:
    try:
        path = qemu.find_qemu()
    except SkippedError as why:
        pytest.skip(f"NOT COMPARED WITH QEMU: {why}")

    write(tmp_path / "brief.jsonl.gz", qemu.migrate(path, SHORT))
    found = parse("brief", read(tmp_path / "brief.jsonl.gz"))

    # How well the times agree depends on what else this machine does, and is for scripts/against-qemu
    assert len(found.times.passes) >= 3
    assert (found.bandwidth, found.downtime_limit_ms) == (SHORT.bandwidth, SHORT.downtime_limit_ms)
    assert found.writes[-1] > found.writes[0] > 0
    # As many pages as the guest made not zero, and a few ROMs
    assert guest.PAGES <= found.total_pages - found.zero_pages < guest.PAGES + 256
    ours = simulate(found)
    assert 0 <= ours.passes[0] <= found.times.passes[0] < ours.passes[1]
    assert ours.completed > ours.stop


def test_a_qemu_that_does_not_start_is_named(tmp_path: Path) -> None:
    stand_in(tmp_path, "10.0.2")

    with pytest.raises(SkippedError, match="does not start here: QEMU emulator version 10"):
        qemu.migrate(str(tmp_path / qemu.PROGRAM), SHORT)
