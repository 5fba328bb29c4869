"""A live VM: its backend with a lock, the service's limits and its share of the budget.

Limits, events and the order of changes wrap the backend here, once for all actions.
"""

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from threading import Lock, get_ident
from typing import Any, Final, Protocol, TypeVar, cast, runtime_checkable

from hacdbs_sim import model
from hacdbs_sim.model.errors import KvmError

from .budget import Account, StateBudget
from .errors import FaultLimitError, NoSuchVmError, PageLimitError, WorkloadLimitError
from .limits import Limits
from .order import Order
from .totals import Totals

T = TypeVar("T")

INLINE_WORK: Final = 1 << 16
"""Work done on the event loop itself: about a millisecond. More goes to a worker thread."""

WORK_PER_RANGE: Final = 8
"""What an answer costs for each range that it may list."""

WORK_PER_ACTION: Final = 1 << 10
"""What any action costs beside its pages, decoding and answer included."""

_HOLDS_MORE_OR_LESS: Final = (
    model.SetMemslot,
    model.DeleteMemslot,
    model.AddWorkload,
    model.TrackVersions,
)
_CONSIDERS_FAULTS: Final = (model.GetDirtyLog, model.ClearDirtyLog)


class Emit(Protocol):
    """Receives what happens on a VM."""

    def __call__(
        self,
        type: model.EventType,  # noqa: A002 - the field's name
        *,
        now_ns: int,
        details: dict[str, model.Detail],
    ) -> None:
        """Receive one event."""
        ...


@runtime_checkable
class HoldsResources(Protocol):
    """A backend that holds more than memory of Python: it is closed once nobody uses it."""

    def close(self) -> None:
        """Free what it holds; no action may come afterwards."""
        ...


class VmRuntime:
    """A VM that several requests may want at once; itself a `Backend`.

    `run` gives one of them at a time the VM. What the backend promises to be safe beside a running
    call (queries, arming and disarming a fault) may go to `query` and `perform` directly.

    Args:
        make: Makes the backend. It is given a function to call once a get or clear has read the
            board of faults: from then on a fault that is armed is behind it in the order.
        limits: What a VM may have.
        budget: The bytes that all VMs share.
        totals: What all VMs did together.
        order: The order of changes.
    """

    def __init__(
        self,
        make: Callable[[Callable[[], None]], model.Backend],
        limits: Limits,
        budget: StateBudget,
        totals: Totals,
        order: Order,
    ) -> None:
        self._entering = Lock()
        self._entering_thread: int | None = None
        self._backend = make(self._entered)
        self._limits = limits
        self._account = Account(budget)
        self._totals = totals
        self._order = order
        self._name: tuple[str, str] = ("", "")
        self._lock = asyncio.Lock()
        self._hits: dict[model.FaultType, int] = {}
        self._hits_emitted: dict[str, int] = {}
        self._emit_to: Emit | None = None
        self._destruction: asyncio.Task[None] | None = None
        self._is_destroyed = False
        try:
            self._account.hold(self._backend.query(model.GetFootprint()).state_bytes)
        except BaseException:
            if isinstance(self._backend, HoldsResources):
                self._backend.close()
            raise

    async def run(self, call: Callable[[], T], *, work: Callable[[], int]) -> T:
        """Run `call` while holding the lock: here if it is short, else in a worker thread.

        `work` estimates it once the lock is held: the calls before may have grown the machine.
        A request that is cancelled while its thread works leaves the lock with the thread, so
        that nobody else enters a machine that is still being changed.

        Raises:
            NoSuchVmError: The VM was deleted while the call waited, and its backend is closed.
        """
        await self._lock.acquire()
        thread = None
        try:
            if self._is_destroyed:
                raise NoSuchVmError("the VM has been deleted", field="vm_id", value=self._name[1])
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

    def publish(self, session_id: str, vm_id: str, emit: Emit) -> None:
        """Be known by an id from now on, and emit what happens."""
        self._name = (session_id, vm_id)
        self._emit_to = emit

    def close(self) -> None:
        """Return the VM's bytes to the budget; a call in flight may finish, and emits nothing.

        A backend that holds resources is closed behind the calls that wait, in a thread: to unmap
        guest memory takes its time.
        """
        self._emit_to = None
        if not isinstance(self._backend, HoldsResources):
            self._account.close()
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # a worker thread that makes VMs: nobody else has this one
            self._destroy(self._backend)
            return
        if self._destruction is None:
            self._destruction = loop.create_task(self._destroy_at_rest(self._backend))

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
        """What the backend can do."""
        return self._backend.capabilities

    def supports(self, kind: type[model.Operation[Any]]) -> bool:
        """Whether the backend performs such operations."""
        return kind.op in self._backend.capabilities.ops

    def query(self, query: model.Query[T]) -> T:
        """Look at the VM.

        Raises:
            KvmError: There is no such thing.
        """
        return self._backend.query(query)

    def estimate(self, action: model.Action[Any]) -> model.Estimate:
        """Estimate an action; may raise as `perform` would."""
        return self._backend.estimate(action)

    def work(self, action: model.Action[Any]) -> int:
        """Estimate the work of an action; one that is refused takes little."""
        try:
            return self._backend.estimate(action).work
        except KvmError:
            return WORK_PER_ACTION

    def perform(self, action: model.Action[T]) -> T:
        """Perform an action within the limits; the caller holds the lock where needed.

        Raises:
            KvmError: What the backend or a limit refuses.
        """
        if isinstance(action, _HOLDS_MORE_OR_LESS):
            return self._hold_and_perform(cast("model.Action[T]", action))
        if isinstance(action, _CONSIDERS_FAULTS):
            return cast("T", self._take_log(cast("model.Action[model.DirtyLog]", action)))
        if isinstance(action, model.AddFault):
            self._check_faults()
        was_online = self._is_online(action)
        outcome = self._begin(action)
        if isinstance(action, model.DeleteWorkload | model.DeleteWorkloads):
            self._account.hold(self._backend.query(model.GetFootprint()).state_bytes)
        if isinstance(outcome, model.CpuInfo) and outcome.online is not was_online:
            details: dict[str, model.Detail] = {"cpu": outcome.cpu, "online": outcome.online}
            self._emit(model.EventType.CPU_CHANGED, details)
        return outcome

    def _begin(self, action: model.Action[T]) -> T:
        """Take a number and perform.

        The lock makes one step of taking a number and reading the board of faults. A call that does
        not read it lets go at once; so arming a fault, which takes the lock too, never waits.
        """
        self._entering.acquire()
        self._entering_thread = get_ident()
        try:
            self._order.take(*self._name, action)
            if not isinstance(action, _CONSIDERS_FAULTS) and not isinstance(
                action, model.AddFault | model.DeleteFault | model.DeleteFaults
            ):
                self._entered()
            return self._backend.perform(action)
        finally:
            self._entered()

    def _entered(self) -> None:
        if self._entering_thread == get_ident():
            self._entering_thread = None
            self._entering.release()

    def _hold_and_perform(self, action: model.Action[T]) -> T:
        """Perform what makes the VM hold more, or less, with the bytes for it taken first."""
        try:
            after = self._backend.estimate(action)
        except KvmError:
            # A refusal of the kernel comes before ours, with what it changes on the way (a refused
            # move has unmapped the slot), so let it be performed and refused.
            return self._begin(action)
        self._check_limits(action, after)
        self._account.hold(after.state_bytes)
        try:
            return self._begin(action)
        except BaseException:
            self._account.hold(self._backend.query(model.GetFootprint()).state_bytes)
            raise

    def _check_limits(self, action: model.Action[Any], after: model.Estimate) -> None:
        most = self._limits.max_pages_per_vm
        if after.pages > max(self._backend.query(model.GetFootprint()).pages, most):
            raise PageLimitError(
                f"the VM would have {after.pages} pages, HACDBS_MAX_PAGES_PER_VM allows {most}",
                field="memory_size",
                bound=most,
                value=after.pages,
            )
        if isinstance(action, model.AddWorkload):
            most = model.MAX_WORKLOADS_PER_VM
            if len(self._backend.query(model.ListWorkloads())) >= most:
                raise WorkloadLimitError(
                    f"the VM has {most} workloads, as many as one VM takes", bound=most
                )

    def _check_faults(self) -> None:
        most = model.MAX_FAULTS_PER_VM
        if len(self._backend.query(model.ListFaults())) >= most:
            raise FaultLimitError(f"the VM has {most} faults, as many as one VM takes", bound=most)

    def _is_online(self, action: model.Action[Any]) -> bool | None:
        if not isinstance(action, model.SetCpu) or not self.supports(model.SetCpu):
            return None
        return self._backend.query(model.GetCpu(cpu=action.cpu)).online

    # What happened

    def _take_log(self, action: model.Action[model.DirtyLog]) -> model.DirtyLog:
        try:
            outcome = self._begin(action)
        finally:
            # A call that is refused may have been so by a fault.
            self._count_hits()
        self._totals.record(outcome)
        self._emit_fallback(action, outcome)
        return outcome

    def _count_hits(self) -> None:
        hits = self._backend.query(model.CountFaultHits())
        if hits != self._hits:
            self._totals.record_hits(hits, self._hits)
            self._hits = hits
            self._emit_hits()

    def _emit(self, kind: model.EventType, details: dict[str, model.Detail]) -> None:
        if self._emit_to is not None:
            self._emit_to(
                kind, now_ns=self._backend.query(model.GetClock()).now_ns, details=details
            )

    def _emit_hits(self) -> None:
        """Emit each fault that has hit since the last time; disarmed ones are gone."""
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
