"""The fleet: sessions and the VMs in them.

Everything here but the making of a machine happens at once on the event loop, so lookups, lists
and resets never wait for a VM. A VM that is deleted or reset is unlinked; a call in flight
finishes on the machine that it holds.
"""

import asyncio
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from hacdbs_sim import model
from hacdbs_sim.model import DEFAULT_SESSION, CreateVm, EventType
from hacdbs_sim.model.base import WORK_PER_ACTION
from hacdbs_sim.model.errors import KvmError
from hacdbs_sim.model.units import PAGES_PER_WORD
from hacdbs_sim.sim.machine.estimates import work_of_adding
from hacdbs_sim.vmm import Report

from . import errors
from .backends import backend_maker
from .budget import StateBudget
from .copies import KeptCopy, VmCopies
from .destinations import destination_of, failed, fill_memory, move_guest, vm_like
from .dirty_rates import DirtyRates
from .errors import SetupRefusedError
from .events import EventLog
from .idempotency_store import IdempotencyStore
from .limits import MAX_SESSIONS, Limits
from .migrations import Migration, Migrations
from .order import Order
from .scenarios import StandingScenario
from .totals import Totals
from .traffic import TrafficBudget
from .vm_runtime import INLINE_WORK, VmRuntime

SESSIONS_SCOPE: Final = "/sessions"
"""The scope of the keys of requests for new sessions; no session has this id."""


def resets_scope(session_id: str) -> str:
    """Return the scope of the keys of a session's resets: a reset must not forget its own."""
    return f"/resets/{session_id}"


@dataclass(frozen=True, slots=True, eq=False)
class Vm:
    """A VM by its id, `{session_id}-{number}`."""

    session_id: str
    number: int
    name: str
    runtime: VmRuntime
    copies: VmCopies

    @property
    def vm_id(self) -> str:
        """The id by which clients refer to the VM."""
        return f"{self.session_id}-{self.number}"

    def info(self) -> model.VmInfo:
        """Return the representation for clients."""
        query = self.runtime.query
        return model.VmInfo(
            vm_id=self.vm_id,
            name=self.name,
            session_id=self.session_id,
            backend=self.runtime.capabilities.backend,
            capabilities=self.runtime.capabilities.can,
            track_versions=self._tracks_versions(),
            memslots=query(model.ListMemslots()),
            faults=query(model.ListFaults()),
            workloads=query(model.ListWorkloads()),
            counters=query(model.GetCounters()),
            **query(model.GetConfig()).settings(),
        )

    def _tracks_versions(self) -> bool:
        runtime = self.runtime
        if not runtime.supports(model.GetLastVersion):
            return False
        return runtime.query(model.GetLastVersion()) is not None


@dataclass(slots=True, eq=False)
class Session:
    """VMs that belong together; numbers are never used again before a reset."""

    session_id: str
    vms: dict[int, Vm] = field(default_factory=dict)
    last_number: int = 0
    scenario: StandingScenario | None = None
    scenario_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a scenario is applied: concurrent ones run one after the other."""

    def info(self) -> model.SessionInfo:
        """Return the representation for clients."""
        return model.SessionInfo(session_id=self.session_id, vm_count=len(self.vms))


@contextmanager
def _named(part: str, index: int) -> Generator[None]:
    """Name the refused part of a new VM or session."""
    try:
        yield
    except SetupRefusedError as inner:
        raise SetupRefusedError(
            f"{part}/{index}/{inner.part}", inner.index, inner.cause
        ) from inner.cause
    except KvmError as cause:
        raise SetupRefusedError(part, index, cause) from cause


class Fleet:
    """All sessions and VMs of one service; `host_kvm`: also those of the host's KVM."""

    def __init__(self, limits: Limits, *, host_kvm: bool = False) -> None:
        self.limits = limits
        self._host_kvm = host_kvm
        self.totals = Totals()
        self.budget = StateBudget(limits.max_state_bytes)
        self.traffic = TrafficBudget(limits.max_traffic_bytes)
        self.idempotency = IdempotencyStore(limits, time.monotonic)
        self.events = EventLog()
        self.order = Order()
        self.migrations = Migrations(self.budget, self.events)
        self.dirty_rates = DirtyRates(self.migrations)
        self._sessions = {DEFAULT_SESSION: Session(DEFAULT_SESSION)}
        self._vms: dict[str, Vm] = {}
        self._closing: set[VmRuntime] = set()
        """Closed VMs whose backends still hold resources."""
        self._last_generated = 0

    @property
    def vm_count(self) -> int:
        """The number of VMs in all sessions."""
        return len(self._vms)

    def begin(self) -> None:
        """Allow waits for events and for runs; called when the service starts."""
        self.events.begin()
        self.migrations.begin()

    def begin_stop(self) -> None:
        """End all waits for events and for runs, including future ones."""
        self.events.begin_stop()
        self.migrations.begin_stop()

    def sessions(self) -> list[Session]:
        """List the sessions, by id."""
        return [self._sessions[session_id] for session_id in sorted(self._sessions)]

    def session(self, session_id: str) -> Session:
        """Return a session by its id."""
        try:
            return self._sessions[session_id]
        except KeyError:
            raise errors.NoSuchSessionError(
                "there is no such session", field="session_id", value=session_id
            ) from None

    def create_session(self, session_id: str | None = None) -> Session:
        """Create a session; the default id is the next free one of s1, s2, ..."""
        if len(self._sessions) >= MAX_SESSIONS:
            detail = f"there are {MAX_SESSIONS} sessions, as many as the service takes"
            raise errors.SessionLimitError(detail, bound=MAX_SESSIONS)
        session_id = session_id or self._next_session_id()
        if session_id in self._sessions:
            raise errors.SessionExistsError(
                "session_id must be new, this one exists", field="session_id", value=session_id
            )
        self.order.take(session_id, None, "create_session")
        self._sessions[session_id] = session = Session(session_id)
        return session

    def _next_session_id(self) -> str:
        while True:
            self._last_generated += 1
            if (session_id := f"s{self._last_generated}") not in self._sessions:
                return session_id

    def delete_session(self, session_id: str) -> None:
        """Delete a session with its VMs."""
        if session_id == DEFAULT_SESSION:
            detail = "the session default always exists; reset it instead"
            raise errors.DefaultSessionError(detail, field="session_id", value=session_id)
        self._empty(session_id, "delete_session", EventType.SESSION_DELETED)
        self.idempotency.clear(resets_scope(session_id))
        del self._sessions[session_id]

    def reset_session(self, session_id: str) -> None:
        """Delete a session's VMs, number the next ones from 1 again, forget its retries."""
        self._empty(session_id, "reset_session", EventType.SESSION_RESET)

    def _empty(self, session_id: str, change: str, event: EventType) -> None:
        session = self.session(session_id)
        vm_count = len(session.vms)
        self.idempotency.clear(session_id)
        self.migrations.session_gone(session_id)
        for vm in list(session.vms.values()):
            self._unlink(vm)
        self.order.take(session_id, None, change)  # after the last change of the VMs
        session.last_number = 0
        if session.scenario is not None:
            session.scenario.account.close()  # its player may still write
            session.scenario = None
        self.events.emit(event, session_id=session_id, details={"vm_count": vm_count})

    def session_id_of(self, vm_id: str) -> str:
        """Return the session that a VM belongs to, or belonged to, according to its id."""
        return self.session(vm_id.rpartition("-")[0]).session_id

    def vms(self, session_id: str | None) -> list[Vm]:
        """List the VMs of a session by number; of all sessions (None) by session, then number."""
        sessions = self.sessions() if session_id is None else [self.session(session_id)]
        return [vm for session in sessions for vm in session.vms.values()]

    def vm(self, vm_id: str) -> Vm:
        """Return a VM by its id."""
        try:
            return self._vms[vm_id]
        except KeyError:
            raise errors.NoSuchVmError("there is no such VM", field="vm_id", value=vm_id) from None

    async def create_vm(self, spec: CreateVm) -> Vm:
        """Create a VM with its slots and faults; a refusal leaves nothing behind."""
        self.session(spec.session_id)
        if _work_of_making(spec) <= INLINE_WORK:
            return self._publish(spec, self._build(spec))
        # Shielded: if the request were cancelled, what the thread still takes would never be returned.
        return await asyncio.shield(self._create_in_thread(spec))

    async def _create_in_thread(self, spec: CreateVm) -> Vm:
        return self._publish(spec, await asyncio.to_thread(self._build, spec))

    async def build_apart(self, spec: CreateVm) -> VmRuntime:
        """Create a machine that does not belong to a session; the caller closes it."""
        return await asyncio.shield(asyncio.to_thread(self._build, spec))

    def _build(self, spec: CreateVm) -> VmRuntime:
        config = model.VmConfig(**spec.settings())
        make = backend_maker(spec, config, host_kvm=self._host_kvm)
        runtime = VmRuntime(make, self.limits, self.budget, self.totals, self.order)
        try:
            if spec.track_versions:
                runtime.perform(model.TrackVersions(enabled=True))
            for part in ("memslots", "faults", "workloads"):
                for index, action in enumerate(getattr(spec, part)):
                    with _named(part, index):
                        runtime.perform(action)
        except BaseException:
            runtime.close()
            raise
        return runtime

    def _publish(self, spec: CreateVm, runtime: VmRuntime) -> Vm:
        try:
            session = self.session(spec.session_id)
            self._check_vm_limit()
        except errors.FleetError:
            runtime.close()
            raise
        return self._link(session, spec, runtime)

    def _link(self, session: Session, spec: CreateVm, runtime: VmRuntime) -> Vm:
        session.last_number += 1
        number = session.last_number
        copies = VmCopies(f"{spec.session_id}-{number}", runtime, self.budget)
        vm = Vm(spec.session_id, number, spec.name, runtime, copies)
        session.vms[vm.number] = self._vms[vm.vm_id] = vm
        self.order.take(vm.session_id, vm.vm_id, spec)
        emit = partial(self.events.emit, session_id=vm.session_id, vm_id=vm.vm_id)
        runtime.publish(vm.session_id, vm.vm_id, emit)
        emit(EventType.VM_CREATED, details={"name": vm.name})
        return vm

    async def replace_vms(self, session_id: str, specs: Sequence[CreateVm]) -> tuple[list[Vm], int]:
        """Replace all VMs of a session, or none; return the new ones, and how many there were.

        Must not be cancelled: nothing would own the machines that the thread makes.

        Raises:
            SetupRefusedError: One of them was refused; its part is `vms/{index}`, or below it.
        """
        self.session(session_id)
        runtimes = await asyncio.to_thread(self._build_all, specs)
        try:
            session = self.session(session_id)
            self._check_vm_limit(len(specs) - 1 - len(session.vms))
        except errors.FleetError:
            for runtime in runtimes:
                runtime.close()
            raise
        vm_count = len(session.vms)
        self.reset_session(session_id)
        pairs = zip(specs, runtimes, strict=True)
        return [self._link(session, spec, runtime) for spec, runtime in pairs], vm_count

    def _build_all(self, specs: Sequence[CreateVm]) -> list[VmRuntime]:
        runtimes: list[VmRuntime] = []
        try:
            for index, spec in enumerate(specs):
                with _named("vms", index):
                    runtimes.append(self._build(spec))
        except BaseException:
            for runtime in runtimes:
                runtime.close()
            raise
        return runtimes

    def _check_vm_limit(self, more: int = 0) -> None:
        if self.vm_count + more >= self.limits.max_vms:
            raise errors.VmLimitError(
                f"there are {self.vm_count} VMs, HACDBS_MAX_VMS allows {self.limits.max_vms}",
                bound=self.limits.max_vms,
            )

    async def start_migration(self, request: model.StartMigration) -> Migration:
        """Start to migrate a VM, and create the VM of the destination if one is requested.

        Raises:
            KvmError: As `Migrations.start` and `create_vm`.
        """
        source = self.vm(request.vm_id)
        destination = None
        if request.destination is not None:
            self.migrations.check_startable(source.session_id, source.vm_id, source.runtime)
            spec = destination_of(source.session_id, source.name, source.runtime, request)
            try:
                destination = await self.create_vm(spec)
            except SetupRefusedError as refused:
                part = f"destination/{refused.part}"
                raise SetupRefusedError(part, refused.index, refused.cause) from refused
        try:
            self.vm(request.vm_id)  # it may have been deleted while the destination was made
            return self.migrations.start(
                source.session_id,
                source.vm_id,
                source.runtime,
                request,
                pace_ms=request.pace_ms,
                pace=request.pace,
                destination_vm_id=None if destination is None else destination.vm_id,
                on_end=partial(self._migration_ended, source, destination),
            )
        except BaseException:
            if destination is not None:
                self.delete_vm(destination.vm_id)
            raise

    async def _migration_ended(self, source: Vm, destination: Vm | None, report: Report) -> Report:
        """Do what comes after a migration; a measurement beside it goes on by itself."""
        if destination is not None:
            report = await self._arrive(source, destination, report)
        if source.runtime.dirty_rate.is_measuring:
            self.dirty_rates.go_on(
                source.session_id,
                source.vm_id,
                source.runtime,
                is_paused=report.status is model.MigrationStatus.COMPLETED,
            )
        return report

    async def _arrive(self, source: Vm, destination: Vm, report: Report) -> Report:
        """Move the guest to the destination; delete that if the migration has failed."""
        if report.status is model.MigrationStatus.COMPLETED:
            try:
                await move_guest(source.runtime, destination.runtime, report)
            except KvmError as refused:
                report = failed(report, refused)
        is_there = self._vms.get(destination.vm_id) is destination
        if is_there and report.status is not model.MigrationStatus.COMPLETED:
            self.delete_vm(destination.vm_id)
        return report

    async def start_copy(self, source: Vm, kept: KeptCopy, wanted: model.StartCopy) -> Vm:
        """Create a VM that has what a copy of a VM's memory has.

        Raises:
            KvmError: As `create_vm`.
        """
        memslots = await kept.memslots()
        spec = vm_like(source.session_id, source.name, source.runtime, wanted, memslots)
        vm = await self.create_vm(spec)
        await fill_memory(vm.runtime)
        return vm

    def delete_vm(self, vm_id: str) -> None:
        """Delete a VM."""
        vm = self.vm(vm_id)
        self._unlink(vm)
        self.order.take(vm.session_id, vm_id, "delete_vm")  # after the VM's last change
        details: dict[str, model.Detail] = {"name": vm.name}
        self.events.emit(
            EventType.VM_DELETED, session_id=vm.session_id, vm_id=vm_id, details=details
        )

    async def close(self) -> None:
        """Free what the VMs hold beyond memory of this process's objects: the service stops."""
        for vm in self._vms.values():
            self._close(vm.runtime)
        while self._closing:
            await self._closing.pop().closed()

    def _unlink(self, vm: Vm) -> None:
        del self._sessions[vm.session_id].vms[vm.number]
        del self._vms[vm.vm_id]
        self.migrations.vm_gone(vm.vm_id)
        vm.copies.close()
        self._close(vm.runtime)

    def _close(self, runtime: VmRuntime) -> None:
        runtime.close()
        self._closing = {each for each in (*self._closing, runtime) if not each.is_closed}


def _work_of_making(spec: CreateVm) -> int:
    """Estimate the work of making a VM with its parts."""
    if spec.backend is not model.BackendName.SIMULATED:
        return INLINE_WORK + 1  # the kernel takes a millisecond, and more
    pages = sum(memslot.memory_size for memslot in spec.memslots) // spec.page_size
    parts = len(spec.memslots) + len(spec.faults)
    work = pages // PAGES_PER_WORD + WORK_PER_ACTION * parts
    return work + sum(work_of_adding(workload) for workload in spec.workloads)
