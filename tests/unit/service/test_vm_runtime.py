"""One machine, several requests: who waits, who does not, and what a cancelled one leaves."""

import asyncio
import queue
import threading
from typing import Any, ClassVar

import numpy as np
import pytest
from typing_extensions import override

from app.service.budget import StateBudget
from app.service.errors import FaultLimitError, PageLimitError, StateBytesLimitError
from app.service.limits import Limits
from app.service.order import Order
from app.service.totals import Totals
from app.service.vm_runtime import (
    INLINE_WORK,
    PIECES_AT_ONCE,
    SLOT_BYTES,
    VM_BYTES,
    WORK_PER_PART,
    VmRuntime,
)
from hacdbs_sim.model import (
    MAX_FAULTS_PER_VM,
    Action,
    AddIntervals,
    AddSequential,
    Bitmap,
    ClearDirtyLog,
    CountFaultHits,
    DeleteFault,
    DeleteFaults,
    DeleteMemslot,
    DeleteWorkload,
    Estimate,
    FaultType,
    GetDirtyLog,
    GetStage2,
    Gfns,
    GuestWrite,
    GuestWriteMemory,
    HintFree,
    HostDiscard,
    Intervals,
    ListFaults,
    ListMemslots,
    PageRanges,
    SetMemslot,
    VmConfig,
)
from hacdbs_sim.model.errors import (
    BeyondIpaSpaceError,
    CopyToUserError,
    MemslotChangedError,
    NoSuchCpuError,
)
from tests.support.building import ranges
from tests.support.faults import fault
from tests.support.machine import Machine
from tests.support.settling import settle
from tests.support.wire import HANG_SECONDS

pytestmark = pytest.mark.anyio

LONG = INLINE_WORK + 1
PAGE = 4096
LOGGING = 1


def make(
    limits: Limits | None = None, budget: StateBudget | None = None, totals: Totals | None = None
) -> VmRuntime:
    return VmRuntime(
        lambda entered: Machine(VmConfig(), entered=entered),
        limits or Limits(),
        budget or StateBudget(1 << 30),
        totals or Totals(),
        Order(),
    )


async def test_short_work_stays_on_the_event_loop() -> None:
    here = threading.get_ident()

    assert await make().run(threading.get_ident, work=lambda: INLINE_WORK) == here


async def test_long_work_leaves_the_event_loop() -> None:
    here = threading.get_ident()

    assert await make().run(threading.get_ident, work=lambda: LONG) != here


@pytest.mark.parametrize("work", [INLINE_WORK, LONG])
async def test_a_call_that_need_not_wait_is_estimated_once(work: int) -> None:
    estimates: list[int] = []

    def estimate() -> int:
        estimates.append(work)
        return work

    await make().run(lambda: None, work=estimate)

    assert estimates == [work]


async def test_the_loop_continues_while_a_machine_works_and_its_lock_is_held() -> None:
    runtime = make()
    begun, may_end = threading.Event(), threading.Event()
    order: list[str] = []

    def long_call() -> None:
        begun.set()
        assert may_end.wait(HANG_SECONDS)
        order.append("long")

    first = asyncio.create_task(runtime.run(long_call, work=lambda: LONG))
    await asyncio.to_thread(begun.wait, HANG_SECONDS)
    second = asyncio.create_task(runtime.run(lambda: order.append("short"), work=lambda: 0))
    await settle()
    armed = runtime.perform(fault(FaultType.IPAF))  # does not wait
    order.append("fault")
    may_end.set()
    await asyncio.gather(first, second)

    assert armed.fault_id == "f1"
    assert order == ["fault", "long", "short"]


async def test_calls_on_machines_leave_threads_for_others() -> None:
    may_end = threading.Event()
    calls = [
        asyncio.create_task(make().run(lambda: may_end.wait(HANG_SECONDS), work=lambda: LONG))
        for _ in range(64)
    ]
    await settle()

    async with asyncio.timeout(HANG_SECONDS):
        await asyncio.to_thread(may_end.set)

    assert all(await asyncio.gather(*calls))


async def test_a_cancelled_request_leaves_the_lock_with_its_thread() -> None:
    runtime = make()
    begun, may_end = threading.Event(), threading.Event()
    order: list[str] = []

    def long_call() -> None:
        begun.set()
        assert may_end.wait(HANG_SECONDS)
        order.append("long")

    cancelled = asyncio.create_task(runtime.run(long_call, work=lambda: LONG))
    await asyncio.to_thread(begun.wait, HANG_SECONDS)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    next_one = asyncio.create_task(runtime.run(lambda: order.append("next"), work=lambda: 0))
    await settle()
    assert not next_one.done()
    may_end.set()
    await next_one

    assert order == ["long", "next"]


@pytest.mark.parametrize("work", [0, LONG])
async def test_a_call_that_fails_gives_the_lock_back(work: int) -> None:
    runtime = make()

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await runtime.run(fail, work=lambda: work)

    assert await runtime.run(lambda: "free", work=lambda: 0) == "free"


async def test_a_queued_call_is_estimated_when_its_turn_comes() -> None:
    runtime = make()
    here = threading.get_ident()

    def grow() -> None:
        runtime.perform(SetMemslot(slot=0, guest_phys_addr=0, memory_size=128 << 30))

    first = asyncio.create_task(runtime.run(grow, work=lambda: LONG))
    await asyncio.sleep(0)
    second = runtime.run(threading.get_ident, work=lambda: runtime.work(GetDirtyLog(slot=0)))
    (_, thread) = await asyncio.gather(first, second)

    assert thread != here


async def test_an_estimate_that_fails_gives_the_lock_back() -> None:
    runtime = make()

    def fail() -> int:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await runtime.run(lambda: None, work=fail)

    assert await runtime.run(lambda: "free", work=lambda: 0) == "free"


def test_what_would_be_refused_is_thought_to_be_short() -> None:
    assert make().work(DeleteMemslot(slot=7)) < INLINE_WORK


def test_a_runtime_is_what_its_backend_is() -> None:
    runtime = make()

    assert runtime.capabilities.backend == "simulated"
    assert runtime.estimate(GetDirtyLog(slot=0)) == runtime._backend.estimate(GetDirtyLog(slot=0))


def test_slots_stay_within_the_pages_of_a_vm() -> None:
    runtime = make(Limits(max_pages_per_vm=8))
    runtime.perform(SetMemslot(slot=0, guest_phys_addr=0, memory_size=6 * PAGE))

    with pytest.raises(PageLimitError) as refused:
        runtime.perform(SetMemslot(slot=1, guest_phys_addr=1 << 20, memory_size=3 * PAGE))
    runtime.perform(SetMemslot(slot=1, guest_phys_addr=1 << 20, memory_size=2 * PAGE))

    assert (refused.value.bound, refused.value.value) == (8, 9)


def test_slots_stay_within_the_bytes_of_all_vms() -> None:
    budget = StateBudget(2 * VM_BYTES + SLOT_BYTES + 10_000)
    one, other = make(budget=budget), make(budget=budget)
    one.perform(SetMemslot(slot=0, guest_phys_addr=0, memory_size=8192 * PAGE, flags=LOGGING))
    held = budget.used_bytes

    with pytest.raises(StateBytesLimitError):
        other.perform(
            SetMemslot(slot=0, guest_phys_addr=0, memory_size=16384 * PAGE, flags=LOGGING)
        )
    assert budget.used_bytes == held
    assert other.query(ListMemslots()) == ()

    one.perform(DeleteMemslot(slot=0))
    assert budget.used_bytes < held
    one.close()
    other.close()
    assert budget.used_bytes == 0


def test_refusals_of_the_kernel_come_before_limits() -> None:
    runtime = make(Limits(max_pages_per_vm=8))
    runtime.perform(SetMemslot(slot=0, guest_phys_addr=0, memory_size=8 * PAGE))

    with pytest.raises(MemslotChangedError):
        runtime.perform(SetMemslot(slot=0, guest_phys_addr=0, memory_size=100 * PAGE))
    with pytest.raises(BeyondIpaSpaceError):
        runtime.perform(
            SetMemslot(slot=1, guest_phys_addr=(1 << 40) - PAGE, memory_size=100 * PAGE)
        )


def test_a_refused_move_has_unmapped_the_slot_as_in_the_kernel() -> None:
    runtime = make()
    runtime.perform(SetMemslot(slot=0, guest_phys_addr=0, memory_size=4 * PAGE, userspace_addr=0))
    runtime.perform(GuestWrite(pages=ranges((0, 4))))

    with pytest.raises(BeyondIpaSpaceError):
        runtime.perform(
            SetMemslot(slot=0, guest_phys_addr=1 << 40, memory_size=4 * PAGE, userspace_addr=0)
        )

    (run,) = runtime.query(GetStage2(gfn=0, count=4, limit=10)).runs
    assert run.level is None


def test_faults_stay_within_what_one_vm_takes() -> None:
    runtime = make()
    for _ in range(MAX_FAULTS_PER_VM):
        runtime.perform(fault(FaultType.IPAF, enabled=False))

    with pytest.raises(FaultLimitError):
        runtime.perform(fault(FaultType.IPAF))


def test_a_fault_that_is_refused_holds_nothing() -> None:
    budget = StateBudget(1 << 30)
    runtime = make(budget=budget)
    held = budget.used_bytes

    with pytest.raises(NoSuchCpuError):
        runtime.perform(fault(FaultType.IPAF, when={"cpu": 99}))

    assert budget.used_bytes == held


def test_a_get_beside_many_faults_runs_in_a_thread() -> None:
    runtime = make()
    runtime.perform(SetMemslot(slot=0, guest_phys_addr=0, memory_size=64 * PAGE, flags=LOGGING))
    get, write = GetDirtyLog(slot=0), GuestWrite(pages=ranges((0, 4)))
    runtime.perform(fault(FaultType.UNIT_BUSY))
    beside_one = runtime.work(get)
    for _ in range(MAX_FAULTS_PER_VM - 1):
        runtime.perform(fault(FaultType.IPAF, enabled=False))

    assert beside_one < INLINE_WORK < runtime.work(get)
    assert runtime.work(write) < INLINE_WORK
    runtime.perform(DeleteFaults())
    assert runtime.work(get) < INLINE_WORK


class Piece:
    """A piece of a machine that notes in which thread it is freed."""

    freed_in: ClassVar[queue.SimpleQueue[int]] = queue.SimpleQueue()

    def __del__(self) -> None:
        self.freed_in.put(threading.get_ident())


class MachineOfPieces(Machine):
    """A machine whose pieces note where they are freed."""

    def __init__(self) -> None:
        super().__init__(VmConfig())
        self.own = [Piece() for _ in range(3)]

    @override
    def pieces(self) -> list[object]:
        return [*self.own]


async def test_a_wide_vm_is_freed_in_a_thread_once_nobody_uses_it() -> None:
    budget = StateBudget(1 << 30)
    runtime = VmRuntime(lambda _: MachineOfPieces(), Limits(), budget, Totals(), Order())
    for slot in range(PIECES_AT_ONCE + 1):
        runtime.perform(SetMemslot(slot=slot, guest_phys_addr=slot * PAGE, memory_size=PAGE))
    runtime.close()

    assert budget.used_bytes == 0
    assert Piece.freed_in.empty()
    del runtime
    for _ in range(3):
        freed_in = await asyncio.to_thread(Piece.freed_in.get, timeout=HANG_SECONDS)
        assert freed_in != threading.get_ident()


def test_a_long_action_is_not_estimated_to_know_that_it_is_long() -> None:
    class Unasked(Machine):
        @override
        def estimate(self, action: Action[Any]) -> Estimate:
            raise AssertionError(f"{action.op} is long by itself")

    runtime = VmRuntime(
        lambda _: Unasked(VmConfig()), Limits(), StateBudget(1 << 30), Totals(), Order()
    )
    many = np.arange(INLINE_WORK, dtype=np.uint64)
    trace = Intervals(np.array([0, len(many)]), many.astype(np.uint32))

    for action in (
        HintFree(pages=Gfns(many)),
        HostDiscard(pages=PageRanges(2 * many, np.ones_like(many))),
        ClearDirtyLog(slot=0, pages=Bitmap(np.append(many, many))),
        GuestWriteMemory(gpa_ranges=((0, 1),) * 65_536),
        AddIntervals(slot=0, interval_ns=1, pages=trace),
    ):
        assert runtime.work(action) > INLINE_WORK


def test_the_parts_of_a_vm_count_as_the_work_of_showing_it() -> None:
    runtime = make()
    alone = runtime.work_of_showing()
    runtime.perform(SetMemslot(slot=0, guest_phys_addr=0, memory_size=PAGE))
    runtime.perform(SetMemslot(slot=1, guest_phys_addr=PAGE, memory_size=PAGE))
    runtime.perform(fault(FaultType.IPAF))
    runtime.perform(AddSequential(slot=0, writes_per_second=1))
    shown = runtime.work_of_showing()
    runtime.perform(DeleteWorkload(workload_id="w1"))
    runtime.perform(DeleteMemslot(slot=1))
    runtime.perform(DeleteFaults())

    assert shown == alone + 4 * WORK_PER_PART
    assert runtime.work_of_showing() == alone + WORK_PER_PART


def test_gets_are_tallied() -> None:
    totals = Totals()
    runtime = make(totals=totals)
    runtime.perform(SetMemslot(slot=0, guest_phys_addr=0, memory_size=64 * PAGE, flags=LOGGING))
    runtime.perform(GuestWrite(pages=ranges((0, 4))))
    runtime.perform(fault(FaultType.UNIT_BUSY))

    runtime.perform(GetDirtyLog(slot=0))

    assert totals.cleaned_pages == {"hardware": 0, "software": 4}
    assert totals.hook_calls["declined"] == 1
    assert totals.fault_hits == {"unit_busy": 1}


def test_hits_are_tallied_once_each_also_those_that_refuse_the_call() -> None:
    totals = Totals()
    runtime = make(totals=totals)
    runtime.perform(SetMemslot(slot=0, guest_phys_addr=0, memory_size=64 * PAGE, flags=LOGGING))
    runtime.perform(fault(FaultType.UNIT_BUSY, times=2))
    runtime.perform(fault(FaultType.COPY_TO_USER, after=2))

    runtime.perform(GetDirtyLog(slot=0))
    runtime.perform(GetDirtyLog(slot=0))
    with pytest.raises(CopyToUserError):
        runtime.perform(GetDirtyLog(slot=0))

    assert totals.fault_hits == {"unit_busy": 2, "copy_to_user": 1}


def test_the_hits_of_a_fault_disarmed_meanwhile_are_tallied_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    totals = Totals()
    runtime = make(totals=totals)
    runtime.perform(SetMemslot(slot=0, guest_phys_addr=0, memory_size=64 * PAGE, flags=LOGGING))
    armed = runtime.perform(fault(FaultType.UNIT_BUSY))
    machine = runtime._backend
    perform = machine.perform

    def disarm_after(action: GetDirtyLog) -> object:
        outcome = perform(action)
        monkeypatch.undo()
        # by a call that does not wait for this one
        runtime.perform(DeleteFault(fault_id=armed.fault_id))
        return outcome

    monkeypatch.setattr(machine, "perform", disarm_after)

    runtime.perform(GetDirtyLog(slot=0))

    assert runtime.query(ListFaults()) == ()
    assert runtime.query(CountFaultHits()) == {FaultType.UNIT_BUSY: 1}
    assert totals.fault_hits == {"unit_busy": 1}
