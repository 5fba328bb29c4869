"""The files of vectors, and the state of a machine as a vector has it.

Nothing here is the API's own code: the core's answers and the model's are written by the same few lines,
and the API's JSON is compared with them as it comes.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from hacdbs_sim.model import (
    AcceleratorReport,
    Action,
    Bitmap,
    CpuInfo,
    DirtyLog,
    MemslotInfo,
    Stage2Run,
    VmConfig,
    known,
)
from tests.conformance.vectors.ops import action_of, config_of

HERE: Final = Path(__file__).parent
FILES: Final = sorted(HERE.glob("*.json"))
REASONS: Final = ("NOF", "STRUCTF", "IPAF", "IPAHACF")


@dataclass(frozen=True)
class Vector:
    """One worked case, as the file has it."""

    name: str
    why: str
    vm: dict[str, Any]
    setup: tuple[dict[str, Any], ...]
    call: dict[str, Any]
    expected: dict[str, Any]

    def config(self) -> VmConfig:
        return config_of(self.vm)

    def actions(self) -> list[Action[Any]]:
        return [action_of(op) for op in self.setup]


class Side(Protocol):
    """What a vector asks of a machine, core or model, beside performing actions."""

    def memslots(self) -> tuple[MemslotInfo, ...]: ...
    def cpus(self) -> tuple[CpuInfo, ...]: ...
    def peek_dirty_log(self, slot: int) -> DirtyLog: ...


def vectors_in(file: Path) -> list[Vector]:
    """Read a file of vectors."""
    return [
        Vector(
            each["name"],
            each["why"],
            each["vm"],
            tuple(each["setup"]),
            each["call"],
            each["expected"],
        )
        for each in json.loads(file.read_text())["vectors"]
    ]


def expected_of(side: Side, answer: DirtyLog, runs: Iterable[Stage2Run]) -> dict[str, Any]:
    """Write down all that a vector expects after its call."""
    log = side.peek_dirty_log(answer.slot).bitmap
    return {
        "answer": answer_of(answer),
        "log": ranges_of(log),
        "cpus": [cpu_of(unit) for unit in side.cpus() if unit.runs or not unit.online],
        "stage2": [run_of(run) for run in runs],
    }


def window_of(side: Side, slot: int) -> tuple[int, int]:
    """Return the first gfn and the pages of a slot: the part of stage 2 that a vector shows."""
    view = next(view for view in side.memslots() if view.slot == slot)
    return view.base_gfn, view.npages


def answer_of(outcome: DirtyLog) -> dict[str, Any]:
    """Write an answer as the API does, field by field."""
    software = known(outcome.software)
    answer: dict[str, Any] = {
        "slot": outcome.slot,
        "first_page": outcome.first_page,
        "num_pages": outcome.num_pages,
        "dirty_count": outcome.dirty_count,
        "remaining_count": outcome.remaining_count,
        "accelerator": _report_of(outcome.accelerator),
        "software": {
            "ran": software.ran,
            "words": software.words,
            "pages": software.pages,
            "write_protected": software.write_protected,
            "blocks_split": software.blocks_split,
        },
        "flush_tlb": outcome.flush_tlb,
    }
    if outcome.bitmap is not None:
        answer["page_ranges"] = ranges_of(outcome.bitmap)
    return answer


def _report_of(report: AcceleratorReport | None) -> dict[str, Any] | None:
    if report is None:
        return None
    error = report.error
    return {
        "cpu": report.cpu,
        "outcome": str(report.outcome.value),
        "errno": None if report.errno is None else str(report.errno),
        "batches": report.batches,
        "entries": report.entries,
        "cleaned": report.cleaned,
        "requeued": report.requeued,
        "blocks_split": report.blocks_split,
        "error": None
        if error is None
        else {
            "reason": str(error.reason.value),
            "batch": error.batch,
            "index": error.index,
            "gfn": error.gfn,
        },
    }


def ranges_of(bitmap: Bitmap | None) -> list[list[int]]:
    """List the [first, count] ranges of a bitmap's pages."""
    assert bitmap is not None
    bits = np.unpackbits(bitmap.words.astype("<u8").view(np.uint8), bitorder="little").astype(
        np.int8
    )
    edges = np.flatnonzero(np.diff(bits, prepend=0, append=0))
    firsts, ends = edges[::2].tolist(), edges[1::2].tolist()
    return [[first, end - first] for first, end in zip(firsts, ends, strict=True)]


def cpu_of(unit: CpuInfo) -> dict[str, Any]:
    """Write a unit, its registers by field too."""
    return {
        "cpu": unit.cpu,
        "online": unit.online,
        "status": str(unit.status.value),
        "hacdbsbr_el2": hex(unit.hacdbsbr_el2.raw),
        "hacdbscons_el2": {
            "raw": hex(unit.hacdbscons_el2.raw),
            "err_reason": REASONS[unit.hacdbscons_el2.raw >> 62],
            "index": unit.hacdbscons_el2.raw & (1 << 19) - 1,
        },
        "interrupts": unit.interrupts,
        "runs": unit.runs,
        "entries": unit.entries,
        "cleaned": unit.cleaned,
    }


def run_of(run: Stage2Run) -> dict[str, Any]:
    return {
        "gfn": run.gfn,
        "count": run.count,
        "level": run.level,
        "state": str(run.state.value),
        "descriptor": hex(run.descriptor),
    }


def text_of(about: str, vectors: Iterable[dict[str, Any]]) -> str:
    """Write a file: a vector's parts on lines of their own, small values on one line."""
    lines = ["{", f'  "about": {json.dumps(about)},', '  "vectors": [']
    written = [_vector_text(vector) for vector in vectors]
    return "\n".join(lines) + "\n" + ",\n".join(written) + "\n  ]\n}\n"


def _vector_text(vector: dict[str, Any]) -> str:
    expected = vector["expected"]
    parts = [
        f'      "name": {json.dumps(vector["name"])}',
        f'      "why": {json.dumps(vector["why"])}',
        f'      "vm": {json.dumps(vector["vm"])}',
        f'      "setup": [\n{_lines(vector["setup"], 8)}\n      ]',
        f'      "call": {json.dumps(vector["call"])}',
        (
            '      "expected": {\n'
            f'        "answer": {_fields(expected["answer"], 10)},\n'
            f'        "log": {json.dumps(expected["log"])},\n'
            f'        "cpus": [{_list(expected["cpus"])}],\n'
            f'        "stage2": [{_list(expected["stage2"])}]\n'
            "      }"
        ),
    ]
    return "    {\n" + ",\n".join(parts) + "\n    }"


def _lines(values: list[Any], indent: int) -> str:
    return ",\n".join(" " * indent + json.dumps(value) for value in values)


def _list(values: list[Any]) -> str:
    return f"\n{_lines(values, 10)}\n        " if values else ""


def _fields(value: dict[str, Any], indent: int) -> str:
    some = [f"{' ' * indent}{json.dumps(name)}: {json.dumps(each)}" for name, each in value.items()]
    return "{\n" + ",\n".join(some) + "\n" + " " * (indent - 2) + "}"
