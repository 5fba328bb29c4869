"""A live machine: one simulated VM with its lock, its limits and its share of the budget."""

import asyncio
from collections.abc import Callable
from typing import TypeVar, overload

from app.fleet.budget import Account, StateBudget
from app.fleet.errors import FaultLimitError, PageLimitError
from app.fleet.limits import MAX_FAULTS_PER_VM, Limits
from app.fleet.tally import Tally
from app.fleet.work import INLINE_WORK
from app.sim import actions as a
from app.sim.base.errors import KvmError
from app.sim.machine import Machine

T = TypeVar("T")


class LiveMachine:
    """A machine that several requests may want at once.

    `run` gives one of them at a time the machine. What the core promises to be safe beside a
    running call (looks, arming and disarming a fault) may go to `machine` and `perform` directly.
    """

    def __init__(self, machine: Machine, limits: Limits, budget: StateBudget, tally: Tally) -> None:
        self.machine = machine
        self._limits = limits
        self._account = Account(budget)
        self._tally = tally
        self._lock = asyncio.Lock()
        self._hits: dict[a.FaultType, int] = {}
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

    def close(self) -> None:
        """Give the machine's bytes back to the budget; a call in flight may still finish."""
        self._account.close()

    @overload
    def perform(self, action: a.SetMemoryRegion) -> a.MemslotOutcome: ...
    @overload
    def perform(
        self, action: a.GuestWrite | a.GuestRead | a.HostWrite | a.HostUnmap
    ) -> a.AccessOutcome: ...
    @overload
    def perform(self, action: a.GetDirtyLog | a.ClearDirtyLog) -> a.DirtyLogOutcome: ...
    @overload
    def perform(self, action: a.SetCpuOnline) -> a.UnitView: ...
    @overload
    def perform(self, action: a.ArmFault | a.DisarmFault) -> a.FaultView: ...
    @overload
    def perform(self, action: a.SetManualProtect | a.SetEagerSplitChunkSize) -> None: ...
    def perform(self, action: a.Action) -> object:
        """Perform an action within the fleet's limits; the caller holds the lock where needed."""
        match action:
            case a.SetMemoryRegion():
                return self._set_memory_region(action)
            case a.GetDirtyLog() | a.ClearDirtyLog():
                return self._dirty_log(action)
            case a.ArmFault():
                return self._arm_fault(action)
            case _:
                return self.machine.perform(action)

    def _set_memory_region(self, action: a.SetMemoryRegion) -> a.MemslotOutcome:
        try:
            after = self.machine.footprint_after(action)
        except KvmError:
            # A refusal of the kernel comes before ours, with what it changes on the way (a refused
            # move has unmapped the slot), so let it be performed and refused.
            return self.machine.perform(action)
        if after.pages > max(self.machine.footprint.pages, self._limits.max_pages_per_vm):
            raise PageLimitError(
                f"the VM would have {after.pages} pages,"
                f" HACDBS_MAX_PAGES_PER_VM allows {self._limits.max_pages_per_vm}",
                field="memory_size",
                bound=self._limits.max_pages_per_vm,
                value=after.pages,
            )
        self._account.hold(after.state_bytes)
        try:
            return self.machine.perform(action)
        except BaseException:
            self._account.hold(self.machine.footprint.state_bytes)
            raise

    def _dirty_log(self, action: a.GetDirtyLog | a.ClearDirtyLog) -> a.DirtyLogOutcome:
        try:
            outcome = self.machine.perform(action)
        finally:
            # A call that is refused may have been so by a fault.
            self._tally_hits()
        self._tally.record(outcome)
        return outcome

    def _tally_hits(self) -> None:
        hits = self.machine.fault_hits()
        if hits != self._hits:
            self._tally.record_hits(hits, self._hits)
            self._hits = hits

    def _arm_fault(self, action: a.ArmFault) -> a.FaultView:
        if len(self.machine.faults()) >= MAX_FAULTS_PER_VM:
            raise FaultLimitError(
                f"the VM has {MAX_FAULTS_PER_VM} faults, as many as one VM takes",
                bound=MAX_FAULTS_PER_VM,
            )
        return self.machine.perform(action)
