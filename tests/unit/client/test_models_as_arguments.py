"""Values of the model as arguments of the client: sent as their fields; actions of a batch with their op."""

import numpy as np
import pytest

from hacdbs_sim.client import Client, ConflictError, Vm
from hacdbs_sim.model import (
    AddIpaf,
    AddUniform,
    BatchAction,
    CreateVm,
    GetDirtyLog,
    Gfns,
    GuestWrite,
    LogFormat,
    MemslotFlags,
    Scheduled,
    SetMemslot,
    Variant,
)
from tests.unit.client.conftest import BASE_GFN

SLOT = SetMemslot(
    slot=0, guest_phys_addr=1 << 30, memory_size=1 << 22, flags=MemslotFlags.LOG_DIRTY_PAGES
)
WRITE = GuestWrite(pages=Gfns(np.array([BASE_GFN], np.uint64)))


def test_a_vm_is_made_of_models(client: Client) -> None:
    workload = AddUniform(slot=0, writes_per_second=1_000)
    vm = client.create_vm(memslots=[SLOT], faults=[AddIpaf(every=2)], workloads=[workload])

    info = vm.get()
    assert (len(info.memslots), len(info.faults), len(info.workloads)) == (1, 1, 1)


def test_flags_that_no_name_stands_for_are_refused(client: Client, vm: Vm) -> None:
    odd = SetMemslot(slot=9, guest_phys_addr=1 << 35, memory_size=1 << 22, flags=4)

    with pytest.raises(ValueError, match="4"):
        client.create_vm(memslots=[odd])
    with pytest.raises(ValueError, match="4"):
        vm.run_batch([odd])


@pytest.mark.parametrize("name", ["memslots", "faults", "workloads"])
@pytest.mark.parametrize("one", [{"slot": 0}, SLOT, "slot"], ids=["mapping", "model", "text"])
def test_one_that_is_not_in_a_list_is_refused(client: Client, name: str, one: object) -> None:
    with pytest.raises(TypeError, match=f"^{name} must be a list$"):
        client.create_vm(**{name: one})  # type: ignore[arg-type]


def test_one_flag_may_be_its_name(vm: Vm) -> None:
    place = {"guest_phys_addr": 1 << 35, "memory_size": 1 << 22}

    made = vm.set_memslot(2, flags="LOG_DIRTY_PAGES", **place)  # type: ignore[arg-type]

    assert made.flags == MemslotFlags.LOG_DIRTY_PAGES


def test_a_batch_takes_an_action_with_the_format_of_its_log(client: Client) -> None:
    vm = client.create_vm(memslots=[SLOT])

    get = BatchAction(action=GetDirtyLog(slot=0), format=LogFormat.WORDS)
    results = vm.run_batch([WRITE, get])

    assert results[1].body is not None
    assert results[1].body["words"][0] == 1


def test_schedules_and_variants_are_models(client: Client) -> None:
    vm = client.create_vm(memslots=[SLOT])
    schedule = [Scheduled(iteration=1, action=WRITE)]

    report = vm.start_migration(schedule=schedule).wait()
    comparison = client.start_comparison(CreateVm(memslots=(SLOT,)), variants=[Variant(name="a")])

    assert len(report.spec.schedule) == 1
    assert [row.name for row in comparison.wait().rows] == ["a"]


def test_addresses_may_be_numpy_integers(vm: Vm) -> None:
    place = np.uint64(0x9000_0000)

    with pytest.raises(ConflictError):  # and not refused as an integer that JSON cannot hold
        vm.set_memslot(
            2,
            guest_phys_addr=int(place),
            memory_size=1 << 21,
            userspace_addr=np.uint64(1 << 63),  # type: ignore[arg-type]
        )
