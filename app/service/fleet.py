"""The fleet: sessions and the VMs in them.

Everything here but the making of a machine happens at once on the event loop, so lookups, lists
and resets never wait for a VM. A VM that is deleted or reset is unlinked; a call in flight
finishes on the machine that it holds.

A reset is a barrier: a session object lives from one reset to the next. What takes time to make holds
the object that it found at first, and is published only if that is still the session.
"""

import asyncio
import secrets
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from hacdbs_sim import model
from hacdbs_sim.model import DEFAULT_SESSION, CreateVm, EventType
from hacdbs_sim.model.base import WORK_PER_ACTION
from hacdbs_sim.model.errors import KvmError, MemslotChangedError
from hacdbs_sim.model.units import PAGES_PER_WORD
from hacdbs_sim.sim.machine.estimates import work_of_adding
from hacdbs_sim.vmm import Report

from . import errors
from .backends import backend_maker
from .background import Background
from .budget import StateBudget
from .copies import VmCopies
from .destinations import destination_of, failed, fill_memory, move_guest, vm_like
from .dirty_rates import DirtyRates
from .errors import SetupRefusedError, within
from .events import EventLog
from .idempotency_store import IdempotencyStore
from .limits import MAX_SESSIONS, Limits
from .migrations import Migration, Migrations, prepare
from .order import Order
from .scenarios import StandingScenario
from .totals import Totals
from .traffic import TrafficBudget
from .vm_runtime import INLINE_WORK, PIECES_AT_ONCE, VmRuntime, free_later

SESSIONS_SCOPE: Final = "/sessions"
"""The scope of the keys of requests for new sessions; no session has this id."""


def resets_scope(session_id: str) -> str:
    """Return the scope of the keys of a session's resets: a reset must not forget its own."""
    return f"/resets/{session_id}"


@dataclass(frozen=True, slots=True, eq=False)
class Vm:
    """A VM by its id, `{session_id}-{number}`.

    Attributes:
        session: Its session, from one reset to the next.
        number: Its number there.
        incarnation: Distinguishes it from the VMs that had its id before a reset or a restart.
    """

    session: "Session"
    number: int
    incarnation: str
    name: str
    runtime: VmRuntime
    copies: VmCopies

    @property
    def session_id(self) -> str:
        """The id of its session."""
        return self.session.session_id

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
    """VMs that belong together, from one reset to the next; no number is used twice.

    Attributes:
        session_id: Its id.
        began: The fleet's epoch when it began: what a call of an earlier epoch made is not for it.
    """

    session_id: str
    began: int = 0
    vms: dict[int, Vm] = field(default_factory=dict)
    last_number: int = 0
    scenario: StandingScenario | None = None
    scenario_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a scenario is applied: concurrent ones run one after the other.

    A scenario resets the session, which keeps the lock; any other reset makes a new one.
    """

    def info(self) -> model.SessionInfo:
        """Return the representation for clients."""
        return model.SessionInfo(
            session_id=self.session_id,
            vm_count=len(self.vms),
            scenario=None if self.scenario is None else self.scenario.name,
        )


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
        self.instance = secrets.token_hex(8)
        """Names this fleet: another one has the same ids for other things."""
        self._host_kvm = host_kvm
        self.totals = Totals()
        self.budget = StateBudget(limits.max_state_bytes)
        self.traffic = TrafficBudget(limits.max_traffic_bytes)
        self.idempotency = IdempotencyStore(limits, time.monotonic)
        self.events = EventLog()
        self.order = Order()
        self.migrations = Migrations(self.budget, self.events)
        self.background = Background()
        self.dirty_rates = DirtyRates(self.migrations, self.background)
        self.epoch = 0
        """How many times a session has begun: been created, reset or deleted."""
        self._sessions = {DEFAULT_SESSION: Session(DEFAULT_SESSION)}
        self._vms: dict[str, Vm] = {}
        self._closing: set[VmRuntime] = set()
        """Closed VMs whose backends still hold resources."""
        self._last_generated = 0
        self._last_serial = 0

    @property
    def vm_count(self) -> int:
        """The number of VMs in all sessions."""
        return len(self._vms)

    def begin(self) -> None:
        """Allow waits for events and for runs; called when the service starts."""
        self.events.begin()
        self.migrations.begin()

    def begin_stop(self) -> None:
        """End all waits for events and for runs, including future ones, and those for scenarios."""
        self.events.begin_stop()
        self.migrations.begin_stop()
        for session in self._sessions.values():
            if session.scenario is not None:
                session.scenario.play_is_over.set()

    def sessions(self) -> list[Session]:
        """List the sessions, by id."""
        return [self._sessions[session_id] for session_id in sorted(self._sessions)]

    def session(self, session_id: str, epoch: int | None = None) -> Session:
        """Return a session by its id; given the epoch in which a call began, as it was then.

        Raises:
            NoSuchSessionError: There is no such session.
            SessionResetError: It has been reset, or created, since the call began.
        """
        session = self._sessions.get(session_id)
        if session is None:
            raise errors.NoSuchSessionError(
                "there is no such session", field="session_id", value=session_id
            )
        if epoch is not None and session.began > epoch:
            raise _was_reset(session_id)
        return session

    def check_current(self, session: Session) -> None:
        """Refuse to publish something in a session that has been reset or deleted."""
        if self._sessions.get(session.session_id) is not session:
            raise _was_reset(session.session_id)

    def successor(self, session: Session) -> Session:
        """Return a session after the scenarios that have been applied to it meanwhile.

        Raises:
            SessionResetError: It has been reset otherwise, or deleted.
        """
        now = self._sessions.get(session.session_id)
        if now is None or now.scenario_lock is not session.scenario_lock:
            raise _was_reset(session.session_id)
        return now

    def check_present(self, vm: Vm) -> None:
        """Refuse to go on with a VM that has been deleted, or reset with its session."""
        if self._vms.get(vm.vm_id) is not vm:
            self.check_current(vm.session)
            raise errors.NoSuchVmError("the VM has been deleted", field="vm_id", value=vm.vm_id)

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
        self.epoch += 1
        self._sessions[session_id] = session = Session(session_id, self.epoch)
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
        self._end(self.session(session_id), "delete_session", EventType.SESSION_DELETED)
        self.idempotency.clear(resets_scope(session_id))
        del self._sessions[session_id]

    def reset_session(self, session_id: str) -> None:
        """Delete a session's VMs, number the next ones from 1 again, forget its retries."""
        self._reset(self.session(session_id))

    def _reset(self, session: Session) -> Session:
        self._end(session, "reset_session", EventType.SESSION_RESET)
        self._sessions[session.session_id] = new = Session(session.session_id, self.epoch)
        return new

    def _end(self, session: Session, change: str, event: EventType) -> None:
        """Remove all that a session has, and let nothing of it come afterwards."""
        session_id, vm_count = session.session_id, len(session.vms)
        self.epoch += 1
        self.idempotency.clear(session_id)
        self.migrations.session_gone(session_id)
        vms = list(session.vms.values())
        for vm in vms:
            self._unlink(vm)
        self.order.take(session_id, None, change)  # after the last change of the VMs
        if session.scenario is not None:
            session.scenario.account.close()  # its player may still write
            session.scenario.play_is_over.set()
            session.scenario = None
        self.events.emit(event, session_id=session_id, details={"vm_count": vm_count})
        if vm_count > PIECES_AT_ONCE:
            free_later(vms)

    def session_id_of(self, vm_id: str) -> str:
        """Return the session that a VM belongs to, or belonged to, according to its id."""
        return self.session(vm_id.rpartition("-")[0]).session_id

    def vms(self, session_id: str | None) -> list[Vm]:
        """List the VMs of a session by number; of all sessions (None) by session, then number."""
        sessions = self.sessions() if session_id is None else [self.session(session_id)]
        return [vm for session in sessions for vm in session.vms.values()]

    def vm(self, vm_id: str, epoch: int | None = None) -> Vm:
        """Return a VM by its id; given the epoch in which a call began, as it was then.

        Raises:
            NoSuchVmError: There is no such VM.
            SessionResetError: Its session has been reset since the call began.
        """
        session = self._sessions.get(vm_id.rpartition("-")[0])
        if epoch is not None and session is not None and session.began > epoch:
            raise _was_reset(session.session_id)
        vm = self._vms.get(vm_id)
        if vm is None:
            raise errors.NoSuchVmError("there is no such VM", field="vm_id", value=vm_id)
        return vm

    async def create_vm(self, spec: CreateVm, epoch: int | None = None) -> Vm:
        """Create a VM with its slots and faults; a refusal leaves nothing behind.

        Args:
            spec: The VM.
            epoch: The epoch in which the call began; now if None.

        Raises:
            SessionResetError: Its session has been reset or deleted since the call began.
            KvmError: The VM, or a part of it, is refused.
        """
        session = self.session(spec.session_id, epoch)
        if _work_of_making(spec) <= INLINE_WORK:
            return self._publish(session, spec, self._build(spec))
        # Shielded: if the request were cancelled, what the thread still takes would never be returned.
        return await self.background.to_the_end(self._create_in_thread(session, spec))

    async def _create_in_thread(self, session: Session, spec: CreateVm) -> Vm:
        return self._publish(session, spec, await asyncio.to_thread(self._build, spec))

    async def build_apart(self, spec: CreateVm) -> VmRuntime:
        """Create a machine that does not belong to a session; the caller closes it.

        Must not be cancelled: nothing would own the machine that the thread makes.
        """
        return await asyncio.to_thread(self._build, spec)

    def _build(self, spec: CreateVm) -> VmRuntime:
        config = model.VmConfig(**spec.settings())
        make = backend_maker(spec, config, host_kvm=self._host_kvm)
        runtime = VmRuntime(make, self.limits, self.budget, self.totals, self.order)
        try:
            if spec.track_versions:
                runtime.perform(model.TrackVersions(enabled=True))
            _check_slots_once(spec.memslots)
            for part in ("memslots", "faults", "workloads"):
                for index, action in enumerate(getattr(spec, part)):
                    with _named(part, index):
                        runtime.perform(action)
        except BaseException:
            runtime.close()
            raise
        return runtime

    def _publish(self, session: Session, spec: CreateVm, runtime: VmRuntime) -> Vm:
        try:
            self.check_current(session)
            self._check_vm_limit()
        except errors.FleetError:
            runtime.close()
            raise
        return self._link(session, spec, runtime)

    def _link(self, session: Session, spec: CreateVm, runtime: VmRuntime) -> Vm:
        session.last_number += 1
        number = session.last_number
        vm_id = f"{session.session_id}-{number}"
        copies = VmCopies(vm_id, runtime, self.budget, self.background)
        self._last_serial += 1
        incarnation = f"{self.instance}.{self._last_serial}"
        vm = Vm(session, number, incarnation, spec.name, runtime, copies)
        session.vms[vm.number] = self._vms[vm.vm_id] = vm
        self.order.take(vm.session_id, vm.vm_id, spec)
        emit = partial(self.events.emit, session_id=vm.session_id, vm_id=vm.vm_id)
        runtime.publish(vm.session_id, vm.vm_id, emit)
        emit(EventType.VM_CREATED, details={"name": vm.name})
        return vm

    async def replace_vms(self, session: Session, specs: Sequence[CreateVm]) -> tuple[Session, int]:
        """Replace all VMs of a session, or none; return it with them, and how many there were.

        Must not be cancelled: nothing would own the machines that the thread makes.

        Raises:
            SetupRefusedError: One of them was refused; its part is `vms/{index}`, or below it.
            SessionResetError: The session has been reset or deleted meanwhile.
        """
        runtimes = await asyncio.to_thread(self._build_all, specs)
        try:
            self.check_current(session)
            self._check_vm_limit(len(specs) - 1 - len(session.vms))
        except errors.FleetError:
            for runtime in runtimes:
                runtime.close()
            raise
        vm_count = len(session.vms)
        new = self._reset(session)
        new.scenario_lock = session.scenario_lock
        for spec, runtime in zip(specs, runtimes, strict=True):
            self._link(new, spec, runtime)
        return new, vm_count

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

    async def start_migration(
        self, request: model.StartMigration, epoch: int | None = None
    ) -> Migration:
        """Start to migrate a VM, and create the VM of the destination if one is requested.

        Args:
            request: The migration.
            epoch: The epoch in which the call began; now if None.

        Raises:
            KvmError: As `Migrations.start` and `create_vm`.
        """
        # Shielded: a request that is cancelled must not leave a destination without its migration
        return await self.background.to_the_end(self._start_migration(request, epoch))

    async def _start_migration(self, request: model.StartMigration, epoch: int | None) -> Migration:
        source = self.vm(request.vm_id, epoch)
        self.migrations.check_startable(source.session_id, source.vm_id, source.runtime)
        destination = None
        if request.destination is not None:
            spec = destination_of(source.session_id, source.name, source.runtime, request)
            with within(lambda _: "destination"):
                destination = await self.create_vm(spec, epoch)
        try:
            prepared = await prepare(source.runtime, request)
            # Either may have been deleted meanwhile
            self.check_present(source)
            if destination is not None:
                self.check_present(destination)
            return self.migrations.start(
                source.session_id,
                source.vm_id,
                source.runtime,
                prepared,
                pace_ms=request.pace_ms,
                pace=request.pace,
                destination_vm_id=None if destination is None else destination.vm_id,
                on_end=partial(self._migration_ended, source, destination),
            )
        except BaseException:
            if destination is not None:
                self._delete(destination)
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
                self.check_present(source)  # its last step may have come after its end
                await move_guest(source.runtime, destination.runtime, report)
            except KvmError as refused:
                report = failed(report, refused)
        if report.status is not model.MigrationStatus.COMPLETED:
            self._delete(destination)
        return report

    async def start_copy(
        self, source: Vm, copy_id: str, wanted: model.StartCopy, epoch: int | None = None
    ) -> Vm:
        """Create a VM that has what a copy of a VM's memory has.

        Raises:
            NoSuchCopyError: The VM has no such copy.
            KvmError: As `create_vm`.
        """
        self.session(wanted.session_id or source.session_id, epoch)
        memslots = await source.copies.find(copy_id).memslots()
        spec = vm_like(source.session_id, source.name, source.runtime, wanted, memslots)
        # Shielded: a request that is cancelled must not leave a VM without its memory
        return await self.background.to_the_end(self._create_filled(spec, epoch))

    async def _create_filled(self, spec: CreateVm, epoch: int | None) -> Vm:
        vm = await self.create_vm(spec, epoch)
        await fill_memory(vm.runtime)
        self.check_present(vm)
        return vm

    def delete_vm(self, vm_id: str) -> None:
        """Delete a VM."""
        self._delete(self.vm(vm_id))

    def _delete(self, vm: Vm) -> None:
        """Delete a VM, if it is there."""
        if self._vms.get(vm.vm_id) is not vm:
            return
        self._unlink(vm)
        self.order.take(vm.session_id, vm.vm_id, "delete_vm")  # after the VM's last change
        details: dict[str, model.Detail] = {"name": vm.name}
        self.events.emit(
            EventType.VM_DELETED, session_id=vm.session_id, vm_id=vm.vm_id, details=details
        )

    async def close(self) -> None:
        """End all that runs in the background, and free what the VMs hold: the service stops."""
        await self.background.stop()  # what would begin a run
        await self.migrations.stop()
        await self.background.stop()  # a measurement that went on after its migration
        for vm in self._vms.values():
            self._close(vm.runtime)
        while self._closing:
            await self._closing.pop().closed()

    def _unlink(self, vm: Vm) -> None:
        del vm.session.vms[vm.number]
        del self._vms[vm.vm_id]
        self.migrations.vm_gone(vm.vm_id)
        vm.copies.close()
        self._close(vm.runtime)

    def _close(self, runtime: VmRuntime) -> None:
        runtime.close()
        if self._closing or not runtime.is_closed:
            self._closing = {each for each in (*self._closing, runtime) if not each.is_closed}


def _was_reset(session_id: str) -> errors.SessionResetError:
    return errors.SessionResetError(
        "the session is another one than when the call began: it was reset or deleted meanwhile,"
        " and nothing was made",
        field="session_id",
        value=session_id,
    )


def _check_slots_once(memslots: Sequence[model.SetMemslot]) -> None:
    """Refuse a slot that a new VM has twice: the second would change the first."""
    known: set[int] = set()
    for index, memslot in enumerate(memslots):
        if memslot.slot in known:
            with _named("memslots", index):
                detail = f"slot {memslot.slot} is given twice"
                raise MemslotChangedError(detail, field="slot", value=memslot.slot)
        known.add(memslot.slot)


def _work_of_making(spec: CreateVm) -> int:
    """Estimate the work of making a VM with its parts."""
    if spec.backend is not model.BackendName.SIMULATED:
        return INLINE_WORK + 1  # the kernel takes a millisecond, and more
    pages = sum(memslot.memory_size for memslot in spec.memslots) // spec.page_size
    parts = len(spec.memslots) + len(spec.faults)
    work = pages // PAGES_PER_WORD + WORK_PER_ACTION * parts
    return work + sum(work_of_adding(workload) for workload in spec.workloads)
