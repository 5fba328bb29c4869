"""A live machine: one simulated VM with its lock, its limits and its share of the budget."""

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar, overload

from hacdbs_sim import model as a
from hacdbs_sim.model.errors import KvmError
from hacdbs_sim.sim.machine import Machine

from .budget import Account, StateBudget
from .cost_estimate import INLINE_WORK
from .errors import FaultLimitError, PageLimitError, WorkloadLimitError
from .events import Detail, EventType
from .limits import MAX_FAULTS_PER_VM, MAX_WORKLOADS_PER_VM, Limits
from .totals import Totals

T = TypeVar("T")


class Tell(Protocol):
    """Who is told what happens on a machine."""

    def __call__(self, type: EventType, *, now_ns: int, details: dict[str, Detail]) -> None:  # noqa: A002 - the field's name
        """Tell of one event."""
        ...


class VmRuntime:
    """A machine that several requests may want at once.

    `run` gives one of them at a time the machine. What the core promises to be safe beside a
    running call (looks, arming and disarming a fault) may go to `machine` and `perform` directly.
    """

    def __init__(
        self, machine: Machine, limits: Limits, budget: StateBudget, totals: Totals
    ) -> None:
        self.machine = machine
        self._limits = limits
        self._account = Account(budget)
        self._totals = totals
        self._lock = asyncio.Lock()
        self._hits: dict[a.FaultType, int] = {}
        self._hits_told: dict[str, int] = {}
        self._tell: Tell | None = None
        self._account.hold(machine.footprint.state_bytes)

    async def run(self, call: Callable[[], T], *, work: Callable[[], int]) -> T:
        """Run `call` while holding the lock: here if it is short, else in a worker thread.

        `work` estimates it once the lock is held: the calls before may have grown the machine.
        A request that is cancelled while its thread works leaves the lock with the thread, so
        that nobody else enters a machine that is still being changed.
        """
        await self._lock.acquire()
        thread = None
        try:
            if work() <= INLINE_WORK:
                return call()
            thread = asyncio.ensure_future(self._run_in_thread(call))
        finally:
            if thread is None:
                self._lock.release()
        return await asyncio.shield(thread)

    async def _run_in_thread(self, call: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(call)
        finally:
            self._lock.release()

    def announce_to(self, tell: Tell) -> None:
        """Tell from now on what happens."""
        self._tell = tell

    def close(self) -> None:
        """Give the machine's bytes back to the budget; a call in flight may finish, untold."""
        self._account.close()
        self._tell = None

    @overload
    def perform(self, action: a.SetMemslot) -> a.ChangedMemslot: ...
    @overload
    def perform(
        self, action: a.GuestWrite | a.GuestRead | a.HostWrite | a.HostUnmap
    ) -> a.AccessOutcome: ...
    @overload
    def perform(self, action: a.GetDirtyLog | a.ClearDirtyLog) -> a.DirtyLog: ...
    @overload
    def perform(self, action: a.SetCpu) -> a.CpuInfo: ...
    @overload
    def perform(self, action: a.ArmFault | a.DeleteFault) -> a.FaultInfo: ...
    @overload
    def perform(self, action: a.AddWorkload | a.DeleteWorkload) -> a.WorkloadInfo: ...
    @overload
    def perform(self, action: a.AdvanceClock) -> a.Clock: ...
    @overload
    def perform(self, action: a.RunGuest) -> a.GuestRun: ...
    @overload
    def perform(
        self, action: a.SetManualProtect | a.SetEagerSplitChunkSize | a.TrackVersions
    ) -> None: ...
    def perform(self, action: a.Action) -> object:  # noqa: PLR0911 - one return an action
        """Perform an action within the fleet's limits; the caller holds the lock where needed."""
        match action:
            case a.GuestWrite() | a.GuestRead() | a.HostWrite() | a.HostUnmap():
                # As the last case, but first: a batch makes thousands, and each case costs.
                return self.machine.perform(action)
            case a.SetMemslot():
                return self._set_memory_region(action)
            case a.AddWorkload():
                return self._add_workload(action)
            case a.TrackVersions():
                return self._holding(action, self.machine.footprint_after(action))
            case a.DeleteWorkload():
                return self._remove_workload(action)
            case a.GetDirtyLog() | a.ClearDirtyLog():
                return self._dirty_log(action)
            case a.ArmFault():
                return self._arm_fault(action)
            case a.SetCpu():
                return self._set_cpu_online(action)
            case _:
                return self.machine.perform(action)

    def _set_memory_region(self, action: a.SetMemslot) -> a.ChangedMemslot:
        try:
            after = self.machine.footprint_after(action)
        except KvmError:
            # A refusal of the kernel comes before ours, with what it changes on the way (a refused
            # move has unmapped the slot), so let it be performed and refused.
            return self.machine.perform(action)
        if after.pages > max(self.machine.pages, self._limits.max_pages_per_vm):
            raise PageLimitError(
                f"the VM would have {after.pages} pages,"
                f" HACDBS_MAX_PAGES_PER_VM allows {self._limits.max_pages_per_vm}",
                field="memory_size",
                bound=self._limits.max_pages_per_vm,
                value=after.pages,
            )
        return self._holding(action, after)

    def _add_workload(self, action: a.AddWorkload) -> a.WorkloadInfo:
        if len(self.machine.workloads()) >= MAX_WORKLOADS_PER_VM:
            raise WorkloadLimitError(
                f"the VM has {MAX_WORKLOADS_PER_VM} workloads, as many as one VM takes",
                bound=MAX_WORKLOADS_PER_VM,
            )
        return self._holding(action, self.machine.footprint_after(action))

    def _remove_workload(self, action: a.DeleteWorkload) -> a.WorkloadInfo:
        view = self.machine.perform(action)
        self._account.hold(self.machine.footprint.state_bytes)
        return view

    @overload
    def _holding(self, action: a.SetMemslot, after: a.Footprint) -> a.ChangedMemslot: ...
    @overload
    def _holding(self, action: a.AddWorkload, after: a.Footprint) -> a.WorkloadInfo: ...
    @overload
    def _holding(self, action: a.TrackVersions, after: a.Footprint) -> None: ...
    def _holding(
        self, action: a.SetMemslot | a.AddWorkload | a.TrackVersions, after: a.Footprint
    ) -> object:
        """Perform what makes the machine hold more, or less, with the bytes for it taken first."""
        self._account.hold(after.state_bytes)
        try:
            return self.machine.perform(action)
        except BaseException:
            self._account.hold(self.machine.footprint.state_bytes)
            raise

    def _dirty_log(self, action: a.GetDirtyLog | a.ClearDirtyLog) -> a.DirtyLog:
        try:
            outcome = self.machine.perform(action)
        finally:
            # A call that is refused may have been so by a fault.
            self._tally_hits()
        self._totals.record(outcome)
        self._tell_fallback(action, outcome)
        return outcome

    def _tally_hits(self) -> None:
        hits = self.machine.fault_hits()
        if hits != self._hits:
            self._totals.record_hits(hits, self._hits)
            self._hits = hits
            self._tell_hits()

    def _emit(self, kind: EventType, details: dict[str, Detail]) -> None:
        if self._tell is not None:
            self._tell(kind, now_ns=self.machine.clock().now_ns, details=details)

    def _tell_hits(self) -> None:
        """Tell of each fault that has hit since the last time; disarmed ones are gone."""
        views = {view.fault_id: view for view in self.machine.faults() if view.hits}
        for fault_id, view in views.items():
            last = view.last_hit
            if view.hits == self._hits_told.get(fault_id) or last is None:
                continue
            self._emit(
                EventType.FAULT_HIT,
                {
                    "fault_id": fault_id,
                    "fault_type": view.spec.type.value,
                    "hits": view.hits,
                    "op": last.op.value,
                    "slot": last.slot,
                    "cpu": last.cpu,
                    "batch": last.batch,
                    "index": last.index,
                    "gfn": last.gfn,
                },
            )
        self._hits_told = {fault_id: view.hits for fault_id, view in views.items()}

    def _tell_fallback(
        self, action: a.GetDirtyLog | a.ClearDirtyLog, outcome: a.DirtyLog
    ) -> None:
        hook = outcome.accelerator
        if hook is None or hook.outcome is a.AcceleratorOutcome.CLEANED:
            return
        error = hook.error
        self._emit(
            EventType.FELL_BACK,
            {
                "op": "get" if isinstance(action, a.GetDirtyLog) else "clear",
                "slot": outcome.slot,
                "cpu": hook.cpu,
                "outcome": hook.outcome.value,
                "errno": None if hook.errno is None else hook.errno.value,
                "reason": None if error is None else error.reason.value,
                "batch": None if error is None else error.batch,
                "index": None if error is None else error.index,
                "gfn": None if error is None else error.gfn,
                "cleaned": hook.cleaned,
                "software_pages": outcome.software.pages,
            },
        )

    def _set_cpu_online(self, action: a.SetCpu) -> a.CpuInfo:
        was_online = self.machine.cpu(action.cpu).online
        view = self.machine.perform(action)
        if view.online is not was_online:
            self._emit(EventType.CPU_CHANGED, {"cpu": view.cpu, "online": view.online})
        return view

    def _arm_fault(self, action: a.ArmFault) -> a.FaultInfo:
        if len(self.machine.faults()) >= MAX_FAULTS_PER_VM:
            raise FaultLimitError(
                f"the VM has {MAX_FAULTS_PER_VM} faults, as many as one VM takes",
                bound=MAX_FAULTS_PER_VM,
            )
        return self.machine.perform(action)
