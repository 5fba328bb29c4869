"""Random calls on one small VM, each as HTTP and as the scalar model performs it."""

import json
import pickle
from collections.abc import Callable
from dataclasses import astuple, dataclass
from random import Random
from typing import Any, Final

from typing_extensions import override

from hacdbs_sim.model import (
    Action,
    ClearDirtyLog,
    DeleteFault,
    FaultType,
    GetDirtyLog,
    GuestRead,
    GuestWrite,
    HostUnmap,
    HostWrite,
    LogFormat,
    Model,
    SetCpu,
    SetMemslot,
    VmConfig,
)
from hacdbs_sim.wire import to_plain
from tests.support.building import gfns, ranges
from tests.support.faults import fault
from tests.support.scalar_model import Refused, ScalarMachine
from tests.support.wire import Answer

PAGE: Final = 4096
CPUS: Final = 3
BASE_GFN: Final = 1024
NPAGES: Final = 130
MOVING_GFNS: Final = (4096, 8192)
MOVING_PAGES: Final = 70
SLOTS: Final = (
    SetMemslot(slot=0, guest_phys_addr=BASE_GFN * PAGE, memory_size=NPAGES * PAGE, flags=1),
    SetMemslot(
        slot=1,
        guest_phys_addr=MOVING_GFNS[0] * PAGE,
        memory_size=MOVING_PAGES * PAGE,
        userspace_addr=MOVING_GFNS[0] * PAGE,
        flags=1,
    ),
)
CONFIG: Final = VmConfig(cpus=CPUS, seed=11)
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
            (astuple(view), frozenset(model.slots.by_id[view.slot].dirty or ()))
            for view in model.memslots()
        ),
        frozenset(model.stage2.leaves.items()),
        tuple(map(astuple, model.cpus())),
        tuple(map(astuple, model.faults())),
    )


def _out(model: ScalarMachine, action: Action[Any], form: LogFormat = LogFormat.SUMMARY) -> Any:
    """Return what the service writes of the model's outcome."""
    outcome = model.perform(action)
    assert isinstance(outcome, Model)
    return to_plain(outcome, format=form)


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
    performed = action(pages=gfns(*named))
    return VmCall("POST", f"/{kind}", {"gfns": named}, lambda model: _out(model, performed))


def _get(random: Random) -> VmCall:
    form = random.choice(list(LogFormat))
    cpu = random.choice([None, None, 0, 2])
    query = f"?format={form.value}" + ("" if cpu is None else f"&cpu={cpu}")
    action = GetDirtyLog(slot=int(random.random() < 0.2), cpu=cpu)
    return VmCall(
        "POST",
        f"/memslots/{action.slot}/dirty-log/get{query}",
        None,
        lambda model: _out(model, action, form),
    )


def _peek(random: Random) -> VmCall:
    form = random.choice(list(LogFormat))
    return VmCall(
        "GET",
        f"/memslots/0/dirty-log?format={form.value}",
        None,
        lambda model: to_plain(model.peek_dirty_log(0), format=form),
    )


def _clear(random: Random) -> VmCall:
    first = random.randrange(NPAGES)
    pair = (first, random.randint(1, NPAGES - first))
    action = ClearDirtyLog(slot=0, pages=ranges(pair))
    return VmCall(
        "POST",
        "/memslots/0/dirty-log/clear",
        {"page_ranges": [pair]},
        lambda model: _out(model, action),
    )


def _arm(random: Random) -> VmCall:
    kind = random.choice(
        [FaultType.IPAF, FaultType.UNIT_BUSY, FaultType.ENTRIES_ENOMEM, FaultType.COPY_TO_USER]
    )
    action = fault(kind, times=1, when={"slot": 0})
    return VmCall(
        "POST",
        "/faults",
        {"type": kind.value, "times": 1, "when": {"slot": 0}},
        lambda model: _out(model, action),
    )


def _disarm(random: Random) -> VmCall:
    fault_id = f"f{random.randint(1, 4)}"

    def perform(model: ScalarMachine) -> None:
        model.perform(DeleteFault(fault_id=fault_id))

    return VmCall("DELETE", f"/faults/{fault_id}", None, perform)


def _plug(random: Random) -> VmCall:
    action = SetCpu(cpu=random.randrange(CPUS), online=random.random() < 0.5)
    return VmCall(
        "PATCH",
        f"/cpus/{action.cpu}",
        {"online": action.online},
        lambda model: _out(model, action),
    )


def _set_memslot(random: Random) -> VmCall:
    """Move slot 1, or turn its log on or off."""
    logs = random.random() < 0.7
    base = random.choice(MOVING_GFNS) * PAGE
    action = SetMemslot(
        slot=1,
        guest_phys_addr=base,
        memory_size=MOVING_PAGES * PAGE,
        userspace_addr=MOVING_GFNS[0] * PAGE,
        flags=int(logs),
    )
    body = {
        "guest_phys_addr": base,
        "memory_size": action.memory_size,
        "userspace_addr": action.userspace_addr,
        "flags": ["LOG_DIRTY_PAGES"] if logs else [],
    }
    return VmCall("PUT", "/memslots/1", body, lambda model: _out(model, action))


def _stage2(_: Random) -> VmCall:
    def perform(model: ScalarMachine) -> Any:
        runs = model.stage2.runs(BASE_GFN, BASE_GFN + NPAGES)
        return {"runs": [to_plain(run) for run in runs], "next_page_token": ""}

    return VmCall("GET", f"/stage2?gfn={BASE_GFN}&count={NPAGES}&limit=1000", None, perform)


def _batch(random: Random) -> VmCall:
    """Write and take at once; no call comes between."""
    named = _some_gfns(random)
    write, get = GuestWrite(pages=gfns(*named)), GetDirtyLog(slot=0)
    body = {
        "actions": [
            {"op": "guest_write", "gfns": named},
            {"op": "get_dirty_log", "slot": 0, "format": "ranges"},
        ]
    }

    def perform(model: ScalarMachine) -> Any:
        written = {"status": 200, "body": _out(model, write)}
        try:
            taken = _out(model, get, LogFormat.RANGES)
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
