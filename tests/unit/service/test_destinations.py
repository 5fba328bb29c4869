"""Migrations to a VM of their own: it is there from the start, and has the guest at the end."""

import asyncio
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app.service import fleet as fleet_module
from app.service.errors import (
    NoSuchSessionError,
    NoSuchVmError,
    SetupRefusedError,
    StateBytesLimitError,
    VmLimitError,
)
from app.service.fleet import Fleet, Vm
from app.service.limits import Limits
from app.service.migrations import Migration
from app.service.vm_runtime import INLINE_WORK, SLOT_BYTES, VM_BYTES
from hacdbs_sim.model import (
    AddIntervals,
    AddIpaf,
    CreateVm,
    DeleteMemslot,
    Destination,
    GetLastVersion,
    GetWrittenPages,
    GuestWrite,
    Intervals,
    LinkEvent,
    LinkEventType,
    LinkSpec,
    ListMemslots,
    ListWorkloads,
    MemslotFlags,
    MigrationStatus,
    PageRanges,
    PostcopySpec,
    Reason,
    Scheduled,
    SchedulePoint,
    SetMemslot,
    StartMigration,
)
from hacdbs_sim.model.pages import pages_of
from tests.support.settling import settle
from tests.support.wire import HANG_SECONDS
from tests.unit.service.migrating import (
    ENDLESS,
    IN_POSTCOPY,
    SLOT,
    SLOWLY,
    WRITES,
    ended,
    reached,
    vm_spec,
)

pytestmark = pytest.mark.anyio

BASE_GFN = SLOT.guest_phys_addr // 4096
TO_A_VM: dict[str, Any] = {
    "bandwidth_bytes_per_second": 64_000_000,
    "downtime_limit_ns": 1_000_000,
    "destination": Destination(),
}


async def begin(fleet: Fleet, vm_id: str, **fields: Any) -> Migration:
    return await fleet.start_migration(StartMigration(vm_id=vm_id, **{**TO_A_VM, **fields}))


def written(vm: Vm) -> list[int] | None:
    found = vm.runtime.query(GetWrittenPages(slot=0)).bitmap
    return None if found is None else pages_of(found.words).tolist()


def ids(fleet: Fleet) -> list[str]:
    return [vm.vm_id for vm in fleet.vms(None)]


async def test_the_vm_of_the_destination_is_there_from_the_start_and_has_the_guest_at_the_end() -> (
    None
):
    fleet = Fleet(Limits())
    rom = SetMemslot(slot=1, guest_phys_addr=0, memory_size=4096, flags=int(MemslotFlags.READONLY))
    source = await fleet.create_vm(replace(vm_spec("default", WRITES), memslots=(SLOT, rom)))

    migration = await begin(fleet, source.vm_id)
    during = fleet.vm("default-2")
    at_first = during.runtime.query(ListWorkloads())
    report = await ended(migration)

    assert migration.destination_vm_id == migration.info().destination_vm_id == "default-2"
    assert (report.status, report.verification.lost_pages) == (MigrationStatus.COMPLETED, 0)
    there = fleet.vm("default-2")
    assert there is during
    assert at_first == ()
    slots = there.runtime.query(ListMemslots())
    assert [(each.slot, each.npages, each.flags) for each in slots] == [
        (0, 4_096, 0),
        (1, 1, MemslotFlags.READONLY),
    ]
    assert source.runtime.query(ListWorkloads()) == ()
    (moved,) = there.runtime.query(ListWorkloads())
    assert (moved.slot, moved.writes) == (0, 0)


async def test_a_chain_of_three_hosts_loses_nothing() -> None:
    fleet = Fleet(Limits())
    fleet.create_session("b")
    source = await fleet.create_vm(vm_spec("default", WRITES, track_versions=True))
    to_b = Destination(session_id="b", name="second")

    first = await ended(await begin(fleet, source.vm_id, destination=to_b, zero_pages=True))
    second = await ended(await begin(fleet, "b-1", zero_pages=True))

    assert {first.status, second.status} == {MigrationStatus.COMPLETED}
    assert first.verification.lost_pages == second.verification.lost_pages == 0
    names = [(vm.vm_id, vm.name) for vm in fleet.vms(None)]
    assert names == [("b-1", "second"), ("b-2", "second"), ("default-1", "")]
    assert fleet.vm("b-1").runtime.query(ListWorkloads()) == ()
    assert len(fleet.vm("b-2").runtime.query(ListWorkloads())) == 1


async def test_what_was_written_at_the_source_is_no_zero_page_of_the_destination() -> None:
    fleet = Fleet(Limits())
    source = await fleet.create_vm(vm_spec(track_versions=True))
    pages = PageRanges(np.array([BASE_GFN, BASE_GFN + 70], "u8"), np.array([3, 1], "u8"))
    source.runtime.perform(GuestWrite(pages=pages))

    await ended(await begin(fleet, source.vm_id))
    again = await ended(await begin(fleet, "default-2", zero_pages=True))

    assert written(fleet.vm("default-2")) == [0, 1, 2, 70]
    assert again.iterations[0].zero_pages == 4_096 - 4


async def test_a_destination_whose_source_did_not_track_has_no_page_known_to_be_zero() -> None:
    fleet = Fleet(Limits())
    source = await fleet.create_vm(vm_spec("default", WRITES))

    await ended(await begin(fleet, source.vm_id))
    again = await ended(await begin(fleet, "default-2", zero_pages=True))

    assert fleet.vm("default-2").runtime.query(GetLastVersion()) is None
    assert {each.zero_pages for each in again.iterations} == {0}


async def test_a_migration_that_is_cancelled_deletes_it_and_another_host_can_be_tried() -> None:
    fleet = Fleet(Limits())
    source = await fleet.create_vm(vm_spec("default", WRITES))
    first = await begin(fleet, source.vm_id, **ENDLESS)

    first.cancel()
    report = await ended(first)
    left = ids(fleet)
    again = await ended(await begin(fleet, source.vm_id))

    assert report.status is MigrationStatus.CANCELLED
    assert left == ["default-1"]
    assert len(source.runtime.query(ListWorkloads())) == 0
    assert again.status is MigrationStatus.COMPLETED
    assert ids(fleet) == ["default-1", "default-3"]


@pytest.mark.parametrize(
    "event", [LinkEventType.FAILURE, LinkEventType.DESTINATION_DIES], ids=lambda each: each.value
)
async def test_a_migration_that_fails_deletes_it_and_leaves_the_guest(event: LinkEventType) -> None:
    fleet = Fleet(Limits())
    source = await fleet.create_vm(vm_spec("default", WRITES))
    link = LinkSpec(events=(LinkEvent(type=event, at_ns=1_000_000),))

    report = await ended(await begin(fleet, source.vm_id, link=link))

    assert report.status is MigrationStatus.FAILED
    assert ids(fleet) == ["default-1"]
    assert len(source.runtime.query(ListWorkloads())) == 1


async def test_a_destination_that_is_deleted_fails_the_migration_as_one_that_died() -> None:
    fleet = Fleet(Limits())
    source = await fleet.create_vm(vm_spec("default", WRITES))
    migration = await begin(fleet, source.vm_id, **ENDLESS)

    fleet.delete_vm("default-2")
    report = await ended(migration)

    assert (report.status, report.reason) == (MigrationStatus.FAILED, Reason.DESTINATION_DIED)
    assert report.refused is not None
    assert report.refused.code == "destination_died"
    assert len(source.runtime.query(ListWorkloads())) == 1


async def test_a_destination_deleted_in_post_copy_takes_the_guest_with_it() -> None:
    fleet = Fleet(Limits())
    source = await fleet.create_vm(vm_spec("default", WRITES))
    migration = await begin(fleet, source.vm_id, **IN_POSTCOPY, pace=SLOWLY)
    await reached(migration, "postcopy-active")

    fleet.delete_vm("default-2")
    report = await ended(migration)

    assert (report.status, report.reason) == (MigrationStatus.FAILED, Reason.DESTINATION_DIED)
    assert report.postcopy is not None
    assert report.postcopy.guest_lost


async def test_post_copy_arrives_at_the_vm_of_the_destination() -> None:
    fleet = Fleet(Limits())
    source = await fleet.create_vm(vm_spec("default", WRITES))

    report = await ended(
        await begin(fleet, source.vm_id, **ENDLESS, postcopy=PostcopySpec(after_iterations=1))
    )

    assert (report.status, report.reason) == (MigrationStatus.COMPLETED, Reason.POSTCOPY)
    assert len(fleet.vm("default-2").runtime.query(ListWorkloads())) == 1


async def test_only_the_slots_that_are_migrated_are_made_and_only_their_workloads_move() -> None:
    fleet = Fleet(Limits())
    other = SetMemslot(slot=1, guest_phys_addr=0, memory_size=4096 * 64)
    of_other = replace(WRITES, slot=1)
    source = await fleet.create_vm(
        replace(vm_spec("default", WRITES, of_other), memslots=(SLOT, other))
    )

    await ended(await begin(fleet, source.vm_id, slots=(1,)))

    there = fleet.vm("default-2").runtime
    assert [each.slot for each in there.query(ListMemslots())] == [1]
    assert [each.slot for each in there.query(ListWorkloads())] == [1]


async def test_a_slot_that_went_on_the_way_leaves_the_destination_with_unknown_content() -> None:
    fleet = Fleet(Limits())
    source = await fleet.create_vm(
        replace(
            vm_spec(track_versions=True),
            memslots=(SLOT, SetMemslot(slot=1, guest_phys_addr=0, memory_size=4096)),
        )
    )
    going = Scheduled(at=SchedulePoint(iteration=1), action=DeleteMemslot(slot=1))

    report = await ended(
        await begin(fleet, source.vm_id, schedule=(going,), on_layout_change="ignore")
    )

    assert report.status is MigrationStatus.COMPLETED
    found = fleet.vm("default-2").runtime.query(GetWrittenPages(slot=1)).bitmap
    assert found is not None
    assert pages_of(found.words).tolist() == [0]


async def test_without_room_for_the_workloads_the_guest_stays_and_the_migration_fails() -> None:
    # The trace is at both hosts for a moment, for which there is no room.
    fleet = Fleet(Limits(max_state_bytes=700 << 10))
    pages = np.arange(60_000, dtype=np.uint32) % 4096
    trace = AddIntervals(
        slot=0,
        pages=Intervals(starts=np.array([0, len(pages)]), pages=pages),
        interval_ns=10**12,
    )
    source = await fleet.create_vm(vm_spec("default", trace))

    report = await ended(await begin(fleet, source.vm_id, verify=False))

    assert (report.status, report.reason) == (MigrationStatus.FAILED, Reason.REFUSED)
    assert report.refused is not None
    assert report.refused.code == "state_bytes_limit"
    assert ids(fleet) == ["default-1"]
    assert len(source.runtime.query(ListWorkloads())) == 1


@pytest.mark.parametrize(
    ("limits", "destination", "error"),
    [
        (Limits(), Destination(session_id="none"), NoSuchSessionError),
        (Limits(max_vms=1), Destination(), VmLimitError),
    ],
)
async def test_a_destination_that_cannot_be_made_is_refused_and_nothing_is_started(
    limits: Limits, destination: Destination, error: type[Exception]
) -> None:
    fleet = Fleet(limits)
    source = await fleet.create_vm(vm_spec("default", WRITES))

    with pytest.raises(error):
        await begin(fleet, source.vm_id, destination=destination)

    assert fleet.migrations.migrations(None) == []
    assert ids(fleet) == ["default-1"]


async def test_a_destination_without_room_for_its_memslots_is_refused_there() -> None:
    fleet = Fleet(Limits(max_state_bytes=2 * VM_BYTES + SLOT_BYTES + (3 << 10)))
    source = await fleet.create_vm(vm_spec())

    with pytest.raises(SetupRefusedError) as refused:
        await begin(fleet, source.vm_id)

    assert (refused.value.part, refused.value.index) == ("destination/memslots", 0)
    assert isinstance(refused.value.cause, StateBytesLimitError)


async def test_a_migration_that_cannot_start_leaves_no_destination() -> None:
    fleet = Fleet(Limits())
    source = await fleet.create_vm(vm_spec("default", WRITES))

    with pytest.raises(Exception, match="slots must be memslots of the VM"):
        await begin(fleet, source.vm_id, slots=(7,))

    assert ids(fleet) == ["default-1"]


async def test_a_source_deleted_while_the_destination_is_made_leaves_no_destination(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fleet = Fleet(Limits())
    source = await fleet.create_vm(vm_spec("default", WRITES))
    create = Fleet.create_vm

    async def create_late(self: Fleet, spec: CreateVm, epoch: int | None) -> Vm:
        made = await create(self, spec, epoch)
        self.delete_vm(source.vm_id)
        return made

    monkeypatch.setattr(fleet_module.Fleet, "create_vm", create_late)

    with pytest.raises(NoSuchVmError):
        await begin(fleet, source.vm_id)

    assert ids(fleet) == []


async def test_a_defect_deletes_the_destination() -> None:
    fleet = Fleet(Limits())
    source = await fleet.create_vm(vm_spec("default", WRITES))
    impossible: Any = object()
    schedule = (Scheduled(iteration=0, action=impossible),)

    migration = await begin(fleet, source.vm_id, schedule=schedule)
    report = await ended(migration)
    task = migration.run._task
    assert task is not None
    with pytest.raises(KeyError):
        await task

    assert report.status is MigrationStatus.FAILED
    assert ids(fleet) == ["default-1"]


async def test_faults_stay_at_the_source() -> None:
    fleet = Fleet(Limits())
    fault = AddIpaf(times=1)
    source = await fleet.create_vm(replace(vm_spec("default", WRITES), faults=(fault,)))

    await ended(await begin(fleet, source.vm_id))

    assert fleet.vm("default-2").info().faults == ()
    assert len(source.info().faults) == 1


async def test_a_destination_that_is_deleted_while_the_guest_arrives_has_not_taken_it() -> None:
    fleet = Fleet(Limits())
    source = await fleet.create_vm(vm_spec("default", WRITES))
    migration = await begin(fleet, source.vm_id)
    may_end = threading.Event()
    held = asyncio.create_task(
        fleet.vm("default-2").runtime.run(
            lambda: may_end.wait(HANG_SECONDS), work=lambda: INLINE_WORK + 1
        )
    )
    async with asyncio.timeout(HANG_SECONDS):
        while migration.report().status not in {  # noqa: ASYNC110
            MigrationStatus.DEVICE,
            MigrationStatus.COMPLETED,
        }:
            await asyncio.sleep(0.001)
    await settle()

    fleet.delete_vm("default-2")
    may_end.set()
    await held
    report = await ended(migration)

    assert (report.status, report.reason) == (MigrationStatus.FAILED, Reason.DESTINATION_DIED)
    assert report.refused is not None
    assert report.refused.code == "destination_died"
    assert len(source.runtime.query(ListWorkloads())) == 1


async def test_a_call_that_is_cancelled_leaves_no_destination_without_its_migration() -> None:
    fleet = Fleet(Limits())
    source = await fleet.create_vm(vm_spec("default", WRITES))
    call = asyncio.create_task(begin(fleet, source.vm_id, **ENDLESS))
    while len(ids(fleet)) < 2:  # noqa: ASYNC110
        await asyncio.sleep(0)

    call.cancel()
    await asyncio.wait([call])
    await settle()

    (migration,) = fleet.migrations.migrations(None)
    assert migration.destination_vm_id == "default-2"
    await fleet.close()


async def test_what_refuses_the_destination_is_named_within_it() -> None:
    fleet = Fleet(Limits())
    source = await fleet.create_vm(vm_spec("default", WRITES))

    with pytest.raises(NoSuchSessionError) as refused:
        await begin(fleet, source.vm_id, destination=Destination(session_id="nowhere"))

    assert refused.value.field == "destination.session_id"
