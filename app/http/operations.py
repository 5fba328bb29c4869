"""The operations on one VM and their responses: a route runs one, a batch and a scenario many."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from starlette.responses import Response

from hacdbs_sim import model
from hacdbs_sim.model import BatchAction, LogFormat
from hacdbs_sim.model.errors import KvmError, NotSupportedByBackendError
from hacdbs_sim.model.units import PAGES_PER_WORD
from hacdbs_sim.wire.codec import MAX_RANGES, check_ranges

from ..service.fleet import Vm
from ..service.vm_runtime import INLINE_WORK, WORK_PER_RANGE, VmRuntime
from .preconditions import Preconditions, memslot_etag, vm_etag
from .responses import Answer, respond

CREATED_STATUS: Final = 201

RESULT_BYTES: Final = 1 << 11
"""What a result of a batch takes, apart from its pages."""

MAX_PAGES_UNSEEN: Final = 2 * MAX_RANGES
"""Pages of a log that cannot have more ranges than an answer may: dirty and clean ones in turn."""


def show_vm(vm: Vm, status: int = 200, location: str | None = None) -> Answer:
    """Return the representation of a VM."""
    etag = vm_etag(vm)  # first: if the VM changes in between, the tag must be the older of the two
    return Answer(vm.info(), status, location, etag)


async def respond_with(vm: Vm, status: int = 200) -> Response:
    """Return the response that shows a VM; 201: a new one."""
    location = f"/v1/vms/{vm.vm_id}" if status == CREATED_STATUS else None
    return await respond(
        lambda: show_vm(vm, status, location).response(), vm.runtime.work_of_showing()
    )


def _changed_memslot(vm: Vm, outcome: model.ChangedMemslot) -> Answer:
    etag = memslot_etag(vm, outcome.slot)
    if outcome.change is model.MemslotChange.CREATE:
        return Answer(outcome, 201, f"/v1/vms/{vm.vm_id}/memslots/{outcome.slot}", etag)
    return Answer(outcome, etag=etag)


_ANSWERS: Final[Mapping[str, Callable[[Vm, Any], Answer]]] = {
    model.SetMemslot.op: _changed_memslot,
    model.AddFault.op: lambda vm, new: Answer(
        new, 201, f"/v1/vms/{vm.vm_id}/faults/{new.fault_id}"
    ),
    model.AddWorkload.op: lambda vm, new: Answer(
        new, 201, f"/v1/vms/{vm.vm_id}/workloads/{new.workload_id}"
    ),
    model.UpdateVm.op: lambda vm, _: show_vm(vm),
    model.TrackVersions.op: lambda vm, _: show_vm(vm),
    **{
        gone.op: lambda _vm, _outcome: Answer(None, 204)
        for gone in (
            model.DeleteMemslot,
            model.DeleteFault,
            model.DeleteFaults,
            model.DeleteWorkload,
            model.DeleteWorkloads,
        )
    },
}
"""The responses of actions that are more than their outcome, by op."""


def perform_now(
    vm: Vm, action: model.Action[Any], log_format: LogFormat | None = LogFormat.RANGES
) -> Answer:
    """Perform an action and return what its own call returns; the caller holds the VM's lock.

    Without a format, the answer to a get is the ioctl's own bytes. A get with more pages than the response may carry is refused before it begins.
    """
    if isinstance(action, model.GetDirtyLog) and log_format is LogFormat.RANGES:
        _check_ranges(vm, action)
    outcome = vm.runtime.perform(action)
    if (answer := _ANSWERS.get(action.op)) is not None:
        return answer(vm, outcome)
    return Answer(outcome, format=log_format)


def _check_ranges(vm: Vm, action: model.GetDirtyLog) -> None:
    runtime = vm.runtime
    if not runtime.supports(model.PeekDirtyLog):
        _check_length(runtime, action.slot)
        return
    try:
        if action.cpu is not None:
            runtime.query(model.GetCpu(cpu=action.cpu))
        dirty = runtime.query(model.GetMemslot(slot=action.slot)).dirty_count or 0
        if dirty <= MAX_RANGES:  # no more ranges than pages: spare the copy
            return
        bitmap = runtime.query(model.PeekDirtyLog(slot=action.slot)).bitmap
    except KvmError:
        return  # the get itself is refused
    if bitmap is not None:
        check_ranges(bitmap.words)


def _check_length(runtime: VmRuntime, slot: int) -> None:
    """Refuse ranges where nobody can look ahead how many there will be, and there may be too many."""
    try:
        npages = runtime.query(model.GetMemslot(slot=slot)).npages
    except KvmError:
        return  # the get itself is refused
    if npages > MAX_PAGES_UNSEEN:
        raise NotSupportedByBackendError(
            f"format=ranges is for slots of at most {MAX_PAGES_UNSEEN} pages on"
            f" {runtime.capabilities.backend}, which cannot look at a log before it takes it; this"
            " slot is longer: ask for format=base64 or application/octet-stream",
            field="format",
            bound=MAX_PAGES_UNSEEN,
            value=npages,
        )


async def run(
    vm: Vm,
    action: model.Action[Any],
    log_format: LogFormat | None = LogFormat.RANGES,
    preconditions: Preconditions | None = None,
) -> Response:
    """Perform an action while holding the VM, and write its response there.

    Writing pages into the response counts as work.
    """

    def call() -> Response:
        if preconditions is not None:
            preconditions.check(_etag(vm, action))
        return perform_now(vm, action, log_format).response()

    def work() -> int:
        written = 0
        if isinstance(action, model.GetDirtyLog):
            written = _work_of_writing(vm.runtime, action.slot, log_format)
        return vm.runtime.work(action) + _work_of_answer(vm, action) + written

    return await vm.runtime.run(call, work=work)


def _work_of_answer(vm: Vm, action: model.Action[Any]) -> int:
    """Estimate the work of the answer to an action that shows the whole VM."""
    shows_all = isinstance(action, model.UpdateVm | model.TrackVersions)
    return vm.runtime.work_of_showing() if shows_all else 0


def _etag(vm: Vm, action: model.Action[Any]) -> str | None:
    if isinstance(action, model.SetMemslot | model.DeleteMemslot):
        return memslot_etag(vm, action.slot)
    return vm_etag(vm)


async def run_peek(vm: Vm, slot: int, log_format: LogFormat | None) -> Response:
    """Peek at the dirty log; without a format, return the ioctl's own bytes."""
    runtime = vm.runtime

    def peek() -> Response:
        log = runtime.query(model.PeekDirtyLog(slot=slot))
        if log_format is LogFormat.RANGES and log.bitmap is not None:
            check_ranges(log.bitmap.words)
        return Answer(log, format=log_format).response()

    def work() -> int:
        copied = runtime.work(model.GetDirtyLog(slot=slot))
        return copied + _work_of_writing(runtime, slot, log_format)

    return await runtime.run(peek, work=work)


async def run_query(
    vm: Vm, query: Callable[[], Answer], *, of_all_memslots: bool = False
) -> Response:
    """Run a query of a memslot, or of all, while holding the VM, and write its response there."""
    runtime = vm.runtime
    work = runtime.work_of_all_memslots if of_all_memslots else runtime.sweep_work
    return await runtime.run(lambda: query().response(), work=lambda: work(PAGES_PER_WORD))


def _work_of_writing(runtime: VmRuntime, slot: int, log_format: LogFormat | None) -> int:
    if log_format is None or log_format is LogFormat.SUMMARY:
        return 0
    work = runtime.sweep_work(PAGES_PER_WORD)
    if log_format is LogFormat.RANGES:
        try:
            dirty = runtime.query(model.GetMemslot(slot=slot)).dirty_count or 0
        except KvmError:
            dirty = 0
        work += WORK_PER_RANGE * min(dirty, MAX_RANGES)
    return work


PART_BYTES: Final = 1 << 10
"""What a slot, a fault or a workload takes in the representation of a VM, as an object and as text."""


def bytes_of_info(vm: Vm) -> int:
    """Estimate the bytes that it takes to show a VM."""
    return PART_BYTES * (4 + vm.runtime.parts)


_BITMAPS: Final[Mapping[LogFormat | None, int]] = {
    None: 2,
    LogFormat.SUMMARY: 2,
    LogFormat.RANGES: 4,
    LogFormat.BASE64: 6,
    LogFormat.WORDS: 8,
}
"""The bytes that an answer takes while it is made, in bitmaps of the slot (measured, from above)."""

_RANGE_BYTES: Final = 200
"""What a range of an answer takes: two numbers, as objects and as text."""


def bytes_of_log(vm: Vm, slot: int, log_format: LogFormat | None) -> int:
    """Estimate the bytes that it takes to answer with a dirty log."""
    try:
        memslot = vm.runtime.query(model.GetMemslot(slot=slot))
    except KvmError:
        return 0  # it is refused
    ranges = 0
    if log_format is LogFormat.RANGES:
        ranges = min(memslot.dirty_count or 0, MAX_RANGES)
    return memslot.npages // 8 * _BITMAPS[log_format] + ranges * _RANGE_BYTES


def bytes_of_answers(vm: Vm, actions: tuple[BatchAction, ...]) -> int:
    """Estimate the bytes that it takes to answer a batch: up to its limit, and one log beyond."""
    pages = vm.runtime.query(model.GetFootprint()).pages
    formats = {each.format for each in actions if isinstance(each.action, model.GetDirtyLog)}
    return pages // 8 * max((_BITMAPS[each] for each in formats), default=0) + RESULT_BYTES * len(
        actions
    )


def work_of_batch(vm: Vm, actions: tuple[BatchAction, ...]) -> int:
    """Estimate the work of a batch, each action on the slots as they may be by then.

    That it is too much for the event loop is enough to know: a long batch would take long to estimate.
    """
    runtime = vm.runtime
    page_size = runtime.query(model.GetConfig()).page_size
    pages = runtime.query(model.GetFootprint()).pages
    grown: dict[int, int] = {}
    new_pages = 0
    work = 0
    for each in actions:
        action = each.action
        if isinstance(action, model.SetMemslot):
            npages = action.memory_size // page_size
            known = grown.get(action.slot, 0)
            new_pages += max(npages - known, 0)
            grown[action.slot] = max(npages, known)
        work += runtime.work(action) + new_pages // PAGES_PER_WORD + _work_of_answer(vm, action)
        if isinstance(action, model.GetDirtyLog) and each.format is LogFormat.RANGES:
            # No more ranges than every other page
            work += WORK_PER_RANGE * min((pages + new_pages) // 2, MAX_RANGES)
        if isinstance(action, model.RunGuest):
            # How much is written is known when it is its turn: never on the event loop
            work += INLINE_WORK
        if work > INLINE_WORK:
            break
    return work
