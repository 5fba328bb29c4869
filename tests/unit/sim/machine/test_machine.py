"""The machine's public face: configuration, CPUs, queries, counters."""

import sys
import threading
from typing import Any

import pytest

from hacdbs_sim.model import (
    FaultType,
    Features,
    GuestRead,
    GuestWrite,
    HostUnmap,
    SetCpu,
    SetMemslot,
    UpdateVm,
    VmConfig,
)
from hacdbs_sim.model.errors import (
    KvmError,
    LastCpuError,
    MemslotsPresentError,
    NoSuchMemslotError,
)
from hacdbs_sim.sim.machine import COUNTERS, Machine
from tests.support.building import (
    LOG,
    MIB,
    arm,
    clear,
    get,
    gfns,
    machine,
    ranges,
    read,
    set_log,
    states,
    write,
)


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"page_size": 8192}, "page_size"),
        ({"ipa_bits": 31}, "ipa_bits"),
        ({"ipa_bits": 49}, "ipa_bits"),
        ({"vcpus": 0}, "vcpus"),
        ({"vcpus": 513}, "vcpus"),
        ({"cpus": 0}, "cpus"),
        ({"cpus": 513}, "cpus"),
        ({"seed": -1}, "seed"),
        ({"seed": 1 << 64}, "seed"),
        ({"manual_dirty_log_protect2": 2}, "manual_dirty_log_protect2"),
        ({"manual_dirty_log_protect2": 4}, "manual_dirty_log_protect2"),
        ({"eager_split_chunk_size": 65536}, "eager_split_chunk_size"),
        ({"page_size": 16384, "eager_split_chunk_size": 2 * MIB}, "eager_split_chunk_size"),
    ],
)
def test_a_configuration_no_vm_can_have_is_einval(bad: dict[str, int], field: str) -> None:
    with pytest.raises(KvmError) as caught:
        Machine(VmConfig(**bad))  # type: ignore[arg-type]

    assert (caught.value.errno, caught.value.field) == ("EINVAL", field)


@pytest.mark.parametrize(
    ("flags", "legal"), [(0, True), (1, True), (2, False), (3, True), (4, False)]
)
def test_the_manual_protect_capability_takes_0_1_and_3(flags: int, legal: bool) -> None:
    made = machine(64, manual_dirty_log_protect2=1)

    if legal:
        made.perform(UpdateVm(manual_dirty_log_protect2=flags))
        assert made.config.manual_dirty_log_protect2 == flags
    else:
        with pytest.raises(KvmError, match=rf"must be one of 0, 1, 3, not {flags}"):
            made.perform(UpdateVm(manual_dirty_log_protect2=flags))
        assert made.config.manual_dirty_log_protect2 == 1


def test_the_chunk_size_must_be_set_before_the_first_memslot() -> None:
    made = machine()
    made.perform(UpdateVm(eager_split_chunk_size=2 * MIB))
    with pytest.raises(KvmError, match="eager_split_chunk_size must be one of"):
        made.perform(UpdateVm(eager_split_chunk_size=3))
    made.perform(SetMemslot(slot=0, guest_phys_addr=0, memory_size=MIB))

    with pytest.raises(MemslotsPresentError) as caught:
        made.perform(UpdateVm(eager_split_chunk_size=0))

    assert caught.value.errno == "EINVAL"
    assert made.config.eager_split_chunk_size == 2 * MIB


def test_the_last_online_cpu_cannot_be_unplugged() -> None:
    made = machine(cpus=2)

    assert made.perform(SetCpu(cpu=0, online=False)).status == "OFF"
    made.perform(SetCpu(cpu=0, online=False))
    with pytest.raises(LastCpuError) as caught:
        made.perform(SetCpu(cpu=1, online=False))

    assert caught.value.errno == "EBUSY"
    assert [view.online for view in made.cpus()] == [False, True]
    assert made.perform(SetCpu(cpu=0, online=True)).status == "IDLE"
    for cpu in (2, -1):
        with pytest.raises(KvmError, match=r"cpu must be 0\.\.1"):
            made.perform(SetCpu(cpu=cpu, online=True))
        with pytest.raises(KvmError, match=r"cpu must be 0\.\.1"):
            made.cpu(cpu)


def test_a_query_of_an_absent_slot_is_refused() -> None:
    with pytest.raises(NoSuchMemslotError):
        machine().memslot(3)


def test_stage_2_is_reported_as_runs_across_slots_and_gaps() -> None:
    made = machine(64, base_gfn=64)
    made.perform(
        SetMemslot(slot=1, guest_phys_addr=1024 * 4096, memory_size=4 * MIB, backing=2 * MIB)
    )
    write(made, (70, 3), (1024, 1))
    read(made, (73, 1))

    assert states(made, 0, 3000) == [
        (0, 70, None, "unmapped"),
        (70, 3, 3, "writable_dirty"),
        (73, 1, 3, "read_only"),
        (74, 950, None, "unmapped"),
        (1024, 512, 2, "writable_dirty"),
        (1536, 1464, None, "unmapped"),
    ]
    assert states(made, 1030, 5) == [(1030, 5, 2, "writable_dirty")]
    assert states(made, 72, 0) == []


def test_stage_2_is_cut_at_the_end_of_the_ipa_space_and_pages_by_runs() -> None:
    made = machine(64, ipa_bits=32)
    write(made, (3, 1), (5, 1))
    end = 1 << 20

    first = made.stage2(0, 1 << 40, 3)
    assert [run.gfn for run in first.runs] == [0, 3, 4]
    assert first.next_gfn == 5
    rest = made.stage2(5, 1 << 40, 3)
    assert [(run.gfn, run.count) for run in rest.runs] == [(5, 1), (6, end - 6)]
    assert rest.next_gfn is None
    with pytest.raises(KvmError, match="gfn must be 0"):
        made.stage2(end, 1, 1)


def test_a_query_of_a_large_slot_joins_its_steps() -> None:
    made = machine(3 << 20)
    write(made, (5, 3 << 20 >> 1))

    assert [count for _, count, *_ in states(made, 0, 3 << 20)] == [
        5,
        3 << 19,
        (3 << 20) - (3 << 19) - 5,
    ]


@pytest.mark.parametrize(
    ("dbm", "after", "descriptor"),
    [
        (True, "write", 0x0008_0000_4000_57FF),
        (True, "get", 0x0008_0000_4000_577F),
        (False, "write", 0x0000_0000_4000_57FF),
        (False, "get", 0x0000_0000_4000_577F),
        (True, "read", 0x0000_0000_4000_577F),
        (True, "unmap", 0),
    ],
)
def test_a_page_descriptor_has_the_bits_of_the_manual(
    dbm: bool,
    after: str,
    descriptor: int,
) -> None:
    made = machine(64, base_gfn=0x40000, features=Features(dbm=dbm))
    if after == "read":
        made.perform(GuestRead(pages=gfns(0x40005)))
    else:
        made.perform(GuestWrite(pages=gfns(0x40005)))
    if after == "get":
        get(made)
    if after == "unmap":
        made.perform(HostUnmap(pages=gfns(0x40005)))

    (run,) = made.stage2(0x40005, 1, 9).runs

    assert run.descriptor == descriptor


def test_a_block_descriptor_translates_its_whole_block() -> None:
    made = machine(1024, base_gfn=0x40000, flags=0, backing=2 * MIB)
    write(made, (0x40205, 1))

    (run,) = made.stage2(0x40300, 1, 9).runs

    assert (run.level, run.descriptor) == (2, 0x0008_0000_4020_07FD)


def test_counters_are_the_sums_of_the_outcomes() -> None:
    made = machine(1100)
    write(made, (0, 1100), (5000, 1))
    read(made, (3, 1))
    arm(made, FaultType.IPAF, batch=1)
    got = get(made)
    clear(made)

    counters = made.counters()

    assert tuple(counters) == COUNTERS
    counted = {name: count for name, count in counters.items() if count}
    assert counted == {
        "guest_writes": 1101,
        "guest_reads": 1,
        "newly_dirty": 1100,
        "translation_faults": 1100,
        "mmio_exits": 1,
        "dirty_log_gets": 1,
        "dirty_log_clears": 1,
        "accelerator_cleaned": 1,
        "accelerator_partial": 1,
        "accelerator_runs": 2,
        "accelerator_entries": 1024,
        "accelerator_cleaned_pages": 512,
        "accelerator_requeued_pages": got.accelerator.requeued if got.accelerator else -1,
        "software_words": 10,
        "software_pages": 588,
        "write_protected": 588,
        "tlb_flushes": 1,
    }


def test_logging_that_begins_flushes_and_splits_eagerly() -> None:
    made = machine(1024, flags=0, backing=2 * MIB, eager_split_chunk_size=2 * MIB)
    write(made, (0, 1), (600, 1))

    set_log(made, on=True)

    assert states(made, 0, 1024) == [(0, 1024, 3, "writable_clean")]
    assert made.counters()["eager_blocks_split"] == 2
    assert made.counters()["tlb_flushes"] == 1
    assert made.memslot(0).flags == LOG


def story(seed: int) -> list[Any]:
    made = machine(3000, seed=seed, cpus=3)
    arm(made, FaultType.IPAF, probability=0.5, index=3)
    seen: list[Any] = []
    for first in range(0, 2000, 100):
        write(made, (first, 900))
        got = get(made, trace=True)
        assert got.bitmap is not None
        seen.append((got.bitmap.words.tobytes(), got.accelerator, got.software, made.cpus()))
    return [*seen, made.faults(), made.counters(), made.stage2(0, 3000, 99)]


def test_the_same_actions_and_seed_end_in_the_same_machine() -> None:
    assert story(5) == story(5)
    assert story(5) != story(6)


def test_ranges_may_overlap_and_repeat() -> None:
    made = machine(300)

    made.perform(GuestWrite(pages=ranges((0, 200), (100, 150), (120, 1))))

    assert made.memslot(0).dirty_count == 250


def test_a_query_without_a_lock_never_misses_a_slot_that_is_being_changed() -> None:
    made = machine(64)
    missed: list[int] = []
    stop = threading.Event()

    def query() -> None:
        while not stop.is_set():
            if [view.slot for view in made.memslots()] != [0]:
                missed.append(1)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    reader = threading.Thread(target=query)
    reader.start()
    try:
        for _ in range(300):
            set_log(made, on=False)
            set_log(made, on=True)
    finally:
        stop.set()
        reader.join()
        sys.setswitchinterval(interval)

    assert not missed


def test_a_query_of_scattered_pages_stops_at_its_limit() -> None:
    made = machine(1 << 16)
    made.perform(GuestWrite(pages=gfns(*range(0, 1 << 16, 2))))

    page = made.stage2(1, 1 << 20, 3)

    assert [(run.gfn, run.count, run.level) for run in page.runs] == [
        (1, 1, None),
        (2, 1, 3),
        (3, 1, None),
    ]
    assert page.next_gfn == 4
