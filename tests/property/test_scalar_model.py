"""Figures worked out by hand, for the scalar model and, in lockstep, for the core.

The model is the oracle of the other property tests; here it is held to docs/kernel.md S, and its
loop to the closed form of S.1.
"""

import ast
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hacdbs_sim.model import (
    AcceleratorReport,
    ClearDirtyLog,
    DirtyLog,
    FaultType,
    GetDirtyLog,
    GuestRead,
    GuestWrite,
    HostUnmap,
    HostWrite,
    KernelProfile,
    LeafState,
    LogOp,
    SetMemslot,
    UpdateVm,
    VmConfig,
    known,
)
from tests.support import scalar_model
from tests.support.faults import fault
from tests.support.lockstep import Lockstep
from tests.support.scalar_faults import draw, step
from tests.support.scalar_model import Refused
from tests.support.scalar_unit import STOP_TTWL, decode_entry, encode_entry
from tests.support.strategies import page_ranges

BASE = 0x10000
MIB = 1 << 20
LOG = 1


def model(
    npages: int = 2000, *, flags: int = LOG, backing: int = 4096, **config: object
) -> Lockstep:
    made = Lockstep(VmConfig(**config))  # type: ignore[arg-type]  # fields by name
    made.perform(
        SetMemslot(
            slot=0,
            guest_phys_addr=BASE * 4096,
            memory_size=npages * 4096,
            flags=flags,
            backing=backing,
        )
    )
    return made


def write(machine: Lockstep, first: int, count: int) -> None:
    machine.perform(GuestWrite(pages=page_ranges((BASE + first, count))))


def get(machine: Lockstep) -> tuple[DirtyLog, AcceleratorReport]:
    outcome = machine.perform(GetDirtyLog(slot=0))
    assert isinstance(outcome, DirtyLog)
    assert outcome.accelerator is not None
    return outcome, outcome.accelerator


def clear(machine: Lockstep, first: int, count: int) -> tuple[DirtyLog, AcceleratorReport]:
    outcome = machine.perform(ClearDirtyLog(slot=0, pages=page_ranges((first, count))))
    assert isinstance(outcome, DirtyLog)
    assert outcome.accelerator is not None
    return outcome, outcome.accelerator


def dirty(machine: Lockstep) -> set[int]:
    found = machine.model.slots.by_id[0].dirty
    assert found is not None
    return found


def test_entry_is_ipa_with_signed_ttwl_and_valid() -> None:
    assert encode_entry(0x12345000, 3) == 0x12345007
    assert encode_entry(0, STOP_TTWL) == 0b1001
    assert decode_entry(0b1001) == (True, -4, 0)
    assert decode_entry(0x12345007) == (True, 3, 0x12345000)
    assert decode_entry(encode_entry(1 << 55, -1)) == (True, -1, 1 << 55)


def test_short_last_array_ends_at_its_stop_entry() -> None:
    machine = model(600)
    write(machine, 0, 600)

    outcome, report = get(machine)

    assert (report.batches, report.entries, report.cleaned) == (2, 600, 600)
    assert (report.errno, known(outcome.software).ran, outcome.flush_tlb) == (None, False, True)
    assert machine.model.cpus()[0].hacdbscons_el2.raw == 3 << 62 | 88
    assert machine.model.cpus()[0].interrupts == 2


def test_full_last_array_ends_as_finished() -> None:
    machine = model(1024)
    write(machine, 0, 1024)

    _outcome, report = get(machine)

    assert (report.batches, report.cleaned, report.errno) == (2, 1024, None)
    assert machine.model.cpus()[0].hacdbscons_el2.raw == 512


def test_v1_calls_an_exact_multiple_partial_and_requeues_nothing() -> None:
    machine = model(1024, kernel=KernelProfile.V1)
    write(machine, 0, 1024)

    outcome, report = get(machine)

    assert (report.outcome, report.errno, report.error) == ("partial", "EAGAIN", None)
    assert (report.cleaned, report.requeued) == (1024, 0)
    assert (known(outcome.software).ran, known(outcome.software).words, outcome.dirty_count) == (
        True,
        0,
        1024,
    )


def test_v1_calls_an_empty_log_clean() -> None:
    _outcome, report = get(model(1024, kernel=KernelProfile.V1))

    assert (report.outcome, report.batches) == ("cleaned", 0)


def test_failure_requeues_the_array_and_the_rest_of_the_word() -> None:
    # One page in the first word puts every array's end one page before a word's end.
    machine = model(2000)
    write(machine, 63, 1937)
    machine.perform(HostUnmap(pages=page_ranges((BASE + 63 + 512 + 100, 1))))

    outcome, report = get(machine)

    # The second array holds pages 575..1086; 1087 is the last page of its last word.
    assert report.error is not None
    assert (report.error.reason, report.error.batch, report.error.index) == ("IPAF", 1, 100)
    assert report.error.gfn == BASE + 675
    assert (report.entries, report.cleaned, report.requeued) == (1024, 612, 412 + 1)
    assert known(outcome.software).pages == 1937 - 612
    assert (outcome.dirty_count, outcome.remaining_count) == (1937, 0)


def test_frontier_is_the_last_word_that_is_split() -> None:
    machine = model(
        4096,
        flags=0,
        backing=2 * MIB,
        manual_dirty_log_protect2=3,
        eager_split_chunk_size=2 * MIB,
    )
    write(machine, 0, 4096)
    machine.perform(
        SetMemslot(
            slot=0, guest_phys_addr=BASE * 4096, memory_size=4096 * 4096, flags=LOG, backing=2 * MIB
        )
    )
    machine.perform(fault(FaultType.STRUCTF, when={"batch": 2, "index": 7}))

    outcome, report = clear(machine, 1, 4095)

    # Entries start at page 1, so the third array ends with page 1536, the first of the fourth
    # block: that block is split for the hook, the four beyond are left to software.
    assert report.blocks_split == 4
    assert known(outcome.software).blocks_split == 4
    assert (report.cleaned, report.requeued) == (1031, 505 + 63)
    assert dirty(machine) == {0}


def test_block_not_split_stops_the_unit_at_its_first_entry() -> None:
    machine = model(1024, flags=0, backing=2 * MIB, manual_dirty_log_protect2=3)
    write(machine, 0, 1024)
    machine.perform(
        SetMemslot(
            slot=0, guest_phys_addr=BASE * 4096, memory_size=1024 * 4096, flags=LOG, backing=2 * MIB
        )
    )

    outcome, report = clear(machine, 0, 1024)

    assert report.error is not None
    assert (report.error.reason, report.cleaned) == ("IPAHACF", 0)
    assert known(outcome.software).write_protected == 2
    assert machine.model.stage2.page(BASE + 1) == (2, LeafState.WRITABLE_CLEAN)


def test_v1_cleans_whole_blocks_at_the_level_of_its_chunk() -> None:
    machine = model(
        1024, flags=0, backing=2 * MIB, kernel=KernelProfile.V1, eager_split_chunk_size=2 * MIB
    )
    write(machine, 0, 1024)
    machine.perform(UpdateVm(manual_dirty_log_protect2=3))
    machine.perform(
        SetMemslot(
            slot=0, guest_phys_addr=BASE * 4096, memory_size=1024 * 4096, flags=LOG, backing=2 * MIB
        )
    )
    machine.perform(UpdateVm(manual_dirty_log_protect2=1))

    _outcome, report = clear(machine, 0, 2)

    assert report.cleaned == 2
    assert machine.model.stage2.page(BASE + 511) == (2, LeafState.WRITABLE_CLEAN)
    assert machine.model.stage2.page(BASE + 512) == (2, LeafState.WRITABLE_DIRTY)


def test_fault_after_one_strikes_the_third_array_of_the_second_clear() -> None:
    machine = model(2000)
    when = {"op": LogOp.CLEAR, "batch": 2}
    machine.perform(fault(FaultType.IPAF, after=1, times=1, when=when))

    errors = []
    for _ in range(3):
        write(machine, 0, 2000)
        errors.append(clear(machine, 0, 2000)[1].error)

    assert errors[0] is None
    assert errors[1] is not None
    assert (errors[1].reason, errors[1].batch, errors[1].index) == ("IPAF", 2, 0)
    assert errors[2] is None
    view = machine.model.faults()[0]
    assert (view.opportunities, view.hits) == (3, 1)


def test_lost_interrupt_after_a_whole_array_requeues_only_the_word() -> None:
    machine = model(2000)
    write(machine, 63, 1937)
    machine.perform(fault(FaultType.LOST_INTERRUPT, when={"batch": 1}))

    outcome, report = get(machine)

    assert report.error is not None
    assert (report.error.reason, report.error.index, report.error.gfn) == (
        "LOST_INTERRUPT",
        512,
        None,
    )
    assert (report.cleaned, report.requeued, outcome.dirty_count) == (1024, 1, 1937)
    assert (machine.model.cpus()[0].runs, machine.model.cpus()[0].interrupts) == (2, 1)


def test_read_while_logging_maps_read_only_and_marks_nothing() -> None:
    machine = model(100)
    machine.perform(GuestRead(pages=page_ranges((BASE, 3))))
    machine.perform(HostWrite(pages=page_ranges((BASE + 1, 1))))

    assert dirty(machine) == {1}
    assert machine.model.stage2.page(BASE + 2) == (3, LeafState.READ_ONLY)


def test_draw_chains_the_published_generator() -> None:
    # The first outputs of splitmix64 from seed 0, as its reference implementation has them.
    outputs = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]

    assert [step(0, x) for x in range(3)] == outputs
    assert draw(0, 0, 1) == (step(outputs[0], 1) >> 11) / 2**53


def test_refusal_carries_the_code() -> None:
    refusal = model().perform(GetDirtyLog(slot=3))

    assert isinstance(refusal, Refused)
    assert refusal.code == "no_dirty_log"


@given(
    first=st.integers(0, 200),
    total=st.sampled_from([1, 511, 512, 513, 1024, 1536, 1700]),
    rank=st.integers(0, 1800),
)
def test_loop_agrees_with_the_closed_form(first: int, total: int, rank: int) -> None:
    machine = model(2000)
    write(machine, first, total)
    if rank < total:
        machine.perform(HostUnmap(pages=page_ranges((BASE + first + rank, 1))))

    outcome, report = get(machine)

    # docs/kernel.md S.1 with a dense run of pages, so rank k is page first + k.
    n = 512
    runs = rank // n + 1 if rank < total else -(-total // n)
    entries = min(n * runs, total)
    cleaned = min(rank, total)
    frontier_end = (first + entries - 1) // 64 * 64 + 64
    beyond = min(frontier_end, first + total) - (first + entries)
    assert (report.batches, report.entries, report.cleaned) == (runs, entries, cleaned)
    assert report.requeued == (entries - rank + beyond if rank < total else 0)
    assert known(outcome.software).pages == total - cleaned
    assert outcome.bitmap is not None
    assert np.bitwise_count(outcome.bitmap.words).sum() == total


def test_the_scalar_model_shares_only_the_model_and_the_table_of_zipf() -> None:
    modules = list(Path(scalar_model.__file__).parent.glob("scalar_*.py"))
    nodes = [node for file in modules for node in ast.walk(ast.parse(file.read_text()))]
    imported = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    plain = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}

    assert len(modules) >= 8
    assert {name for name in imported | plain if name.startswith(("app", "hacdbs_sim"))} == {
        "hacdbs_sim.model",
        "hacdbs_sim.sim.guest.zipf",
    }
