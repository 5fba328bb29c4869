"""What the calls on one machine do, apart from HTTP: a route runs one, a batch many.

Each takes the VM and the core's action and gives an `Answer`. Those that need the machine to
themselves are run by `run_alone`.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import orjson
from numpy.typing import NDArray
from starlette.responses import Response

from hacdbs_sim.sim.actions import (
    Action,
    AddWorkload,
    AdvanceClock,
    ArmFault,
    ClearDirtyLog,
    DirtyLogOutcome,
    DisarmFault,
    GetDirtyLog,
    GuestRead,
    GuestWrite,
    HostUnmap,
    HostWrite,
    MemslotChange,
    RemoveWorkload,
    RunGuest,
    SetCpuOnline,
    SetEagerSplitChunkSize,
    SetManualProtect,
    SetMemoryRegion,
)
from hacdbs_sim.model.errors import KvmError
from hacdbs_sim.sim.machine import Machine

from ..service.cost_estimate import work_of, work_of_copy, work_of_listing, work_of_look
from ..service.fleet import Vm
from .codec import check_ranges, octets_from_words
from .preconditions import NONE as NO_PRECONDITIONS
from .preconditions import Preconditions, memslot_etag, vm_etag
from .responses import Answer, OctetsAnswer
from .schemas.accesses import access_out
from .schemas.cpus import cpu_out
from .schemas.dirty_log import LogForm, dirty_log_out
from .schemas.faults import fault_out
from .schemas.guest import clock_out, guest_run_out
from .schemas.heat import heat_out
from .schemas.memslots import memslot_change_out
from .schemas.stage2 import Stage2Out, Window, stage2_run_out
from .schemas.vms import vm_out
from .schemas.workloads import workload_out

REPORT_HEADER = "Dirty-Log-Report"


Written: TypeAlias = tuple[int, LogForm]
"""A slot whose log an answer tells page by page, and the form."""


async def run_alone(
    vm: Vm,
    action: Action,
    operation: Callable[[], Answer | OctetsAnswer],
    *,
    written: Written | None = None,
) -> Response:
    """Run an operation while no other has the machine, and make its response there.

    To write pages into the answer is work as well.
    """
    machine = vm.runtime.machine
    return await vm.runtime.run(
        lambda: operation().response(),
        work=lambda: work_of(machine, action) + _work_of_writing(machine, written),
    )


async def run_look(vm: Vm, look: Callable[[], Answer | OctetsAnswer]) -> Response:
    """Run a look that wants the machine at rest, and make its response there."""
    machine = vm.runtime.machine
    return await vm.runtime.run(lambda: look().response(), work=lambda: work_of_look(machine))


async def run_peek(
    vm: Vm,
    slot: int,
    look: Callable[[], Answer | OctetsAnswer],
    *,
    written: Written | None,
) -> Response:
    """Run a look at a slot's log as it is, as `run_look` does."""
    machine = vm.runtime.machine
    return await vm.runtime.run(
        lambda: look().response(),
        work=lambda: work_of_copy(machine, slot) + _work_of_writing(machine, written),
    )


def _work_of_writing(machine: Machine, written: Written | None) -> int:
    match written:
        case (slot, LogForm.RANGES):
            return work_of_look(machine) + work_of_listing(machine, slot)
        case (_, LogForm.BASE64):
            return work_of_look(machine)
        case _:
            return 0


def access(vm: Vm, action: GuestWrite | GuestRead | HostWrite | HostUnmap) -> Answer:
    """Perform a batch of accesses."""
    return Answer(access_out(vm.runtime.perform(action)))


def set_memslot(
    vm: Vm, action: SetMemoryRegion, preconditions: Preconditions = NO_PRECONDITIONS
) -> Answer:
    """Create, change or delete a memslot."""
    preconditions.check(memslot_etag(vm, action.slot))
    outcome = vm.runtime.perform(action)
    body = memslot_change_out(outcome)
    etag = memslot_etag(vm, action.slot)
    if outcome.change is MemslotChange.CREATE:
        return Answer(body, 201, f"/v1/vms/{vm.vm_id}/memslots/{action.slot}", etag)
    return Answer(body, etag=etag)


def delete_memslot(vm: Vm, slot: int, preconditions: Preconditions = NO_PRECONDITIONS) -> Answer:
    """Delete a memslot."""
    preconditions.check(memslot_etag(vm, slot))
    vm.runtime.perform(SetMemoryRegion(slot))
    return Answer(None, 204)


def show_vm(vm: Vm, status: int = 200, location: str | None = None) -> Answer:
    """Show a VM."""
    etag = vm_etag(vm)  # first: were the VM changed meanwhile, the tag must be the older of the two
    return Answer(vm_out(vm), status, location, etag)


def set_capability(
    vm: Vm,
    action: SetManualProtect | SetEagerSplitChunkSize,
    preconditions: Preconditions = NO_PRECONDITIONS,
) -> Answer:
    """Set a capability of a VM."""
    preconditions.check(vm_etag(vm))
    vm.runtime.perform(action)
    return show_vm(vm)


def take_dirty_log(vm: Vm, action: GetDirtyLog, form: LogForm) -> DirtyLogOutcome:
    """Perform a get; one whose pages the answer could not carry is refused before it begins."""
    if form is LogForm.RANGES and (bitmap := _look(vm, action)) is not None:
        check_ranges(bitmap)
    return vm.runtime.perform(action)


def _look(vm: Vm, action: GetDirtyLog) -> NDArray[np.uint64] | None:
    """Peek at the log that a get will take; nothing where the get itself will be refused."""
    machine = vm.runtime.machine
    try:
        if action.cpu is not None:
            machine.cpu(action.cpu)
        return machine.peek_dirty_log(action.slot).bitmap
    except KvmError:
        return None


def get_dirty_log(vm: Vm, action: GetDirtyLog, form: LogForm) -> Answer:
    """Take the dirty log, answering its pages in JSON."""
    return Answer(dirty_log_out(take_dirty_log(vm, action, form), form))


def clear_dirty_log(vm: Vm, action: ClearDirtyLog) -> Answer:
    """Clear pages of the dirty log."""
    return Answer(dirty_log_out(vm.runtime.perform(action)))


def peek_dirty_log(vm: Vm, slot: int, form: LogForm) -> Answer:
    """Look at the dirty log, answering its pages in JSON."""
    outcome = vm.runtime.machine.peek_dirty_log(slot)
    if form is LogForm.RANGES and outcome.bitmap is not None:
        check_ranges(outcome.bitmap)
    return Answer(dirty_log_out(outcome, form))


def get_as_octets(vm: Vm, action: GetDirtyLog) -> OctetsAnswer:
    """Take the dirty log, answering the ioctl's own bytes."""
    return _octets(vm.runtime.perform(action))


def peek_as_octets(vm: Vm, slot: int) -> OctetsAnswer:
    """Look at the dirty log, answering the ioctl's own bytes."""
    return _octets(vm.runtime.machine.peek_dirty_log(slot))


def _octets(outcome: DirtyLogOutcome) -> OctetsAnswer:
    assert outcome.bitmap is not None, "a get or a peek has a bitmap"
    report = orjson.dumps(dirty_log_out(outcome, with_trace=False)).decode("ascii")
    return OctetsAnswer(octets_from_words(outcome.bitmap), {REPORT_HEADER: report})


def look_at_stage2(vm: Vm, window: Window) -> Answer:
    """Show runs of pages equal in level and state."""
    page = vm.runtime.machine.stage2(window.start, window.remaining, window.limit)
    token = "" if page.next_gfn is None else f"{page.next_gfn:016x}"
    body: Stage2Out = {"runs": [stage2_run_out(run) for run in page.runs], "next_page_token": token}
    return Answer(body)


def look_at_heat(vm: Vm, slot: int, bins: int) -> Answer:
    """Show a slot as a heat map."""
    return Answer(heat_out(vm.runtime.machine.heat(slot, bins)))


def set_cpu(vm: Vm, action: SetCpuOnline) -> Answer:
    """Plug a CPU in or out."""
    return Answer(cpu_out(vm.runtime.perform(action)))


def add_fault(vm: Vm, action: ArmFault) -> Answer:
    """Arm a fault."""
    view = vm.runtime.perform(action)
    return Answer(fault_out(view), 201, f"/v1/vms/{vm.vm_id}/faults/{view.fault_id}")


def delete_fault(vm: Vm, fault_id: str) -> Answer:
    """Disarm a fault."""
    vm.runtime.perform(DisarmFault(fault_id))
    return Answer(None, 204)


def add_workload(vm: Vm, action: AddWorkload) -> Answer:
    """Add a workload."""
    view = vm.runtime.perform(action)
    return Answer(workload_out(view), 201, f"/v1/vms/{vm.vm_id}/workloads/{view.workload_id}")


def delete_workloads(vm: Vm, *workload_ids: str) -> Answer:
    """Take workloads off."""
    for workload_id in workload_ids:
        vm.runtime.perform(RemoveWorkload(workload_id))
    return Answer(None, 204)


def delete_all_workloads(vm: Vm) -> Answer:
    """Take all workloads off."""
    return delete_workloads(vm, *(view.workload_id for view in vm.runtime.machine.workloads()))


def advance_clock(vm: Vm, action: AdvanceClock) -> Answer:
    """Let time pass while the guest is paused."""
    return Answer(clock_out(vm.runtime.perform(action)))


def run_guest(vm: Vm, action: RunGuest) -> Answer:
    """Let the workloads write."""
    return Answer(guest_run_out(vm.runtime.perform(action)))
