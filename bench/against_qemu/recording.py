"""What a recorded migration was: its settings, when its passes began, what its guest wrote."""

import gzip
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bench.against_qemu.settings import Change

Line: TypeAlias = dict[str, Any]
Milliseconds: TypeAlias = float

PAGE_BYTES: Final = 4_096
DEFAULT_BANDWIDTH: Final = 134_217_728
DEFAULT_DOWNTIME_LIMIT_MS: Final = 300


class UnusableRecordingError(Exception):
    """A recording that is not that of a migration which completed."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """When things happened, in milliseconds since the migration began.

    Attributes:
        passes: The beginning of each pass.
        stop: The guest stopped.
        completed: The source had completed.
    """

    passes: tuple[Milliseconds, ...]
    stop: Milliseconds
    completed: Milliseconds

    @property
    def switch_over(self) -> Milliseconds:
        """STOP to completed."""
        return self.completed - self.stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A recorded migration.

    Attributes:
        name: Of the file, or of the setting.
        times: When what happened, since the event `setup`.
        bandwidth: max-bandwidth in bytes a second; 0: none.
        downtime_limit_ms: downtime-limit.
        changes: Of these two, on the way; when, since the event `setup`.
        auto_converge: Whether that capability was set.
        setup_ms: setup-time.
        total_pages: Of the whole machine.
        zero_pages: How many were sent as zero.
        sent_bytes: What was sent.
        device_bytes: What was sent that is not pages.
        report_ms: float64[k], when the guest reported.
        writes: int64[k], its count then.
        is_our_guest: Whether the guest is that of `guest`: then its writes are known one by one.
        link: What the link was limited to, in bytes a second.
        link_speed: What a unix socket carried there, in bytes a second; None: not measured.
        waiting: The share of the time in which QEMU's threads waited for a CPU; None: not measured.
        load: The machine's load average; None: not recorded.
    """

    name: str
    times: Timeline
    bandwidth: int
    downtime_limit_ms: int
    changes: tuple[Change, ...]
    auto_converge: bool
    setup_ms: int
    total_pages: int
    zero_pages: int
    sent_bytes: int
    device_bytes: int
    report_ms: NDArray[np.float64]
    writes: NDArray[np.int64]
    is_our_guest: bool
    link: int | None
    link_speed: int | None
    waiting: float | None
    load: float | None


def read(path: Path) -> list[Line]:
    """Read the lines of a recording."""
    with gzip.open(path, "rt") as file:
        return [json.loads(line) for line in file]


def write(path: Path, lines: Iterable[Line]) -> None:
    """Write the lines of a recording."""
    text = "".join(json.dumps(line) + "\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def parse(name: str, lines: Sequence[Line]) -> Recording:
    """Find out what a recorded migration was.

    Raises:
        UnusableRecordingError: It did not complete.
    """
    events = [line for line in lines if line["kind"] == "event" and line["side"] == "src"]
    begun = [line for line in events if line["event"]["event"] == "MIGRATION"]
    if not begun or begun[-1]["event"]["data"]["status"] != "completed":
        raise UnusableRecordingError(f"{name} is not the recording of a migration that completed")
    started = _at_ms(begun[0])
    # The event that was read soonest after QEMU sent it ties the two clocks together
    offset = min(line["t_ms"] - _at_ms(line) for line in events)

    def since(line: Line) -> Milliseconds:
        return _at_ms(line) - started

    def all_of(event: str) -> list[Line]:
        return [line for line in events if line["event"]["event"] == event]

    times = Timeline(
        tuple(since(line) for line in all_of("MIGRATION_PASS")),
        since(all_of("STOP")[0]),
        since(begun[-1]),
    )
    begin = next(at for at, line in enumerate(lines) if line.get("execute") == "migrate")
    limits = _arguments(lines[:begin], "migrate-set-parameters")
    capabilities = _arguments(lines, "migrate-set-capabilities").get("capabilities", ())
    enabled = {each["capability"] for each in capabilities if each["state"]}
    answer = list(_calls(lines, "query-migrate"))[-1]["ret"]
    ram = answer["ram"]
    reports = [line for line in lines if line["kind"] == "guest-writes"]
    setting, load = _first(lines, "setting"), _first(lines, "load")
    return Recording(
        name=name,
        times=times,
        bandwidth=limits.get("max-bandwidth", DEFAULT_BANDWIDTH),
        downtime_limit_ms=limits.get("downtime-limit", DEFAULT_DOWNTIME_LIMIT_MS),
        changes=tuple(
            Change(
                after_ms=round(line["t_ms"] - line["took_ms"] - offset - started),
                bandwidth=line["arguments"].get("max-bandwidth"),
                downtime_limit_ms=line["arguments"].get("downtime-limit"),
            )
            for line in _calls(lines[begin:], "migrate-set-parameters")
        ),
        auto_converge="auto-converge" in enabled,
        setup_ms=answer["setup-time"],
        total_pages=ram["total"] // PAGE_BYTES,
        zero_pages=ram["duplicate"],
        sent_bytes=ram["transferred"],
        device_bytes=ram["transferred"] - ram["precopy-bytes"] - ram["downtime-bytes"],
        report_ms=np.array([line["t_ms"] - offset - started for line in reports], np.float64),
        writes=np.array([line["n"] for line in reports], np.int64),
        is_our_guest=bool(setting),
        link=setting.get("link"),
        link_speed=_first(lines, "link").get("bytes_per_second"),
        waiting=load.get("waiting"),
        load=load.get("average"),
    )


def _at_ms(line: Line) -> Milliseconds:
    stamp = line["event"]["timestamp"]
    return float(stamp["seconds"] * 1_000 + stamp["microseconds"] / 1_000)


def _arguments(lines: Iterable[Line], command: str) -> Line:
    """Return the arguments of all calls of a command to the source, the last ones winning."""
    found: Line = {}
    for line in _calls(lines, command):
        found |= line["arguments"]
    return found


def _calls(lines: Iterable[Line], command: str) -> Iterator[Line]:
    """Return the calls of a command to the source."""
    for line in lines:
        if line.get("execute") == command and line["side"] == "src":
            yield line


def _first(lines: Iterable[Line], kind: str) -> Line:
    return next((line for line in lines if line["kind"] == kind), {})
