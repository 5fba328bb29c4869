"""VMs of the host's KVM in a fleet: whether they may be made, what they hold, and that it is freed."""

import asyncio
import errno
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.service.errors import NoSuchVmError, SetupRefusedError, StateBytesLimitError
from app.service.fleet import Fleet, Vm
from app.service.limits import Limits
from app.service.migrations import prepare
from app.service.vm_runtime import INLINE_WORK, SLOT_BYTES, VM_BYTES
from hacdbs_sim.host_kvm import HostKvmBackend, device, guest
from hacdbs_sim.model import (
    AddIpaf,
    AddUniform,
    BackendName,
    BackendUnavailableError,
    CostModel,
    CreateVm,
    Features,
    GetDirtyLog,
    Gfns,
    GuestWrite,
    KernelProfile,
    MigrationSpec,
    NotSupportedByBackendError,
    SetMemslot,
)
from tests.support.real_kvm import needs_kvm
from tests.support.settling import settle
from tests.support.wire import HANG_SECONDS

pytestmark = pytest.mark.anyio

MIB = 1 << 20
BASE = 0x1000_0000
SLOT = SetMemslot(slot=0, guest_phys_addr=BASE, memory_size=4 * MIB, flags=1)


def spec(*slots: SetMemslot, **fields: Any) -> CreateVm:
    return CreateVm(backend=BackendName.HOST_KVM, memslots=slots, **fields)


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    made = Fleet(Limits(max_state_bytes=64 * MIB), host_kvm=True)
    yield made
    await made.close()


def held() -> list[str]:
    """What of this process belongs to VMs: file descriptors of KVM, and mappings of a vCPU."""
    found = []
    for fd in Path("/proc/self/fd").iterdir():
        try:
            target = str(fd.readlink())
        except FileNotFoundError:
            continue  # that of the directory itself
        if "kvm" in target:
            found.append(target)
    with Path("/proc/self/maps").open() as maps:
        return found + [line.split()[-1] for line in maps if "kvm-v" in line]


async def test_without_the_setting_no_vm_is_made() -> None:
    fleet = Fleet(Limits())

    with pytest.raises(BackendUnavailableError, match="HACDBS_HOST_KVM=1") as refused:
        await fleet.create_vm(spec())

    assert (refused.value.field, refused.value.value) == ("backend", "host_kvm")
    assert fleet.vm_count == 0


async def test_without_the_device_the_reason_is_named(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(device, "DEVICE", tmp_path / "kvm")

    with pytest.raises(BackendUnavailableError, match=r"does not exist|x86-64"):
        await fleet.create_vm(spec())

    assert (fleet.vm_count, fleet.budget.used_bytes) == (0, 0)


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("faults", {"faults": (AddIpaf(),)}),
        ("workloads", {"workloads": (AddUniform(slot=0, writes_per_second=1),)}),
        ("track_versions", {"track_versions": True}),
        ("page_size", {"page_size": 65_536}),
        ("ipa_bits", {"ipa_bits": 44}),
        ("vcpus", {"vcpus": 2}),
        ("cpus", {"cpus": 2}),
        ("features", {"features": Features(hacdbs=False)}),
        ("eager_split_chunk_size", {"eager_split_chunk_size": 4096}),
        ("kernel", {"kernel": KernelProfile.V1}),
        ("seed", {"seed": 1}),
        ("costs", {"costs": CostModel(ioctl_ps=1)}),
    ],
)
async def test_what_real_kvm_has_not_is_refused_by_its_field(
    fleet: Fleet, field: str, fields: dict[str, Any]
) -> None:
    with pytest.raises(NotSupportedByBackendError) as refused:
        await fleet.create_vm(spec(**fields))

    assert refused.value.field == field
    assert (fleet.vm_count, fleet.budget.used_bytes) == (0, 0)


@needs_kvm
async def test_guest_memory_counts_against_the_budget(fleet: Fleet) -> None:
    vm = await fleet.create_vm(spec(SLOT))

    held = 4 * MIB + guest.SIZE_BYTES + VM_BYTES + SLOT_BYTES
    assert fleet.budget.used_bytes == held
    big = SetMemslot(slot=1, guest_phys_addr=2 * BASE, memory_size=64 * MIB)
    with pytest.raises(StateBytesLimitError):
        vm.runtime.perform(big)
    with pytest.raises(SetupRefusedError):
        await fleet.create_vm(spec(big))
    assert fleet.budget.used_bytes == held


async def deleted(fleet: Fleet, vm: Vm) -> None:
    fleet.delete_vm(vm.vm_id)
    await vm.runtime.closed()


async def reset(fleet: Fleet, vm: Vm) -> None:
    fleet.reset_session("default")
    await vm.runtime.closed()


async def stopped(fleet: Fleet, _: Vm) -> None:
    await fleet.close()


@needs_kvm
@pytest.mark.parametrize("end", [deleted, reset, stopped])
async def test_all_that_a_vm_holds_is_freed_at_its_end(
    fleet: Fleet, end: Callable[..., Any]
) -> None:
    before = held()
    for _ in range(3):
        vm = await fleet.create_vm(spec(SLOT))
        vm.runtime.perform(GuestWrite(pages=Gfns(np.array([BASE >> 12], np.uint64))))
        assert len(held()) > len(before)
        backend = vm.runtime._backend
        assert isinstance(backend, HostKvmBackend)
        memories = [backend._vm.control, *(slot.memory for slot in backend._slots.values())]
        await end(fleet, vm)

        assert held() == before
        assert [memory._map.closed for memory in memories] == [True, True]
        assert fleet.budget.used_bytes == 0


@needs_kvm
async def test_a_vm_that_is_refused_half_made_is_freed(fleet: Fleet) -> None:
    before = held()
    overlapping = SetMemslot(slot=1, guest_phys_addr=BASE, memory_size=MIB)

    with pytest.raises(SetupRefusedError, match="EEXIST"):
        await fleet.create_vm(spec(SLOT, overlapping))

    assert held() == before
    assert fleet.budget.used_bytes == 0


@needs_kvm
async def test_a_call_in_flight_ends_well_and_one_behind_it_finds_no_vm(fleet: Fleet) -> None:
    vm = await fleet.create_vm(spec(SLOT))
    begun, may_end = threading.Event(), threading.Event()

    def call() -> int | None:
        begun.set()
        assert may_end.wait(10)
        vm.runtime.perform(GuestWrite(pages=Gfns(np.array([BASE >> 12], np.uint64))))
        return vm.runtime.perform(GetDirtyLog(slot=0)).dirty_count

    running = asyncio.create_task(vm.runtime.run(call, work=lambda: INLINE_WORK + 1))
    await asyncio.to_thread(begun.wait, 10)
    fleet.delete_vm(vm.vm_id)
    await asyncio.sleep(0)
    late = asyncio.create_task(vm.runtime.run(lambda: 0, work=lambda: 0))
    await asyncio.sleep(0)
    may_end.set()

    assert await running == 1
    with pytest.raises(NoSuchVmError):
        await late
    await vm.runtime.closed()
    assert fleet.budget.used_bytes == 0


@needs_kvm
async def test_a_stop_waits_for_the_call_of_a_vm_that_was_deleted(fleet: Fleet) -> None:
    before = held()
    vm = await fleet.create_vm(spec(SLOT))
    begun, may_end = threading.Event(), threading.Event()

    def call() -> None:
        begun.set()
        assert may_end.wait(HANG_SECONDS)

    running = asyncio.create_task(vm.runtime.run(call, work=lambda: INLINE_WORK + 1))
    await asyncio.to_thread(begun.wait, HANG_SECONDS)
    fleet.delete_vm(vm.vm_id)
    stopping = asyncio.create_task(fleet.close())
    await settle()
    is_stopped_early = stopping.done()
    may_end.set()
    await running
    await stopping

    assert not is_stopped_early
    assert held() == before


@needs_kvm
def test_a_device_that_fails_while_it_is_opened_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = held()

    def fail(*_: object) -> int:
        raise OSError(errno.ENOMEM, "no memory")

    monkeypatch.setattr("fcntl.ioctl", fail)
    with pytest.raises(OSError, match="no memory"):
        device.Kvm()
    monkeypatch.undo()

    assert held() == before


@needs_kvm
async def test_it_is_not_migrated(fleet: Fleet) -> None:
    vm = await fleet.create_vm(spec(SLOT))

    with pytest.raises(NotSupportedByBackendError):
        await prepare(vm.runtime, MigrationSpec())


@needs_kvm
async def test_what_it_can_do_is_shown(fleet: Fleet) -> None:
    real, simulated = await fleet.create_vm(spec(SLOT)), await fleet.create_vm(CreateVm())

    assert real.info().backend == "host_kvm"
    assert "peek_dirty_log" not in real.info().capabilities.ops
    assert "software" in real.info().capabilities.unknown_fields
    assert real.info().features == Features(dbm=False, hacdbs=False)
    assert simulated.info().backend == "simulated"
    assert "peek_dirty_log" in simulated.info().capabilities.ops
    assert simulated.info().capabilities.unknown_fields == ()
