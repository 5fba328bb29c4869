import asyncio
from collections.abc import Callable

import pytest

from app.service import fleet as fleet_module
from app.service import vm_runtime
from app.service.errors import (
    NoSuchVmError,
    SessionLimitError,
    SessionResetError,
    SetupRefusedError,
    VmLimitError,
)
from app.service.fleet import Fleet
from app.service.limits import Limits
from hacdbs_sim.model import (
    AddIpaf,
    AddSequential,
    AddZipf,
    AnyWorkload,
    CreateVm,
    EntryWhen,
    ListMemslots,
    SetMemslot,
)
from tests.support.wire import HANG_SECONDS

pytestmark = pytest.mark.anyio

GIB = 1 << 30


def spec(session_id: str = "default", *slots: SetMemslot, faults: int = 0) -> CreateVm:
    armed = (AddIpaf(when=EntryWhen(index=9999)),) * faults
    return CreateVm(session_id=session_id, ipa_bits=44, memslots=slots, faults=armed)


async def test_a_large_vm_is_built_beside_the_event_loop() -> None:
    fleet = Fleet(Limits())
    making = asyncio.create_task(
        fleet.create_vm(
            spec("default", SetMemslot(slot=0, guest_phys_addr=0, memory_size=256 * GIB))
        )
    )
    await asyncio.sleep(0)
    assert not making.done()

    vm = await making

    assert fleet.vm("default-1") is vm


async def test_a_vm_of_many_parts_is_built_beside_the_event_loop() -> None:
    fleet = Fleet(Limits())
    slots = tuple(SetMemslot(slot=n, guest_phys_addr=n << 12, memory_size=4096) for n in range(40))
    faults = (AddIpaf(),) * 40
    making = asyncio.create_task(fleet.create_vm(CreateVm(memslots=slots, faults=faults)))
    await asyncio.sleep(0)
    assert not making.done()

    vm = await making

    assert len(vm.runtime.query(ListMemslots())) == 40


@pytest.mark.parametrize(
    ("workload", "is_short"),
    [
        (AddSequential(slot=0, writes_per_second=1000), True),
        (AddZipf(slot=0, writes_per_second=1000), False),
    ],
)
async def test_a_vm_whose_workload_takes_long_to_add_is_built_beside_the_event_loop(
    workload: AnyWorkload, *, is_short: bool
) -> None:
    fleet = Fleet(Limits())
    slot = SetMemslot(slot=0, guest_phys_addr=0, memory_size=1024 * 4096)
    making = asyncio.create_task(fleet.create_vm(CreateVm(memslots=(slot,), workloads=(workload,))))
    await asyncio.sleep(0)

    assert making.done() is is_short

    await making


@pytest.mark.parametrize("ending", [Fleet.delete_session, Fleet.reset_session])
async def test_a_session_emptied_meanwhile_takes_no_vm_and_keeps_no_bytes(
    ending: Callable[[Fleet, str], None],
) -> None:
    fleet = Fleet(Limits())
    fleet.create_session("gone")
    making = asyncio.ensure_future(
        fleet.create_vm(spec("gone", SetMemslot(slot=0, guest_phys_addr=0, memory_size=256 * GIB)))
    )
    await asyncio.sleep(0)
    ending(fleet, "gone")

    with pytest.raises(SessionResetError):
        await making

    assert fleet.vm_count == 0
    assert fleet.budget.used_bytes == 0


async def test_a_session_of_the_same_name_is_another_one() -> None:
    fleet = Fleet(Limits())
    fleet.create_session("again")
    making = asyncio.ensure_future(
        fleet.create_vm(spec("again", SetMemslot(slot=0, guest_phys_addr=0, memory_size=256 * GIB)))
    )
    await asyncio.sleep(0)
    fleet.delete_session("again")
    fleet.create_session("again")

    with pytest.raises(SessionResetError):
        await making

    assert (await fleet.create_vm(spec("again"))).vm_id == "again-1"


async def test_a_call_that_began_before_a_reset_makes_nothing_after_it() -> None:
    fleet = Fleet(Limits())
    epoch = fleet.epoch
    fleet.reset_session("default")

    with pytest.raises(SessionResetError):
        await fleet.create_vm(spec(), epoch)

    assert (await fleet.create_vm(spec(), fleet.epoch)).vm_id == "default-1"


async def test_a_call_that_is_cancelled_before_its_thread_begins_releases_the_vm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vm_runtime, "INLINE_WORK", -1)
    fleet = Fleet(Limits())
    vm = await fleet.create_vm(spec())

    async def call() -> None:
        await vm.runtime.run(lambda: None, work=lambda: 0)

    before = asyncio.all_tasks()
    calling = asyncio.create_task(call())
    await asyncio.sleep(0)
    for task in asyncio.all_tasks() - before:  # as the end of a loop does
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling

    async with asyncio.timeout(HANG_SECONDS):
        await call()


async def test_a_refused_part_is_named_and_leaves_nothing() -> None:
    fleet = Fleet(Limits())

    with pytest.raises(SetupRefusedError) as refused:
        await fleet.create_vm(
            spec("default", SetMemslot(slot=0, guest_phys_addr=0, memory_size=4096), faults=1)
        )

    assert (refused.value.part, refused.value.index) == ("faults", 0)
    assert (fleet.vm_count, fleet.budget.used_bytes) == (0, 0)
    assert (await fleet.create_vm(spec())).vm_id == "default-1"


async def test_a_new_vm_has_each_slot_once() -> None:
    fleet = Fleet(Limits())
    slots = [
        SetMemslot(slot=slot, guest_phys_addr=address, memory_size=4096)
        for slot, address in ((1, 0), (0, 4096), (1, 8192))
    ]

    with pytest.raises(SetupRefusedError) as refused:
        await fleet.create_vm(spec("default", *slots))

    cause = refused.value.cause
    assert (refused.value.part, refused.value.index, cause.field) == ("memslots", 2, "slot")
    assert (cause.code, cause.detail) == ("memslot_changed", "slot 1 is given twice")
    assert fleet.budget.used_bytes == 0


async def test_vms_of_all_sessions_count_against_the_limit() -> None:
    fleet = Fleet(Limits(max_vms=2))
    fleet.create_session("a")
    await fleet.create_vm(spec())
    await fleet.create_vm(spec("a"))

    with pytest.raises(VmLimitError):
        await fleet.create_vm(spec("a", SetMemslot(slot=0, guest_phys_addr=0, memory_size=4096)))
    fleet.delete_vm("a-1")

    assert (await fleet.create_vm(spec("a"))).vm_id == "a-2"


async def test_a_call_in_flight_finishes_on_the_machine_that_it_holds() -> None:
    fleet = Fleet(Limits())
    vm = await fleet.create_vm(
        spec("default", SetMemslot(slot=0, guest_phys_addr=0, memory_size=4096))
    )

    fleet.reset_session("default")
    outcome = vm.runtime.perform(SetMemslot(slot=1, guest_phys_addr=1 << 20, memory_size=1 << 20))

    assert outcome.npages == 256
    assert fleet.budget.used_bytes == 0
    with pytest.raises(NoSuchVmError):
        fleet.vm(vm.vm_id)


def test_generated_session_ids_pass_over_those_taken() -> None:
    fleet = Fleet(Limits())
    fleet.create_session("s2")

    assert [fleet.create_session().session_id for _ in range(3)] == ["s1", "s3", "s4"]


def test_sessions_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_module, "MAX_SESSIONS", 2)
    fleet = Fleet(Limits())
    fleet.create_session("a")

    with pytest.raises(SessionLimitError):
        fleet.create_session("b")
