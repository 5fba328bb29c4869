"""The one order of changes: what takes a number, when, and that a replay by number is the same."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import pytest

from app.service.budget import StateBudget
from app.service.errors import FaultLimitError, PageLimitError
from app.service.fleet import Fleet
from app.service.limits import Limits
from app.service.migrations import prepared
from app.service.order import Order
from app.service.totals import Totals
from app.service.vm_runtime import INLINE_WORK, VmRuntime
from hacdbs_sim import model
from hacdbs_sim.model.errors import KvmError, NoSuchCpuError, NoSuchFaultError
from tests.support.building import ranges
from tests.support.faults import fault
from tests.support.machine import Machine
from tests.support.recorded_order import Recorded

pytestmark = pytest.mark.anyio

PAGE = 4096
LOGS = 1
LONG = INLINE_WORK + 1
HANG_SECONDS = 600
UNIT_BUSY = model.AddUnitBusy()
GET = model.GetDirtyLog(slot=0)
SLOT = model.SetMemslot(slot=0, guest_phys_addr=0, memory_size=300 * PAGE, flags=LOGS)
SPEC = model.CreateVm(memslots=(SLOT,))

Make = Callable[[Callable[[], None]], model.Backend]


class Changes(list[tuple[int, str, str | None, Any]]):
    """The changes that an order announces."""

    def __call__(self, *change: Any) -> None:
        self.append(change)

    @property
    def names(self) -> list[tuple[str | None, str]]:
        """The VM, or else the session, and the kind of each change."""
        return [
            (vm_id or session_id, change if isinstance(change, str) else type(change).__name__)
            for _, session_id, vm_id, change in self
        ]


def watched(fleet: Fleet) -> Changes:
    changes = Changes()
    fleet.order.watch(changes)
    return changes


def known_vm(order: Order, make: Make, limits: Limits | None = None) -> VmRuntime:
    runtime = VmRuntime(make, limits or Limits(), StateBudget(1 << 30), Totals(), order)
    runtime.perform(SLOT)
    runtime.publish("s", "s-1", lambda *_, **__: None)
    return runtime


async def test_everything_that_changes_a_service_has_a_number_and_they_have_no_gaps() -> None:
    fleet = Fleet(Limits())
    changes = watched(fleet)
    fleet.create_session("s")
    vm = await fleet.create_vm(model.CreateVm(session_id="s", memslots=(SLOT,)))
    vm.runtime.perform(GET)
    vm.runtime.perform(UNIT_BUSY)
    vm.runtime.perform(model.DeleteFaults())
    fleet.delete_vm("s-1")
    fleet.reset_session("s")
    fleet.delete_session("s")
    await fleet.replace_vms(fleet.session("default"), [SPEC, SPEC])

    assert changes.names == [
        ("s", "create_session"),
        ("s-1", "CreateVm"),
        ("s-1", "GetDirtyLog"),
        ("s-1", "AddUnitBusy"),
        ("s-1", "DeleteFaults"),
        ("s-1", "delete_vm"),
        ("s", "reset_session"),
        ("s", "delete_session"),
        ("default", "reset_session"),
        ("default-1", "CreateVm"),
        ("default-2", "CreateVm"),
    ]
    assert [number for number, *_ in changes] == list(range(1, len(changes) + 1))


async def test_queries_and_refusals_of_the_service_have_no_number() -> None:
    fleet = Fleet(Limits(max_pages_per_vm=300, max_vms=1))
    vm = await fleet.create_vm(SPEC)
    for _ in range(model.MAX_FAULTS_PER_VM):
        vm.runtime.perform(fault(model.FaultType.IPAF, enabled=False))
    changes = watched(fleet)

    vm.runtime.query(model.ListMemslots())
    vm.runtime.estimate(GET)
    with pytest.raises(FaultLimitError):
        vm.runtime.perform(UNIT_BUSY)
    with pytest.raises(PageLimitError):
        vm.runtime.perform(
            model.SetMemslot(slot=1, guest_phys_addr=1 << 30, memory_size=PAGE, flags=LOGS)
        )
    with pytest.raises(KvmError):
        await fleet.create_vm(SPEC)
    for refused in (fleet.delete_session, fleet.reset_session, fleet.delete_vm):
        with pytest.raises(KvmError):
            refused("nothing")

    assert changes == []


def test_what_the_machine_refuses_has_begun_and_has_a_number() -> None:
    order, changes = Order(), Changes()
    runtime = known_vm(order, lambda entered: Machine(model.VmConfig(), entered=entered))
    order.watch(changes)

    with pytest.raises(NoSuchFaultError):
        runtime.perform(model.DeleteFault(fault_id="f1"))
    with pytest.raises(NoSuchCpuError):
        runtime.perform(model.GetDirtyLog(slot=0, cpu=99))
    armed = runtime.perform(UNIT_BUSY)  # the board is free again

    assert armed.fault_id == "f1"
    assert [name for _, name in changes.names] == ["DeleteFault", "GetDirtyLog", "AddUnitBusy"]


async def test_machines_outside_sessions_have_no_order() -> None:
    fleet = Fleet(Limits())
    changes = watched(fleet)

    apart = await fleet.build_apart(SPEC)
    apart.perform(GET)

    assert changes == []


async def test_a_vm_that_is_gone_changes_nothing_in_the_order_nor_its_successor() -> None:
    fleet = Fleet(Limits())
    gone = (await fleet.create_vm(SPEC)).runtime
    fleet.reset_session("default")
    changes = watched(fleet)
    await fleet.create_vm(SPEC)

    gone.perform(GET)  # a call in flight finishes
    gone.perform(UNIT_BUSY)

    assert changes.names == [("default-1", "CreateVm")]


async def test_a_vm_that_is_deleted_goes_without_a_collection() -> None:
    fleet = Fleet(Limits())
    vm = await fleet.create_vm(SPEC)
    vm.runtime.perform(GET)
    machine = weakref.ref(vm.runtime._backend)
    gc.disable()
    try:
        fleet.delete_vm(vm.vm_id)
        del vm
        assert machine() is None
    finally:
        gc.enable()


class Held:
    """Makes machines whose gets and clears are held before, or after, they have read the board."""

    def __init__(self, *, before: bool) -> None:
        self.has_come = threading.Event()
        self.may_go = threading.Event()
        self._before = before

    def make(self, entered: Callable[[], None]) -> Machine:
        def held() -> None:
            if not self._before:
                entered()
            self.has_come.set()
            assert self.may_go.wait(HANG_SECONDS)
            if self._before:
                entered()

        return Machine(model.VmConfig(), entered=held)


async def test_a_fault_armed_while_a_get_runs_does_not_wait_and_comes_after_it() -> None:
    order, changes, held = Order(), Changes(), Held(before=False)
    runtime = known_vm(order, held.make)
    order.watch(changes)
    running = asyncio.create_task(runtime.run(lambda: runtime.perform(GET), work=lambda: LONG))
    await asyncio.to_thread(held.has_come.wait, HANG_SECONDS)

    runtime.perform(UNIT_BUSY)  # on the event loop: were it to wait, this would never end
    runtime.perform(model.DeleteFault(fault_id="f1"))
    runtime.perform(UNIT_BUSY)
    runtime.perform(model.DeleteFaults())
    runtime.perform(UNIT_BUSY)
    held.may_go.set()
    first = await running
    second = runtime.perform(GET)

    assert first.accelerator is not None
    assert first.accelerator.outcome == "cleaned"
    assert second.accelerator is not None
    assert second.accelerator.outcome == "declined"
    assert [name for _, name in changes.names] == [
        "GetDirtyLog",
        *("AddUnitBusy", "DeleteFault") * 1,
        *("AddUnitBusy", "DeleteFaults"),
        "AddUnitBusy",
        "GetDirtyLog",
    ]


async def test_a_fault_armed_while_a_get_enters_has_the_greater_number_and_does_not_hit_it() -> (
    None
):
    """The machine says here that it has read the board later than it has, so arming waits for that."""
    order, changes, held = Order(), Changes(), Held(before=True)
    runtime = known_vm(order, held.make)
    order.watch(changes)
    running = asyncio.create_task(runtime.run(lambda: runtime.perform(GET), work=lambda: LONG))
    await asyncio.to_thread(held.has_come.wait, HANG_SECONDS)

    arming = asyncio.create_task(asyncio.to_thread(runtime.perform, UNIT_BUSY))
    await asyncio.sleep(0.05)
    assert not arming.done()
    held.may_go.set()
    outcome = await running
    await arming

    assert outcome.accelerator is not None
    assert outcome.accelerator.outcome == "cleaned"
    assert [name for _, name in changes.names] == ["GetDirtyLog", "AddUnitBusy"]


def test_threads_that_arm_at_once_never_pass_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "MAX_FAULTS_PER_VM", 50)
    order, changes = Order(), Changes()
    runtime = known_vm(order, lambda entered: Machine(model.VmConfig(), entered=entered))
    order.watch(changes)
    begin, refused = threading.Barrier(8), []

    def arm() -> None:
        begin.wait(HANG_SECONDS)
        for _ in range(20):
            try:
                runtime.perform(UNIT_BUSY)
            except FaultLimitError:
                refused.append(1)

    threads = [threading.Thread(target=arm) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert len(runtime.query(model.ListFaults())) == 50
    assert len(refused) == 8 * 20 - 50
    assert len(changes) == 50
    runtime.perform(model.DeleteFaults())
    runtime.perform(UNIT_BUSY)


SESSIONS = ("default", "a", "b")
CLIENTS = 24
STEPS = 25


class Clients:
    """Clients that do at random all that changes a service, at once."""

    def __init__(self, fleet: Fleet, random: Random) -> None:
        self._fleet = fleet
        self._random = random

    async def make_changes(self) -> None:
        for _ in range(STEPS):
            with suppress(KvmError):
                await self._step()
            await asyncio.sleep(0)

    async def _step(self) -> None:
        random = self._random
        vms = self._fleet.vms(None)
        chance = random.random()
        if chance < 0.03:
            self._change_session()
        elif chance < 0.05 and len(vms) > 2:
            self._fleet.delete_vm(random.choice(vms).vm_id)
        elif chance < 0.15 or not vms:
            await self._fleet.create_vm(self._spec())
        elif chance < 0.2:
            vm = random.choice(vms)
            start = prepared(vm.runtime, self._migration())
            self._fleet.migrations.start(vm.session_id, vm.vm_id, vm.runtime, start)
        elif chance < 0.5:
            runtime, action = random.choice(vms).runtime, self._fault()
            if random.random() < 0.5:
                runtime.perform(action)
            else:
                await asyncio.to_thread(runtime.perform, action)
        else:
            runtime, locked = random.choice(vms).runtime, self._action()
            work = random.choice([0, LONG, LONG])
            await runtime.run(lambda: runtime.perform(locked), work=lambda: work)

    def _change_session(self) -> None:
        session_id = self._random.choice(SESSIONS)
        changes: list[Callable[[str], object]] = [
            self._fleet.create_session,
            self._fleet.delete_session,
            self._fleet.reset_session,
        ]
        self._random.choice(changes)(session_id)

    def _spec(self) -> model.CreateVm:
        random = self._random
        return model.CreateVm(
            session_id=random.choice(SESSIONS),
            cpus=2,
            seed=random.randrange(100),
            manual_dirty_log_protect2=random.choice([0, 0, 1, 3]),
            memslots=(SLOT,),
            faults=(UNIT_BUSY,) * random.randrange(2),
            workloads=(model.AddUniform(slot=0, writes_per_second=10**6),) * random.randrange(3),
        )

    def _migration(self) -> model.MigrationSpec:
        return model.MigrationSpec(
            bandwidth_bytes_per_second=10**9,
            downtime_limit_ns=self._random.choice([1_000, 10**6]),
            max_iterations=3,
        )

    def _fault(self) -> model.Action[Any]:
        random = self._random
        kind = random.choice(list(model.FaultType))
        armed = fault(
            kind, times=random.choice([None, 1, 2]), probability=random.choice([0.5, 1.0])
        )
        return random.choice(
            [
                armed,
                armed,
                model.DeleteFault(fault_id=f"f{random.randint(1, 9)}"),
                model.DeleteFaults(),
            ]
        )

    def _action(self) -> model.Action[Any]:
        random = self._random
        first = random.randrange(300)
        pages = ranges((first, random.randint(1, 300 - first)))
        base = random.choice([1 << 30, 1 << 31])
        slot = model.SetMemslot(
            slot=1,
            guest_phys_addr=base,
            memory_size=70 * PAGE,
            userspace_addr=1 << 30,
            flags=random.randrange(2),
        )
        return random.choice(
            [
                *(model.GuestWrite(pages=pages), model.HostWrite(pages=pages)) * 2,
                *(model.GuestRead(pages=pages), model.HostUnmap(pages=pages)),
                *(model.GetDirtyLog(slot=0), model.ClearDirtyLog(slot=0, pages=pages)) * 4,
                model.GetDirtyLog(slot=1, cpu=1, trace=True),
                *(slot, slot, model.DeleteMemslot(slot=1)),
                model.SetCpu(cpu=random.randrange(2), online=random.random() < 0.5),
                model.AddSequential(slot=0, writes_per_second=10**5),
                *(model.DeleteWorkload(workload_id="w1"), model.DeleteWorkloads()),
                *(model.RunGuest(duration_ns=10**5), model.AdvanceClock(duration_ns=1)),
                model.TrackVersions(enabled=random.random() < 0.5),
                model.UpdateVm(manual_dirty_log_protect2=random.choice([0, 1, 3])),
            ]
        )


@pytest.mark.usefixtures("eager_threads")
@pytest.mark.parametrize("seed", range(6))
async def test_what_clients_did_at_once_is_the_same_one_after_the_other_by_number(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = Fleet(Limits(max_vms=12))
    recorded = Recorded(fleet, monkeypatch)
    fleet.create_session("a")

    async with asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            group.create_task(Clients(fleet, Random(f"{seed} {number}")).make_changes())
    await fleet.migrations.stop()

    recorded.assert_replays()
    assert recorded.ops() >= {
        *("create_session", "create_vm", "get_dirty_log", "clear_dirty_log", "guest_write"),
        *("add_fault", "delete_fault", "delete_faults"),
    }
