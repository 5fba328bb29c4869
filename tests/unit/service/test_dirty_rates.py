"""Measurements of the service: who runs the guest meanwhile, and what ends them."""

import asyncio
from typing import Any

import pytest

from app.service.errors import NoSuchVmError, StateBytesLimitError
from app.service.fleet import Fleet, Vm
from app.service.limits import Limits
from app.service.migrations import Migration
from hacdbs_sim import model
from hacdbs_sim.model import CalcDirtyRate, CreateVm, DirtyRateInfo, DirtyRateMode, DirtyRateStatus
from tests.support.wire import HANG_SECONDS

pytestmark = pytest.mark.anyio

MIB = 1 << 20
SECOND = 10**9
FREE = model.CostModel(**{knob.name: 0 for knob in model.KNOBS})
BITMAP = CalcDirtyRate(duration_ns=SECOND, mode=DirtyRateMode.DIRTY_BITMAP)
SAMPLING = CalcDirtyRate(duration_ns=SECOND)


async def make_vm(fleet: Fleet, rate: int = 16_384, **config: Any) -> Vm:
    slot = model.SetMemslot(slot=0, guest_phys_addr=0x4000_0000, memory_size=256 * MIB)
    return await fleet.create_vm(
        CreateVm(
            memslots=(slot,),
            workloads=(model.AddSequential(slot=0, writes_per_second=rate),),
            costs=FREE,
            **config,
        )
    )


async def measure(fleet: Fleet, vm: Vm, request: CalcDirtyRate = BITMAP) -> DirtyRateInfo:
    return await fleet.dirty_rates.measure(vm.session_id, vm.vm_id, vm.runtime, request)


async def migrate(fleet: Fleet, vm: Vm, **fields: Any) -> Migration:
    given = {"bandwidth_bytes_per_second": 128 * MIB, "pace_ms": 10_000, **fields}
    return await fleet.start_migration(model.StartMigration(vm_id=vm.vm_id, **given))


async def measured(vm: Vm) -> DirtyRateInfo:
    async with asyncio.timeout(HANG_SECONDS):
        while vm.runtime.dirty_rate.is_measuring:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    return vm.runtime.dirty_rate.info


async def over(migration: Migration) -> None:
    await migration.run.wait(lambda: False, HANG_SECONDS)


async def test_the_vm_serves_other_calls_while_it_is_measured() -> None:
    fleet = Fleet(Limits())
    vm = await make_vm(fleet, rate=30_000_000)
    measuring = asyncio.create_task(measure(fleet, vm))
    seen: list[int] = []

    async with asyncio.timeout(HANG_SECONDS):
        while not measuring.done():
            clock = await vm.runtime.run(lambda: vm.runtime.query(model.GetClock()), work=lambda: 0)
            seen.append(clock.now_ns)
            await asyncio.sleep(0)

    assert any(0 < now_ns < SECOND for now_ns in seen)
    assert (await measuring).elapsed_ns == SECOND


async def test_one_that_its_caller_abandons_goes_on() -> None:
    fleet = Fleet(Limits())
    vm = await make_vm(fleet, rate=30_000_000)
    caller = asyncio.create_task(measure(fleet, vm))
    async with asyncio.timeout(HANG_SECONDS):
        while not vm.runtime.dirty_rate.is_measuring:  # noqa: ASYNC110
            await asyncio.sleep(0.001)

    caller.cancel()

    assert (await measured(vm)).dirty_rate == 256


async def test_a_migration_that_begins_meanwhile_lets_the_rest_of_the_time_pass() -> None:
    fleet = Fleet(Limits())
    vm = await make_vm(fleet, rate=30_000_000)
    measuring = asyncio.create_task(measure(fleet, vm))
    async with asyncio.timeout(HANG_SECONDS):
        while not vm.runtime.dirty_rate.is_measuring:  # noqa: ASYNC110
            await asyncio.sleep(0.001)

    migration = await migrate(fleet, vm)
    status = (await measuring).status
    migration.cancel()
    await over(migration)

    assert status is DirtyRateStatus.MEASURING
    assert (await measured(vm)).elapsed_ns == SECOND
    assert not vm.runtime.query(model.GetMemslot(slot=0)).is_logging


@pytest.mark.parametrize("request_", [BITMAP, SAMPLING], ids=["bitmap", "sampling"])
async def test_after_a_migration_that_completes_the_guest_is_paused(
    request_: CalcDirtyRate,
) -> None:
    fleet = Fleet(Limits())
    vm = await make_vm(fleet, rate=1_000)
    migration = await migrate(fleet, vm, pace_ms=0, bandwidth_bytes_per_second=1 << 40, pace=0.05)
    longest = CalcDirtyRate(duration_ns=60 * SECOND, mode=request_.mode)

    begun = await measure(fleet, vm, longest)
    await over(migration)
    guest_ns = vm.runtime.query(model.GetClock()).guest_ns
    info = await measured(vm)

    assert begun.status is DirtyRateStatus.MEASURING
    assert migration.report().status is model.MigrationStatus.COMPLETED
    assert info.elapsed_ns == 60 * SECOND
    assert vm.runtime.query(model.GetClock()).guest_ns == guest_ns
    assert vm.runtime.query(model.GetLastVersion()) is None


async def test_a_vm_that_is_deleted_meanwhile_has_no_result() -> None:
    fleet = Fleet(Limits())
    vm = await make_vm(fleet, rate=30_000_000)
    measuring = asyncio.create_task(measure(fleet, vm))
    async with asyncio.timeout(HANG_SECONDS):
        while not vm.runtime.dirty_rate.is_measuring:  # noqa: ASYNC110
            await asyncio.sleep(0.001)

    fleet.delete_vm(vm.vm_id)

    with pytest.raises(NoSuchVmError, match="deleted while it was measured"):
        await measuring


async def test_versions_beyond_the_budget_refuse_it_and_change_nothing() -> None:
    one = Fleet(Limits())
    await make_vm(one)
    held = one.budget.used_bytes
    fleet = Fleet(Limits(max_state_bytes=held + 1_000))
    vm = await make_vm(fleet)

    with pytest.raises(StateBytesLimitError):
        await measure(fleet, vm, SAMPLING)

    assert vm.runtime.dirty_rate.info.status is DirtyRateStatus.UNSTARTED
    assert fleet.budget.used_bytes == held


async def test_the_service_stops_while_one_goes_on() -> None:
    fleet = Fleet(Limits())
    vm = await make_vm(fleet, rate=30_000_000)
    measuring = asyncio.create_task(measure(fleet, vm))
    async with asyncio.timeout(HANG_SECONDS):
        while not vm.runtime.dirty_rate.is_measuring:  # noqa: ASYNC110
            await asyncio.sleep(0.001)

        await fleet.background.stop()

        with pytest.raises(asyncio.CancelledError):
            await measuring
