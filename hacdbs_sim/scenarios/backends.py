"""Compares what one scenario returned on two backends: all that both can know, and nothing else.

What is left out is listed with its reason, so that a comparison says what it is worth.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from hacdbs_sim.model.batches import FIRST_REFUSAL, BatchResult
from hacdbs_sim.scenarios.matching import mismatches

NOT_SUPPORTED: Final = "not_supported_by_backend"

_OF_REFUSALS: Final = ("errno", "ioctl", "status")
"""What a refusal has of the kernel; one errno has many causes, so the rest is the backend's wording."""

_OF_A_VM: Final = frozenset(
    {"vm_id", "session_id", "backend", "capabilities", "counters", "cpus", "features", "ipa_bits"}
)
"""What a VM's own view says of the machine that it runs on."""


@dataclass(frozen=True, slots=True)
class Side:
    """A scenario on one backend.

    Attributes:
        backend: The backend's name.
        unknown_fields: Fields that it cannot know.
        steps: What each step returned.
    """

    backend: str
    unknown_fields: frozenset[str]
    steps: Sequence[BatchResult]


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two backends differ, or one is not as expected.

    Attributes:
        step: The step, from 0.
        pointer: Where in `{"status", "body"}`.
        detail: One sentence.
        found: What each backend returned there, or what was expected and what was found.
    """

    step: int
    pointer: str
    detail: str
    found: tuple[object, object]


@dataclass(slots=True)
class BackendComparison:
    """What came of a comparison.

    Attributes:
        compared: Values compared, by step.
        skipped: Values left out, by why.
        differences: Where the backends differ, or one is not as expected.
    """

    compared: Counter[int] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)


def compare_backends(
    steps: Sequence[Mapping[str, Any]], one: Side, other: Side
) -> BackendComparison:
    """Compare two backends step by step, with each other and with what is expected.

    Args:
        steps: The scenario's steps.
        one: The scenario on a backend.
        other: The scenario on another one.
    """
    made = BackendComparison()
    for number, step in enumerate(steps):
        _Step(made, number, one, other).compare(step)
    return made


@dataclass(frozen=True, slots=True)
class _Step:
    """One step on both backends."""

    made: BackendComparison
    number: int
    one: Side
    other: Side

    def compare(self, step: Mapping[str, Any]) -> None:
        op = step["action"]["op"]
        sides = {side.backend: side.steps[self.number] for side in (self.one, self.other)}
        for backend, played in sides.items():
            if played.is_refusal and (played.body or {}).get("code") == NOT_SUPPORTED:
                self.made.skipped[f"{op}: {backend} does not support it"] += 1
                return
        mine, theirs = sides.values()
        if mine.is_refusal and theirs.is_refusal:
            self._skip_wording(mine, theirs)
        self._values("/status", mine.status, theirs.status)
        self._values("/body", _comparable(mine), _comparable(theirs))
        expect = {
            name: value for name, value in (step.get("expect") or {}).items() if value is not None
        }
        if "status" not in expect:
            expect["status"] = {"$at_most": FIRST_REFUSAL - 1}
        for side in (self.one, self.other):
            self._expected(side, expect)

    def _skip_wording(self, mine: BatchResult, theirs: BatchResult) -> None:
        names = {*(mine.body or {}), *(theirs.body or {})} - {*_OF_REFUSALS}
        for name in sorted(names):
            self.made.skipped[
                f"{name} of a refusal: the kernel's errno has no more than its name"
            ] += 1

    def _values(self, pointer: str, mine: object, theirs: object) -> None:
        name = pointer.rpartition("/")[2]
        for side, value in ((self.one, mine), (self.other, theirs)):
            if value is None and name in side.unknown_fields:
                self.made.skipped[f"{name}: {side.backend} does not know it"] += 1
                return
        if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
            for key in [*mine, *(key for key in theirs if key not in mine)]:
                if key in _OF_A_VM:
                    self.made.skipped[f"{key}: says which VM or machine it is"] += 1
                else:
                    self._values(f"{pointer}/{key}", mine.get(key), theirs.get(key))
        elif isinstance(mine, list) and isinstance(theirs, list) and len(mine) == len(theirs):
            for index, (left, right) in enumerate(zip(mine, theirs, strict=True)):
                self._values(f"{pointer}/{index}", left, right)
        else:
            self.made.compared[self.number] += 1
            if mine != theirs:
                names = f"{self.one.backend} and {self.other.backend} differ"
                self.made.differences.append(
                    Difference(self.number, pointer, names, (mine, theirs))
                )

    def _expected(self, side: Side, expect: Mapping[str, Any]) -> None:
        played = side.steps[self.number]
        found = mismatches(expect, {"status": played.status, "body": played.body})
        skipped = 0
        for each in found:
            names = each.pointer.split("/")
            if each.found is None and side.unknown_fields & {*names}:
                skipped += 1
                name = next(name for name in names if name in side.unknown_fields)
                self.made.skipped[f"expectation of {name}: {side.backend} does not know it"] += 1
            else:
                self.made.differences.append(
                    Difference(
                        self.number,
                        each.pointer,
                        f"{side.backend} is not as expected: {each.detail}",
                        (each.expected, each.found),
                    )
                )
        self.made.compared[self.number] += sum(1 for _ in _leaves(expect)) - skipped


def _comparable(played: BatchResult) -> Mapping[str, Any] | None:
    if not played.is_refusal or played.body is None:
        return played.body
    return {name: value for name, value in played.body.items() if name in _OF_REFUSALS}


def _leaves(node: object) -> Iterator[object]:
    if isinstance(node, Mapping) and node:
        for value in node.values():
            yield from _leaves(value)
    else:
        yield node
