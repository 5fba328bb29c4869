"""Random calls on one small VM, each as HTTP and as the scalar model performs it."""

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final

from typing_extensions import override

from app.http.schemas.accesses import access_out
from app.http.schemas.cpus import cpu_out
from app.http.schemas.dirty_log import LogForm, dirty_log_out
from app.http.schemas.faults import fault_out
from app.http.schemas.memslots import memslot_change_out
from app.http.schemas.stage2 import stage2_run_out
from hacdbs_sim.sim.actions import (
    AcceleratorOutcome,
    ArmFault,
    ClearDirtyLog,
    DisarmFault,
    ErrorReason,
    FaultSpec,
    FaultType,
    FaultWhen,
    GetDirtyLog,
    GuestRead,
    GuestWrite,
    HostUnmap,
    HostWrite,
    MachineConfig,
    SetCpuOnline,
    SetMemoryRegion,
    UnitStatus,
)
from hacdbs_sim.sim.base.errors import Errno
from tests.support.building import gfns, ranges
from tests.support.scalar_model import Refused, ScalarMachine
from tests.support.wire import Answer

PAGE: Final = 4096
CPUS: Final = 3
BASE_GFN: Final = 1024
NPAGES: Final = 130
MOVING_GFNS: Final = (4096, 8192)
MOVING_PAGES: Final = 70
SLOTS: Final = (
    SetMemoryRegion(0, BASE_GFN * PAGE, NPAGES * PAGE, flags=1),
    SetMemoryRegion(1, MOVING_GFNS[0] * PAGE, MOVING_PAGES * PAGE, MOVING_GFNS[0] * PAGE, 1),
)
CONFIG: Final = MachineConfig(cpus=CPUS, seed=11)
CREATION: Final = {
    "cpus": CPUS,
    "seed": 11,
    "memslots": [
        {
            "slot": each.slot,
            "guest_phys_addr": each.guest_phys_addr,
            "memory_size": each.memory_size,
            "flags": ["LOG_DIRTY_PAGES"],
        }
        for each in SLOTS
    ],
}


@dataclass(frozen=True, slots=True, eq=False)
class VmCall:
    """One call: how it is sent, and what the model does."""

    method: str
    path: str
    body: Any
    perform: Callable[[ScalarMachine], Any]

    @override
    def __repr__(self) -> str:
        return f"{self.method} {self.path} {json.dumps(self.body)}"


def seen(answer: Answer) -> Any:
    """What of an answer the model can say as well: its JSON, or the code of the refusal."""
    if answer.status >= 400:
        return _refused(answer.code)
    body = answer.json() if answer.content else None
    if isinstance(body, dict) and "results" in body:
        body["results"] = [
            each if each["status"] < 400 else _refused(each["body"]["code"])
            for each in body["results"]
        ]
    return body


def _refused(code: str) -> list[str]:
    return ["refused", code]


class ScalarSpecification:
    """The scalar model as what one call after another does; states are pickles of it."""

    def start(self) -> tuple[bytes, object]:
        model = ScalarMachine(CONFIG)
        for slot in SLOTS:
            model.perform(slot)
        return pickle.dumps(model), None

    def step(self, state: tuple[bytes, object], call: VmCall) -> tuple[Any, tuple[bytes, object]]:
        model: ScalarMachine = pickle.loads(state[0])  # noqa: S301 - we wrote it
        try:
            answer = json.loads(json.dumps(call.perform(model)))
        except Refused as refused:
            answer = _refused(refused.code)
        return answer, (pickle.dumps(model), _key(model))

    def key(self, state: tuple[bytes, object]) -> object:
        return state[1]


def _key(model: ScalarMachine) -> object:
    return (
        model.turn,
        tuple(
            (view, frozenset(model.slots.by_id[view.slot].dirty or ())) for view in model.memslots()
        ),
        frozenset(model.stage2.leaves.items()),
        model.cpus(),
        model.faults(),
    )


def _log_out(outcome: Any, form: LogForm = LogForm.SUMMARY) -> Any:
    """Project an outcome of the model, whose words are plain strings."""
    if (report := outcome.accelerator) is not None:
        error = report.error
        if error is not None:
            error = replace(error, reason=ErrorReason(error.reason))
        report = report._replace(
            outcome=AcceleratorOutcome(report.outcome),
            errno=None if report.errno is None else Errno(report.errno),
            error=error,
        )
    return dirty_log_out(outcome._replace(accelerator=report), form)


def _cpu_out(view: Any) -> Any:
    return cpu_out(replace(view, status=UnitStatus(view.status)))


def random_call(random: Random, *, with_faults: bool = True) -> VmCall:
    """Draw a call."""
    return random.choice(_KINDS if with_faults else _LOCKED_KINDS)(random)


def _some_gfns(random: Random) -> list[int]:
    if random.random() < 0.8:
        first = BASE_GFN + random.randrange(NPAGES)
        return [first + random.randrange(6) for _ in range(random.randint(1, 5))]
    return [random.choice(MOVING_GFNS) + random.randrange(MOVING_PAGES)]


def _access(random: Random) -> VmCall:
    kind, action = random.choice(
        [
            ("guest/write", GuestWrite),
            ("guest/write", GuestWrite),
            ("guest/read", GuestRead),
            ("host/write", HostWrite),
            ("host/unmap", HostUnmap),
        ]
    )
    named = _some_gfns(random)
    performed = action(gfns(*named))
    return VmCall(
        "POST", f"/{kind}", {"gfns": named}, lambda model: access_out(_as_any(model, performed))
    )


def _as_any(model: ScalarMachine, action: Any) -> Any:
    return model.perform(action)


def _get(random: Random) -> VmCall:
    form = random.choice(list(LogForm))
    cpu = random.choice([None, None, 0, 2])
    query = f"?format={form.value}" + ("" if cpu is None else f"&cpu={cpu}")
    action = GetDirtyLog(int(random.random() < 0.2), cpu)
    return VmCall(
        "POST",
        f"/memslots/{action.slot}/dirty-log/get{query}",
        None,
        lambda model: _log_out(model.perform(action), form),
    )


def _peek(random: Random) -> VmCall:
    form = random.choice(list(LogForm))
    return VmCall(
        "GET",
        f"/memslots/0/dirty-log?format={form.value}",
        None,
        lambda model: _log_out(model.peek_dirty_log(0), form),
    )


def _clear(random: Random) -> VmCall:
    first = random.randrange(NPAGES)
    pair = (first, random.randint(1, NPAGES - first))
    action = ClearDirtyLog(0, ranges(pair))
    return VmCall(
        "POST",
        "/memslots/0/dirty-log/clear",
        {"page_ranges": [pair]},
        lambda model: _log_out(model.perform(action)),
    )


def _arm(random: Random) -> VmCall:
    kind = random.choice(
        [FaultType.IPAF, FaultType.UNIT_BUSY, FaultType.ENTRIES_ENOMEM, FaultType.COPY_TO_USER]
    )
    action = ArmFault(FaultSpec(kind, times=1, when=FaultWhen(slot=0)))
    return VmCall(
        "POST",
        "/faults",
        {"type": kind.value, "times": 1, "when": {"slot": 0}},
        lambda model: fault_out(_as_any(model, action)),
    )


def _disarm(random: Random) -> VmCall:
    fault_id = f"f{random.randint(1, 4)}"

    def perform(model: ScalarMachine) -> None:
        model.perform(DisarmFault(fault_id))

    return VmCall("DELETE", f"/faults/{fault_id}", None, perform)


def _plug(random: Random) -> VmCall:
    action = SetCpuOnline(random.randrange(CPUS), online=random.random() < 0.5)
    return VmCall(
        "PATCH",
        f"/cpus/{action.cpu}",
        {"online": action.online},
        lambda model: _cpu_out(_as_any(model, action)),
    )


def _set_memslot(random: Random) -> VmCall:
    """Move slot 1, or turn its log on or off."""
    logs = random.random() < 0.7
    base = random.choice(MOVING_GFNS) * PAGE
    action = SetMemoryRegion(1, base, MOVING_PAGES * PAGE, MOVING_GFNS[0] * PAGE, int(logs))
    body = {
        "guest_phys_addr": base,
        "memory_size": action.memory_size,
        "userspace_addr": action.userspace_addr,
        "flags": ["LOG_DIRTY_PAGES"] if logs else [],
    }
    return VmCall(
        "PUT", "/memslots/1", body, lambda model: memslot_change_out(_as_any(model, action))
    )


def _stage2(_: Random) -> VmCall:
    def perform(model: ScalarMachine) -> Any:
        runs = model.stage2.runs(BASE_GFN, BASE_GFN + NPAGES)
        return {"runs": [stage2_run_out(run) for run in runs], "next_page_token": ""}

    return VmCall("GET", f"/stage2?gfn={BASE_GFN}&count={NPAGES}&limit=1000", None, perform)


def _batch(random: Random) -> VmCall:
    """Write and take at once; nobody comes between."""
    named = _some_gfns(random)
    write, get = GuestWrite(gfns(*named)), GetDirtyLog(0)
    body = {
        "actions": [
            {"op": "guest_write", "gfns": named},
            {"op": "get_dirty_log", "slot": 0, "format": "ranges"},
        ]
    }

    def perform(model: ScalarMachine) -> Any:
        written = {"status": 200, "body": access_out(_as_any(model, write))}
        try:
            taken = _log_out(model.perform(get), LogForm.RANGES)
        except Refused as refused:
            return {"results": [written, _refused(refused.code)]}
        return {"results": [written, {"status": 200, "body": taken}]}

    return VmCall("POST", "/batch", body, perform)


_LOCKED_KINDS: Final = (
    *(_access,) * 6,
    *(_get,) * 3,
    *(_peek, _clear, _plug, _set_memslot, _stage2, _batch),
)
"""Calls that take a VM one after the other."""

_KINDS: Final = (*_LOCKED_KINDS, _arm, _disarm)
"""Arming and disarming do not wait for the VM."""
