"""Copies of a VM's memory in the service: ids, bytes, the end of their VM, and VMs made of them."""

import asyncio

import numpy as np
import pytest

from app.service.copies import KeptCopy
from app.service.errors import (
    CopyLimitError,
    NoSuchCopyError,
    NoSuchVmError,
    StateBytesLimitError,
)
from app.service.fleet import Fleet, Vm
from app.service.limits import Limits
from hacdbs_sim.model import (
    MAX_COPIES_PER_VM,
    CreateCopy,
    CreateVm,
    Destination,
    GetLastVersion,
    Gfns,
    GuestWrite,
    MemslotFlags,
    MigrationStatus,
    PageRanges,
    ReceivePages,
    SetMemslot,
    SlotBegan,
    StartCopy,
    StartMigration,
    VerifyCopy,
)
from tests.support.wire import HANG_SECONDS

pytestmark = pytest.mark.anyio

NPAGES = 1_000
BASE_GFN = 0x40000
SLOT = SetMemslot(
    slot=0,
    guest_phys_addr=BASE_GFN * 4096,
    memory_size=NPAGES * 4096,
    flags=int(MemslotFlags.LOG_DIRTY_PAGES),
)
VERSIONS_BYTES = COPY_BYTES = 4 * NPAGES


async def made(fleet: Fleet, *memslots: SetMemslot, name: str = "") -> Vm:
    return await fleet.create_vm(CreateVm(name=name, memslots=memslots or (SLOT,)))


async def copied(vm: Vm, base: str | None = None) -> KeptCopy:
    return await vm.copies.create(CreateCopy(base=base))


def write(vm: Vm, *pages: int) -> None:
    gfns = np.array([BASE_GFN + page for page in pages], np.uint64)
    vm.runtime.perform(GuestWrite(pages=Gfns(gfns)))


def every(slot: int = 0, npages: int = NPAGES) -> ReceivePages:
    first, count = np.array([0], np.uint64), np.array([npages], np.uint64)
    return ReceivePages(slot=slot, pages=PageRanges(first, count))


async def test_copies_are_numbered_by_vm_and_no_number_comes_twice() -> None:
    fleet = Fleet(Limits())
    one, other = await made(fleet), await made(fleet)

    first, second = await copied(one), await copied(one)
    await one.copies.delete("c2")
    third, elsewhere = await copied(one), await copied(other)

    assert [each.copy_id for each in (first, second, third)] == ["c1", "c2", "c3"]
    assert [each.copy_id for each in one.copies.list()] == ["c1", "c3"]
    assert elsewhere.copy_id == "c1"


async def test_a_copy_of_another_vm_is_no_base_and_is_named() -> None:
    fleet = Fleet(Limits())
    one, other = await made(fleet), await made(fleet)
    await copied(one)
    await copied(other)
    await copied(other)
    before = fleet.budget.used_bytes

    with pytest.raises(NoSuchCopyError) as raised:
        await copied(one, "c2")

    assert raised.value.detail == "base must be a copy of the VM default-1, which has c1"
    assert (raised.value.field, raised.value.value) == ("base", "c2")
    assert [each.copy_id for each in one.copies.list()] == ["c1"]
    assert fleet.budget.used_bytes == before


async def test_a_base_may_be_deleted_before_the_copy_that_began_with_it() -> None:
    vm = await made(Fleet(Limits()))
    base = await copied(vm)
    await base.receive(every())
    copy = await copied(vm, "c1")

    await vm.copies.delete("c1")
    write(vm, 3)

    assert copy.info(vm.vm_id).base == "c1"
    found = await copy.verify(VerifyCopy())
    assert (found.current_pages, found.pending_pages) == (NPAGES - 1, 1)


async def test_a_copy_and_the_versions_are_charged_and_given_back() -> None:
    fleet = Fleet(Limits())
    vm = await made(fleet)
    before = fleet.budget.used_bytes

    await copied(vm)
    one = fleet.budget.used_bytes
    await copied(vm, "c1")
    two = fleet.budget.used_bytes
    await vm.copies.delete("c1")
    left = fleet.budget.used_bytes
    await vm.copies.delete("c2")

    assert one - before == VERSIONS_BYTES + COPY_BYTES
    assert two - one == COPY_BYTES
    assert left == one
    assert fleet.budget.used_bytes == before
    assert vm.runtime.query(GetLastVersion()) is None


@pytest.mark.parametrize("room", [COPY_BYTES - 1, COPY_BYTES + VERSIONS_BYTES - 1])
async def test_a_copy_for_which_there_is_no_room_changes_nothing(room: int) -> None:
    measured = Fleet(Limits())
    await made(measured)
    fleet = Fleet(Limits(max_state_bytes=measured.budget.used_bytes + room))
    vm = await made(fleet)
    before = fleet.budget.used_bytes

    with pytest.raises(StateBytesLimitError):
        await copied(vm)

    assert fleet.budget.used_bytes == before
    assert vm.copies.list() == []
    assert vm.runtime.query(GetLastVersion()) is None


async def test_a_slot_that_a_copy_receives_for_the_first_time_is_charged() -> None:
    fleet = Fleet(Limits())
    vm = await made(fleet)
    copy = await copied(vm)
    vm.runtime.perform(SetMemslot(slot=1, guest_phys_addr=0, memory_size=64 * 4096))
    before = fleet.budget.used_bytes

    await copy.receive(every(slot=1, npages=64))

    assert fleet.budget.used_bytes - before == 4 * 64
    assert copy.info(vm.vm_id).state_bytes == COPY_BYTES + 4 * 64


async def test_a_slot_for_which_a_copy_has_no_room_is_not_received() -> None:
    measured = Fleet(Limits())
    other = await made(measured)
    await copied(other)
    other.runtime.perform(SetMemslot(slot=1, guest_phys_addr=0, memory_size=64 * 4096))
    fleet = Fleet(Limits(max_state_bytes=measured.budget.used_bytes + 4 * 64 - 1))
    vm = await made(fleet)
    copy = await copied(vm)
    vm.runtime.perform(SetMemslot(slot=1, guest_phys_addr=0, memory_size=64 * 4096))
    before = fleet.budget.used_bytes

    with pytest.raises(StateBytesLimitError):
        await copy.receive(every(slot=1, npages=64))

    assert fleet.budget.used_bytes == before
    assert [each.slot for each in copy.info(vm.vm_id).slots] == [0]


async def test_a_vm_has_a_maximum_of_copies() -> None:
    vm = await made(Fleet(Limits()))
    for _ in range(MAX_COPIES_PER_VM - 1):
        await copied(vm)

    one, other = await asyncio.gather(copied(vm), copied(vm), return_exceptions=True)

    assert isinstance(one, KeptCopy)
    assert isinstance(other, CopyLimitError)


async def test_a_deleted_vm_takes_its_copies_along() -> None:
    fleet = Fleet(Limits())
    vm = await made(fleet)
    await copied(vm)

    fleet.delete_vm(vm.vm_id)

    assert vm.copies.list() == []
    assert fleet.budget.used_bytes == 0


async def test_a_copy_whose_vm_is_deleted_while_it_waits_is_not_kept() -> None:
    fleet = Fleet(Limits())
    vm = await made(fleet)
    async with vm.runtime._lock:
        creating = asyncio.ensure_future(copied(vm))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        fleet.delete_vm(vm.vm_id)

    with pytest.raises(NoSuchVmError):
        await creating
    assert vm.copies.list() == []
    assert fleet.budget.used_bytes == 0


async def test_a_request_that_is_cancelled_while_it_waits_leaves_a_copy_that_can_be_deleted() -> (
    None
):
    fleet = Fleet(Limits())
    vm = await made(fleet)
    before = fleet.budget.used_bytes
    async with vm.runtime._lock:
        creating = asyncio.ensure_future(copied(vm))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        creating.cancel()
    async with asyncio.timeout(HANG_SECONDS):
        while not vm.copies.list():  # noqa: ASYNC110 - nothing tells when it has begun
            await asyncio.sleep(0)

    await vm.copies.delete("c1")

    assert fleet.budget.used_bytes == before
    assert vm.runtime.query(GetLastVersion()) is None


async def test_a_call_that_waited_while_its_copy_was_deleted_is_refused() -> None:
    vm = await made(Fleet(Limits()))
    copy = await copied(vm)
    async with vm.runtime._lock:
        deleting = asyncio.ensure_future(vm.copies.delete("c1"))
        await asyncio.sleep(0)
        receiving = asyncio.ensure_future(copy.receive(every()))
        verifying = asyncio.ensure_future(copy.verify(VerifyCopy()))
        await asyncio.sleep(0)
    await deleting

    for call in (receiving, verifying):
        with pytest.raises(NoSuchCopyError, match="has been deleted"):
            await call


async def test_a_vm_made_of_a_copy_has_its_memslots_and_no_log() -> None:
    fleet = Fleet(Limits())
    await made(fleet)
    fleet.create_session("there")
    vm = await made(fleet, SLOT, name="source")
    copy = await copied(vm)
    vm.runtime.perform(SetMemslot(slot=1, guest_phys_addr=0, memory_size=4096))

    same = await fleet.start_copy(vm, copy.copy_id, StartCopy())
    named = await fleet.start_copy(vm, copy.copy_id, StartCopy(session_id="there", name="restored"))

    assert (same.vm_id, same.name) == ("default-3", "source")
    assert (named.vm_id, named.name) == ("there-1", "restored")
    for started in (same, named):
        (view,) = started.info().memslots
        assert (view.slot, view.npages, view.flags, view.dirty_count) == (0, NPAGES, 0, None)


async def test_no_page_of_a_vm_made_of_a_copy_is_known_to_be_zero() -> None:
    fleet = Fleet(Limits())
    vm = await made(fleet)
    started = await fleet.start_copy(vm, (await copied(vm)).copy_id, StartCopy())

    copy = await copied(started)

    assert copy.info(started.vm_id).slots[0].began is SlotBegan.NOTHING
    assert (await copy.verify(VerifyCopy())).lost_pages == NPAGES


async def test_no_page_of_a_migrations_destination_is_known_to_be_zero() -> None:
    fleet = Fleet(Limits())
    vm = await made(fleet)
    request = StartMigration(vm_id=vm.vm_id, destination=Destination(), zero_pages=True)
    migration = await fleet.start_migration(request)
    there = fleet.vm("default-2")
    async with asyncio.timeout(HANG_SECONDS):
        while not there.info().counters["host_writes"]:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.001)

    onwards = await fleet.start_migration(
        StartMigration(vm_id=there.vm_id, zero_pages=True, max_iterations=1)
    )
    await onwards.run.wait(lambda: False, HANG_SECONDS)

    assert migration.report().status is MigrationStatus.COMPLETED
    assert migration.report().totals.zero_pages == NPAGES
    assert onwards.report().totals.zero_pages == 0


async def test_a_migration_leaves_the_versions_of_a_copy_and_a_copy_those_of_a_migration() -> None:
    fleet = Fleet(Limits())
    vm = await made(fleet)
    copy = await copied(vm)
    await copy.receive(every())

    migration = await fleet.start_migration(StartMigration(vm_id=vm.vm_id))
    await migration.run.wait(lambda: False, HANG_SECONDS)
    write(vm, 9)

    assert migration.report().verification.verified
    found = await copy.verify(VerifyCopy())
    assert (found.current_pages, found.pending_pages) == (NPAGES - 1, 1)
