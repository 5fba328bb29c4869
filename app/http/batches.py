"""The batch: actions on one machine in order, up to the first refusal."""

from collections.abc import Mapping
from typing import Any, Final

from hacdbs_sim.sim.actions import (
    AddWorkload,
    AdvanceClock,
    ArmFault,
    GetDirtyLog,
    RunGuest,
    SetCpuOnline,
)
from hacdbs_sim.sim.base.errors import KvmError
from hacdbs_sim.sim.base.units import PAGES_PER_WORD

from ..service.cost_estimate import INLINE_WORK, WORK_PER_ACTION, WORK_PER_GFN, WORK_PER_RANGE
from ..service.fleet import Vm
from . import operations as do
from .codec import MAX_RANGES, BatchAnswerLimitError
from .problems import Site, kvm_document
from .responses import Answer
from .schemas import batch as b
from .schemas.actions import access_of, clear_of
from .schemas.dirty_log import LogForm
from .schemas.workloads import WorkloadFields

MAX_ANSWER_BYTES: Final = 8 << 20
"""Pages and traces that a batch may answer with; the action after is refused."""

RANGE_BYTES: Final = 16
RUN_BYTES: Final = 96


def perform(vm: Vm, action: b.BatchAction) -> Answer:  # noqa: PLR0911 - one return an action
    """Perform one action as its own call would."""
    match action:
        case b.GuestAccess() | b.HostAccess():
            return do.access(vm, access_of(action))
        case b.GetLog():
            get = GetDirtyLog(action.slot, action.cpu, action.trace)
            return do.get_dirty_log(vm, get, action.format)
        case b.ClearLog():
            return do.clear_dirty_log(vm, clear_of(action))
        case b.SetMemslot() | b.DeleteMemslot():
            return _set_or_delete(vm, action)
        case b.SetCpu():
            return do.set_cpu(vm, SetCpuOnline(action.cpu, action.online))
        case b.GuestRun():
            return do.run_guest(vm, RunGuest(action.duration_ns, action.throttle_percent))
        case b.ClockAdvance():
            return do.advance_clock(vm, AdvanceClock(action.duration_ns))
        case b.DeleteWorkload() | WorkloadFields():
            return _add_or_delete(vm, action)
        case _:
            return _arm_or_disarm(vm, action)


def _set_or_delete(vm: Vm, action: b.SetMemslot | b.DeleteMemslot) -> Answer:
    if isinstance(action, b.DeleteMemslot):
        return do.delete_memslot(vm, action.slot)
    return do.set_memslot(vm, action.to_domain(action.slot))


def _add_or_delete(vm: Vm, action: b.AddWorkload | b.DeleteWorkload) -> Answer:
    if isinstance(action, b.DeleteWorkload):
        return do.delete_workloads(vm, action.workload_id)
    return do.add_workload(vm, AddWorkload(action.to_domain()))


def _arm_or_disarm(vm: Vm, action: b.AddFault | b.DeleteFault) -> Answer:
    if isinstance(action, b.DeleteFault):
        return do.delete_fault(vm, action.fault_id)
    return do.add_fault(vm, ArmFault(action.to_domain()))


def _weight(body: Mapping[str, Any] | None) -> int:
    """Estimate the bytes of a result's pages and trace; the rest is small."""
    if body is None or "accelerator" not in body:  # what else there is has neither
        return 0
    trace = (body["accelerator"] or {}).get("trace", ())
    pages = len(body.get("page_ranges", ())) * RANGE_BYTES + len(body.get("bitmap", ""))
    return pages + len(trace) * RUN_BYTES


def _check_answer(answer_bytes: int) -> None:
    if answer_bytes > MAX_ANSWER_BYTES:
        raise BatchAnswerLimitError(
            f"the batch has answered {answer_bytes} bytes of pages and traces,"
            f" it may answer {MAX_ANSWER_BYTES}",
            bound=MAX_ANSWER_BYTES,
            value=answer_bytes,
        )


def perform_all(vm: Vm, actions: list[b.BatchAction], path: str) -> Answer:
    """Perform actions until one is refused; that one's problem is the last result."""
    results: list[dict[str, Any]] = []
    answer_bytes = 0
    for index, action in enumerate(actions):
        try:
            _check_answer(answer_bytes)
            answer = perform(vm, action)
        except KvmError as refused:
            site = Site(path, operation_id=action.op, body_pointer=f"/actions/{index}")
            problem = kvm_document(refused, site)
            results.append({"status": problem["status"], "body": problem})
            break
        answer_bytes += _weight(answer.body)
        results.append({"status": answer.status, "body": answer.body})
    return Answer({"results": results})


def work_of_batch(vm: Vm, actions: list[b.BatchAction]) -> int:
    """Estimate the work of a batch, each action on the slots as they may be by then."""
    machine = vm.runtime.machine
    pages = machine.pages
    grown: dict[int, int] = {}
    work = 0
    for action in actions:
        if isinstance(action, b.SetMemslot):
            npages = action.memory_size // machine.config.page_size
            pages += max(npages - grown.get(action.slot, 0), 0)
            grown[action.slot] = max(npages, grown.get(action.slot, 0))
        work += WORK_PER_ACTION + _work(action, pages)
    return work


def _work(action: b.BatchAction, pages: int) -> int:  # noqa: PLR0911 - one return an action
    words = pages // PAGES_PER_WORD
    match action:
        case b.GuestAccess() | b.HostAccess() if action.gfns is not None:
            return WORK_PER_GFN * len(action.gfns)
        case b.GuestAccess() | b.HostAccess():
            return words + WORK_PER_GFN * len(action.gfn_ranges)
        case b.ClearLog() if action.page_ranges is not None:
            return words + WORK_PER_GFN * len(action.page_ranges)
        case b.GetLog(format=LogForm.RANGES):
            # No more ranges than every other page.
            return words + WORK_PER_RANGE * min(pages // 2, MAX_RANGES)
        case b.GetLog() | b.ClearLog() | b.SetMemslot():
            return words
        case b.GuestRun() | WorkloadFields():
            # How much they write is known when it is their turn: never on the event loop.
            return INLINE_WORK
        case _:
            return 0
