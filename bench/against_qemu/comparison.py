"""QEMU's times and ours, side by side, and whether they agree as well as they have to."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from bench.against_qemu.recording import Milliseconds, Recording, Timeline

PASS_START_PERCENT: Final = 3.0
THROTTLED_PASS_START_PERCENT: Final = 5.0
"""With auto-converge."""
PASSES: Final = 1
SWITCH_OVER_FACTOR: Final = 2.0
SWITCH_OVER_MS: Final = 10.0

HEAD: Final = (
    "run",
    "load",
    "waited",
    "writes/s",
    "MiB/s",
    "limit",
    "passes",
    "here",
    "worst",
    "median",
    "pause",
    "here",
    "goals",
)
_LEFT: Final = frozenset({"run", "goals"})
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Comparison:
    """A recorded migration and its simulation."""

    recording: Recording
    ours: Timeline

    @property
    def errors(self) -> list[float]:
        """By how much each pass begins too late here, in percent of when it began; but for the first."""
        pairs = zip(self.recording.times.passes[1:], self.ours.passes[1:], strict=False)
        return [100 * (ours - theirs) / theirs for theirs, ours in pairs]

    @property
    def worst(self) -> float:
        """The largest error, with its sign."""
        return max(self.errors, key=abs, default=0.0)

    @property
    def median(self) -> float:
        """The median of what the errors are, whichever way."""
        return median(map(abs, self.errors)) if self.errors else 0.0

    @property
    def missed(self) -> list[str]:
        """The goals that are missed."""
        theirs, ours = self.recording.times, self.ours
        allowed = PASS_START_PERCENT
        if self.recording.auto_converge:
            allowed = THROTTLED_PASS_START_PERCENT
        missed = []
        if abs(self.worst) > allowed:
            missed.append(f"a pass within {allowed:g} %")
        if abs(len(theirs.passes) - len(ours.passes)) > PASSES:
            missed.append(f"passes within {PASSES}")
        if not _is_near(theirs.switch_over, ours.switch_over):
            missed.append(f"pause within a factor of {SWITCH_OVER_FACTOR:g}")
        return missed


def _is_near(theirs: Milliseconds, ours: Milliseconds) -> bool:
    factor = max(theirs, ours) / max(min(theirs, ours), 1e-3)
    return factor <= SWITCH_OVER_FACTOR or abs(theirs - ours) <= SWITCH_OVER_MS


def as_text(comparisons: Sequence[Comparison]) -> str:
    """Lay the comparisons out as a table for a terminal."""
    rows = [HEAD, *(_cells(each) for each in comparisons)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if name in _LEFT else cell.rjust(width)
            for name, cell, width in zip(HEAD, cells, widths, strict=True)
        ).rstrip()
        for cells in rows
    )


def as_markdown(comparisons: Sequence[Comparison]) -> str:
    """Lay them out for the manual."""
    rule = ["---" if name in _LEFT else "--:" for name in HEAD]
    rows = [HEAD, rule, *(_cells(each) for each in comparisons)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _cells(each: Comparison) -> tuple[str, ...]:
    recording, theirs, ours = each.recording, each.recording.times, each.ours
    seconds = (recording.report_ms[-1] - recording.report_ms[0]) / 1_000
    rate = (recording.writes[-1] - recording.writes[0]) / seconds
    limit = min(filter(None, (recording.bandwidth, recording.link)), default=0)
    return (
        recording.name,
        "" if recording.load is None else f"{recording.load:.1f}",
        "" if recording.waiting is None else f"{100 * recording.waiting:.1f} %",
        f"{rate:,.0f}",
        f"{limit / _MIB:.0f}" if limit else "",
        f"{recording.downtime_limit_ms} ms",
        str(len(theirs.passes)),
        str(len(ours.passes)),
        f"{each.worst:+.2f} %",
        f"{each.median:.2f} %",
        f"{theirs.switch_over:.1f} ms",
        f"{ours.switch_over:.1f} ms",
        "MISSED: " + ", ".join(each.missed) if each.missed else "met",
    )
