"""Compares what one scenario returned on two backends: all that both can know, and nothing else.

What is left out is listed with its reason, so that a comparison says what it is worth.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
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
    """A scenario on one backend: fields that it cannot know, and what each step returned."""

    backend: str
    unknown_fields: frozenset[str]
    steps: Sequence[BatchResult]


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two backends differ, or one is not as expected.

    Attributes:
        pointer: Where in `{"status", "body"}`.
        found: What each backend returned there, or what was expected and what was found.
    """

    step: int
    pointer: str
    detail: str
    found: tuple[object, object]


@dataclass(slots=True)
class BackendComparison:
    """What came of a comparison: values compared by step, values left out by why, differences."""

    compared: Counter[int] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)


def compare_backends(
    steps: Sequence[Mapping[str, Any]], one: Side, other: Side
) -> BackendComparison:
    """Compare two backends step by step, with each other and with what the steps expect."""
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
        mine, theirs = (side.steps[self.number] for side in (self.one, self.other))
        for side, played in ((self.one, mine), (self.other, theirs)):
            if played.is_refusal and (played.body or {}).get("code") == NOT_SUPPORTED:
                self._skip(f"{step['action']['op']}: {side.backend} does not support it")
                return
        if mine.is_refusal and theirs.is_refusal:
            for name in sorted({*(mine.body or {}), *(theirs.body or {})} - {*_OF_REFUSALS}):
                self._skip(f"{name} of a refusal: the kernel's errno has no more than its name")
        self._values("/status", mine.status, theirs.status)
        self._values("/body", _comparable(mine), _comparable(theirs))
        given = (step.get("expect") or {}).items()
        expect = {name: value for name, value in given if value is not None}
        expect.setdefault("status", {"$at_most": FIRST_REFUSAL - 1})
        for side in (self.one, self.other):
            self._expected(side, expect)

    def _skip(self, why: str) -> None:
        self.made.skipped[why] += 1

    def _differ(self, pointer: str, detail: str, found: tuple[object, object]) -> None:
        self.made.differences.append(Difference(self.number, pointer, detail, found))

    def _values(self, pointer: str, mine: object, theirs: object) -> None:
        name = pointer.rpartition("/")[2]
        for side, value in ((self.one, mine), (self.other, theirs)):
            if value is None and name in side.unknown_fields:
                self._skip(f"{name}: {side.backend} does not know it")
                return
        if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
            for key in dict.fromkeys([*mine, *theirs]):
                if key in _OF_A_VM:
                    self._skip(f"{key}: says which VM or machine it is")
                else:
                    self._values(f"{pointer}/{key}", mine.get(key), theirs.get(key))
        elif isinstance(mine, list) and isinstance(theirs, list) and len(mine) == len(theirs):
            for index, (left, right) in enumerate(zip(mine, theirs, strict=True)):
                self._values(f"{pointer}/{index}", left, right)
        else:
            self.made.compared[self.number] += 1
            if mine != theirs:
                detail = f"{self.one.backend} and {self.other.backend} differ"
                self._differ(pointer, detail, (mine, theirs))

    def _expected(self, side: Side, expect: Mapping[str, Any]) -> None:
        played = side.steps[self.number]
        self.made.compared[self.number] += _count_leaves(expect)
        for each in mismatches(expect, {"status": played.status, "body": played.body}):
            unknown = [name for name in each.pointer.split("/") if name in side.unknown_fields]
            if each.found is None and unknown:
                self.made.compared[self.number] -= 1
                self._skip(f"expectation of {unknown[0]}: {side.backend} does not know it")
            else:
                detail = f"{side.backend} is not as expected: {each.detail}"
                self._differ(each.pointer, detail, (each.expected, each.found))


def _comparable(played: BatchResult) -> Mapping[str, Any] | None:
    if not played.is_refusal or played.body is None:
        return played.body
    return {name: value for name, value in played.body.items() if name in _OF_REFUSALS}


def _count_leaves(node: object) -> int:
    if isinstance(node, Mapping) and node:
        return sum(map(_count_leaves, node.values()))
    return 1
