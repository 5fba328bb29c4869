"""A live VM: its backend with a lock, the service's limits and its share of the budget.

Limits, events and the order of changes wrap the backend here, once for all actions.
"""

import asyncio
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from dataclasses import asdict
from functools import cache
from typing import Any, Final, Protocol, TypeAlias, TypeVar, cast, runtime_checkable

from hacdbs_sim import model
from hacdbs_sim.model.base import WORK_PER_ACTION
from hacdbs_sim.model.errors import KvmError
from hacdbs_sim.sim.machine.estimates import least_work
from hacdbs_sim.vmm import DirtyRate, DirtyTracking

from .background import retrieve
from .budget import Account, StateBudget
from .errors import FaultLimitError, NoSuchVmError, PageLimitError, WorkloadLimitError
from .limits import Limits
from .order import Order, VmOrder
from .totals import Totals

T = TypeVar("T")

_SETTINGS: Final = (model.AddFault, model.AddWorkload, model.SetMemslot, model.TrackVersions)
"""Actions that set a VM up: performed after its creation, they do what they do in it."""

INLINE_WORK: Final = 1 << 16
"""Work done on the event loop itself: about a millisecond. More goes to a worker thread."""

WORK_PER_RANGE: Final = 8
"""The work of a response for each range that it may list."""

WORK_PER_PART: Final = 1 << 9
"""The work of showing a memslot, a fault or a workload: about 10 us."""

PIECES_AT_ONCE: Final = 256
"""A VM of more memslots is freed one by one: one takes 3 us."""

WORK_PER_FAULT: Final = 1 << 7
"""The work of a get or clear for each armed fault: where one hits, all are searched."""


VM_BYTES: Final = 8 << 10
SLOT_BYTES: Final = 2 << 10
FAULT_BYTES: Final = 1 << 9
"""What a VM, a slot and a fault hold as objects (measured, from above)."""

_MACHINES: Final = ThreadPoolExecutor(thread_name_prefix="machine")
"""Threads of calls on machines: bodies, answers and lists have others, and never wait for these."""

Emit: TypeAlias = Callable[..., None]
"""Receives the type, `now_ns` and `details` of what happens on a VM."""


@runtime_checkable
class HoldsResources(Protocol):
    """A backend that holds more than memory of Python: it is closed once nobody uses it."""

    def close(self) -> None:
        """Free what it holds; no action may come afterwards."""


@runtime_checkable
class HoldsPieces(Protocol):
    """A backend that may consist of many objects: freed at once, they would hold the interpreter."""

    def pieces(self) -> list[object]:
        """Return the objects that it consists of, but for a few."""


class VmRuntime:
    """A VM that several requests may want at once; itself a `Backend`.

    `run` gives the VM to one of them at a time. What the backend promises to be safe beside a running
    call (queries, arming and disarming a fault) may go to `query` and `perform` directly.

    Every change takes a number of the order when it begins. One that a limit refuses does not begin;
    one that the backend refuses has begun, and may have changed something (docs/kernel.md S.2).

    `make` makes the backend. It is given a function to call once a get or clear has read the board of
    faults: from then on a fault that is armed is behind it in the order.

    `tracking` is what its migrations and its dirty rate share. Once it `is_deleted`, nobody runs its
    guest any more. It `was_used` once an action has been performed that does not only set it up.
    """

    def __init__(
        self,
        make: Callable[[Callable[[], None]], model.Backend],
        limits: Limits,
        budget: StateBudget,
        totals: Totals,
        order: Order,
    ) -> None:
        # The backend knows the order, not this object: a circle would keep the planes of a VM that is
        # deleted until a collection.
        self._order = VmOrder(order)
        self._backend = make(self._order.entered)
        self._limits = limits
        self._account = Account(budget)
        self._totals = totals
        self.tracking = DirtyTracking()
        self.dirty_rate = DirtyRate(self.tracking)
        self.is_deleted = False
        self.was_used = False
        self._lock = asyncio.Lock()
        self._memslots = self._workloads = self._faults = 0
        self._has_had_faults = False
        self._hits: dict[model.FaultType, int] = {}
        self._hits_emitted: dict[str, int] = {}
        self._emit_to: Emit | None = None
        self._destruction: asyncio.Task[None] | None = None
        self._is_destroyed = False
        try:
            self._hold_footprint()
        except BaseException:
            if isinstance(self._backend, HoldsResources):
                self._backend.close()
            raise

    async def run(self, call: Callable[[], T], *, work: Callable[[], int]) -> T:
        """Run `call` while holding the lock: here if it is short, else in a worker thread.

        `work` estimates it once the lock is held: the calls before may have grown the machine.
        A request that is cancelled while its thread works leaves the lock with the thread, so
        that no other call enters a machine that is still being changed.
        """
        await self._lock.acquire()
        thread: asyncio.Future[T] | None = None
        try:
            if self._is_destroyed:
                raise NoSuchVmError("the VM has been deleted", field="vm_id")
            if work() <= INLINE_WORK:
                return call()
            # A future, not a task: a task that is cancelled before its first step releases nothing
            loop = asyncio.get_running_loop()
            thread = loop.run_in_executor(_MACHINES, copy_context().run, call)
            thread.add_done_callback(self._release)
        finally:
            if thread is None:
                self._lock.release()
        try:
            return await asyncio.shield(thread)
        finally:
            # Its exception refers to this frame: a circle would keep the VM and the request
            del thread

    def _release(self, thread: asyncio.Future[Any]) -> None:
        self._lock.release()
        retrieve(thread)

    def publish(self, session_id: str, vm_id: str, emit: Emit) -> None:
        """Publish the VM under an id: from now on, emit its events and number its changes."""
        self._emit_to = emit
        self._order.open(session_id, vm_id)

    def close(self) -> None:
        """Return the VM's bytes to the budget; emit and number what a call in flight does no more.

        A backend that holds resources is closed behind the calls that wait, in a thread: to unmap
        guest memory takes its time.
        """
        self.is_deleted = True
        self._order.close()
        self._emit_to = None
        if not _is(type(self._backend), HoldsResources):
            self._account.close()
            if self._memslots > PIECES_AT_ONCE and isinstance(self._backend, HoldsPieces):
                free_with(self._backend)
            return
        backend = cast("HoldsResources", self._backend)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # a worker thread that makes VMs: nobody else has this one
            self._destroy(backend)
            return
        if self._destruction is None:
            self._destruction = loop.create_task(self._destroy_at_rest(backend))

    @property
    def is_closed(self) -> bool:
        """Whether a closed VM's backend holds nothing more."""
        return self._destruction is None or self._destruction.done()

    async def closed(self) -> None:
        """Wait until a closed VM's backend is closed too."""
        if self._destruction is not None:
            await self._destruction

    async def _destroy_at_rest(self, backend: HoldsResources) -> None:
        async with self._lock:
            self._is_destroyed = True
            await asyncio.to_thread(self._destroy, backend)

    def _destroy(self, backend: HoldsResources) -> None:
        self._is_destroyed = True
        backend.close()
        self._account.close()

    # The backend

    @property
    def capabilities(self) -> model.BackendInfo:
        """The capabilities of the backend."""
        return self._backend.capabilities

    @property
    def parts(self) -> int:
        """The number of slots, faults and workloads."""
        return self._memslots + self._faults + self._workloads

    def supports(self, kind: type[model.Operation[Any]]) -> bool:
        """Whether the backend performs such operations."""
        return kind.op in self._backend.capabilities.ops

    def query(self, query: model.Query[T]) -> T:
        """Return the result of a query."""
        return self._backend.query(query)

    def estimate(self, action: model.Action[Any]) -> model.Estimate:
        """Estimate an action; may raise as `perform` would."""
        return self._backend.estimate(action)

    def work(self, action: model.Action[Any]) -> int:
        """Estimate the work of an action; one that is refused takes little."""
        if (least := least_work(action)) > INLINE_WORK:
            return least
        try:
            work = self._backend.estimate(action).work
        except KvmError:
            return WORK_PER_ACTION
        if self._faults and isinstance(action, model.GetDirtyLog | model.ClearDirtyLog):
            return work + WORK_PER_FAULT * self._faults
        return work

    def sweep_work(self, pages_per_work: int) -> int:
        """Estimate the work of going over all pages, `pages_per_work` of them for one of it."""
        pages = self._backend.query(model.GetFootprint()).pages
        return WORK_PER_ACTION + pages // pages_per_work

    def work_of_all_memslots(self, pages_per_work: int) -> int:
        """Estimate the work of going over all pages, memslot by memslot."""
        return WORK_PER_PART * self._memslots + self.sweep_work(pages_per_work)

    def work_of_showing(self) -> int:
        """Estimate the work of showing the VM with all its parts."""
        return WORK_PER_ACTION + WORK_PER_PART * self.parts

    def perform(self, action: model.Action[T]) -> T:
        """Perform an action within the limits; the caller holds the lock where needed."""
        if not (self.was_used or isinstance(action, _SETTINGS)):
            self.was_used = True
        special = _PERFORM.get(type(action))
        if special is not None:
            return cast("T", special(self, action))
        self._order.take(action)
        return self._backend.perform(action)

    def _hold_and_perform(self, action: model.Action[Any]) -> object:
        """Perform an action that changes the VM's bytes; take the bytes for it first."""
        try:
            after = self._backend.estimate(action)
        except KvmError:
            # A refusal of the kernel comes before ours, with what it changes on the way (a refused
            # move has unmapped the slot), so let it be performed and refused.
            pass
        else:
            self._check_limits(action, after)
            after_bytes = after.state_bytes + self._bytes_of_parts()
            if isinstance(action, model.SetMemslot):
                after_bytes += SLOT_BYTES
            self._account.hold(max(after_bytes, self._account.held_bytes))
        try:
            self._order.take(action)
            outcome = self._backend.perform(action)
            self._count_parts(action, outcome)
            return outcome
        finally:
            self._hold_footprint()

    def _count_parts(self, action: model.Action[Any], outcome: object) -> None:
        if isinstance(outcome, model.ChangedMemslot):
            self._memslots += outcome.change is model.MemslotChange.CREATE
            self._memslots -= outcome.change is model.MemslotChange.DELETE
        elif isinstance(action, model.DeleteWorkloads):
            self._workloads = 0
        else:
            self._workloads += isinstance(action, model.AddWorkload)
            self._workloads -= isinstance(action, model.DeleteWorkload)

    def _hold_footprint(self) -> None:
        state_bytes = self._backend.query(model.GetFootprint()).state_bytes
        self._account.hold(state_bytes + self._bytes_of_parts())

    def _bytes_of_parts(self) -> int:
        return VM_BYTES + SLOT_BYTES * self._memslots + FAULT_BYTES * self._faults

    def _check_limits(self, action: model.Action[Any], after: model.Estimate) -> None:
        most = self._limits.max_pages_per_vm
        if after.pages > max(self._backend.query(model.GetFootprint()).pages, most):
            detail = f"the VM would have {after.pages} pages, HACDBS_MAX_PAGES_PER_VM allows {most}"
            raise PageLimitError(detail, field="memory_size", bound=most, value=after.pages)
        if isinstance(action, model.AddWorkload):
            most = model.MAX_WORKLOADS_PER_VM
            if self._workloads >= most:
                detail = f"the VM has {most} workloads, as many as one VM takes"
                raise WorkloadLimitError(detail, bound=most)

    def _add_fault(self, action: model.AddFault) -> model.FaultInfo:
        most = model.MAX_FAULTS_PER_VM
        try:
            self._order.enter()
            if self._faults >= most:
                detail = f"the VM has {most} faults, as many as one VM takes"
                raise FaultLimitError(detail, bound=most)
            self._account.hold(self._account.held_bytes + FAULT_BYTES)
            self._order.number(action)
            try:
                fault = self._backend.perform(action)
            except KvmError:
                self._account.hold(self._account.held_bytes - FAULT_BYTES)
                raise
            self._faults += 1
            self._has_had_faults = True
            return fault
        finally:
            self._order.entered()

    def _delete_faults(self, action: model.DeleteFault | model.DeleteFaults) -> object:
        try:
            self._order.enter()
            self._order.number(action)
            outcome = self._backend.perform(action)
            gone = self._faults if isinstance(action, model.DeleteFaults) else 1
            self._faults -= gone
            self._account.hold(self._account.held_bytes - FAULT_BYTES * gone)
            return outcome
        finally:
            self._order.entered()

    def _set_cpu(self, action: model.SetCpu) -> model.CpuInfo:
        was_online: bool | None = None
        if self.supports(model.GetCpu):
            was_online = self._backend.query(model.GetCpu(cpu=action.cpu)).online
        self._order.take(action)
        outcome = self._backend.perform(action)
        if outcome.online is not was_online:
            details: dict[str, model.Detail] = {"cpu": outcome.cpu, "online": outcome.online}
            self._emit(model.EventType.CPU_CHANGED, details)
        return outcome

    def _take_log(self, action: model.Action[model.DirtyLog]) -> model.DirtyLog:
        try:
            self._order.enter()
            self._order.number(action)
            outcome = self._backend.perform(action)
        finally:
            self._order.entered()
            # A call that is refused may have been so by a fault.
            if self._has_had_faults:
                self._count_hits()
        self._totals.record(outcome)
        self._emit_fallback(action, outcome)
        return outcome

    # What happened

    def _count_hits(self) -> None:
        hits = self._backend.query(model.CountFaultHits())
        if hits != self._hits:
            self._totals.record_hits(hits, self._hits)
            self._hits = hits
            self._emit_hits()

    def _emit(self, kind: model.EventType, details: dict[str, model.Detail]) -> None:
        if (emit := self._emit_to) is not None:  # `close` may come from another thread
            emit(kind, now_ns=self._backend.query(model.GetClock()).now_ns, details=details)

    def _emit_hits(self) -> None:
        """Emit each fault that has hit since the last time, except disarmed ones."""
        hit = {each.fault_id: each for each in self._backend.query(model.ListFaults()) if each.hits}
        for fault_id, fault in hit.items():
            if fault.hits == self._hits_emitted.get(fault_id) or fault.last_hit is None:
                continue
            place = asdict(fault.last_hit)
            del place["opportunity"]
            self._emit(
                model.EventType.FAULT_HIT,
                {
                    "fault_id": fault_id,
                    "fault_type": fault.type.value,
                    "hits": fault.hits,
                    **place,
                    "op": fault.last_hit.op.value,
                },
            )
        self._hits_emitted = {fault_id: fault.hits for fault_id, fault in hit.items()}

    def _emit_fallback(self, action: model.Action[Any], outcome: model.DirtyLog) -> None:
        hook = outcome.accelerator
        if hook is None or hook.outcome is model.AcceleratorOutcome.CLEANED:
            return
        error = hook.error
        self._emit(
            model.EventType.FELL_BACK,
            {
                "op": "get" if isinstance(action, model.GetDirtyLog) else "clear",
                "slot": outcome.slot,
                "cpu": hook.cpu,
                "outcome": hook.outcome.value,
                "errno": None if hook.errno is None else hook.errno.value,
                "reason": None if error is None else error.reason.value,
                "batch": None if error is None else error.batch,
                "index": None if error is None else error.index,
                "gfn": None if error is None else error.gfn,
                "cleaned": hook.cleaned,
                "software_pages": model.known(outcome.software).pages,
            },
        )


_PERFORM: Final[dict[type[model.Action[Any]], Callable[[VmRuntime, Any], object]]] = {
    model.SetMemslot: VmRuntime._hold_and_perform,
    model.DeleteMemslot: VmRuntime._hold_and_perform,
    **dict.fromkeys(model.WORKLOADS, VmRuntime._hold_and_perform),
    model.DeleteWorkload: VmRuntime._hold_and_perform,
    model.DeleteWorkloads: VmRuntime._hold_and_perform,
    model.TrackVersions: VmRuntime._hold_and_perform,
    model.NeedVersions: VmRuntime._hold_and_perform,
    model.HostDiscard: VmRuntime._hold_and_perform,
    model.HintFree: VmRuntime._hold_and_perform,
    **dict.fromkeys(model.FAULTS.values(), VmRuntime._add_fault),
    model.DeleteFault: VmRuntime._delete_faults,
    model.DeleteFaults: VmRuntime._delete_faults,
    model.SetCpu: VmRuntime._set_cpu,
    model.GetDirtyLog: VmRuntime._take_log,
    model.ClearDirtyLog: VmRuntime._take_log,
}
"""The handlers of actions for which the service does more than to number them."""


def free_with(backend: HoldsPieces) -> None:
    """Have the pieces of a backend freed one by one, once nobody uses it."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # a worker thread that makes VMs, in which nobody waits for it
        return
    weakref.finalize(backend, _free_in_thread, backend.pieces(), loop).atexit = False


def free_later(things: list[Any]) -> None:
    """Have what nobody else uses freed one by one in a worker thread, if others might wait for it."""
    with suppress(RuntimeError):  # without a loop nobody waits
        _free_in_thread(things, asyncio.get_running_loop())


def _free_in_thread(things: list[Any], loop: asyncio.AbstractEventLoop) -> None:
    def free() -> None:
        while things:
            things.pop()  # others run between two of them

    if not loop.is_closed():
        loop.call_soon_threadsafe(loop.run_in_executor, None, free)


@cache
def _is(kind: type, protocol: type) -> bool:
    """Whether a class has a protocol; to ask an object takes 25 us."""
    return issubclass(kind, protocol)
