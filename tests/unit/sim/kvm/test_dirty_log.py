"""KVM_GET_DIRTY_LOG and KVM_CLEAR_DIRTY_LOG: checks in order, windows, what is taken."""

from typing import Any

import numpy as np
import pytest

from hacdbs_sim.model import (
    AcceleratorOutcome,
    Bitmap,
    ClearDirtyLog,
    FaultType,
    Features,
    GetDirtyLog,
    HostWrite,
    SetCpu,
    SetMemslot,
    SoftwareReport,
    UpdateVm,
    known,
)
from hacdbs_sim.model.errors import CopyToUserError, KvmError, NoSuchCpuError
from tests.support.building import (
    LOG,
    MIB,
    READONLY,
    arm,
    bitmap,
    clear,
    get,
    machine,
    ranges,
    set_log,
    states,
    write,
)
from tests.support.machine import Machine
from tests.unit.sim.read_back import dirty_pages


def refusal(
    made: Machine, action: GetDirtyLog | ClearDirtyLog
) -> tuple[str, str | None, str | None]:
    before = [view.dirty_count for view in made.memslots()]
    with pytest.raises(KvmError) as caught:
        made.perform(action)
    assert [view.dirty_count for view in made.memslots()] == before
    return caught.value.code, caught.value.errno, caught.value.field


def test_a_get_without_manual_protect_takes_all_and_cleans() -> None:
    made = machine(130)
    write(made, (0, 3), (129, 1))

    first, second = get(made), get(made)

    assert dirty_pages(first) == {0, 1, 2, 129}
    assert (first.dirty_count, first.remaining_count, first.flush_tlb) == (4, 0, True)
    assert (second.dirty_count, second.flush_tlb) == (0, False)
    assert dirty_pages(second) == set()


@pytest.mark.parametrize("hacdbs", [True, False])
def test_one_page_is_enough_to_flush_the_tlb(hacdbs: bool) -> None:
    made = machine(130, features=Features(hacdbs=hacdbs))
    write(made, (7, 1))

    assert clear(made, (8, 100)).flush_tlb is False
    assert clear(made, (7, 1)).flush_tlb is True


def test_a_get_with_manual_protect_is_a_pure_copy() -> None:
    made = machine(130, manual_dirty_log_protect2=1)
    write(made, (7, 2))
    before = (states(made, 0, 130), made.cpus())

    outcomes = [get(made), get(made)]

    for outcome in outcomes:
        assert dirty_pages(outcome) == {7, 8}
        assert (outcome.dirty_count, outcome.remaining_count) == (2, 2)
        assert outcome.accelerator is None
        assert outcome.software == SoftwareReport()
        assert outcome.flush_tlb is False
    assert (states(made, 0, 130), made.cpus()) == before
    assert clear(made).accelerator is not None
    assert made.cpus()[0].runs == 0  # and the CPU turn had not moved


def test_a_clear_takes_only_dirty_and_requested_pages_of_its_window() -> None:
    made = machine(300)
    write(made, (60, 10), (250, 50))

    outcome = clear(made, (64, 190), first_page=64, num_pages=192)

    assert (outcome.first_page, outcome.num_pages, outcome.bitmap) == (64, 192, None)
    assert outcome.dirty_count == 6 + 4
    assert outcome.remaining_count == 4 + 46
    assert dirty_pages(made.peek_dirty_log(0)) == {60, 61, 62, 63} | set(range(254, 300))


def test_bit_0_of_a_clears_bitmap_is_first_page() -> None:
    made = machine(300)
    write(made, (0, 300))

    made.perform(ClearDirtyLog(slot=0, pages=bitmap(64, {3}), first_page=128, num_pages=64))

    assert set(range(300)) - dirty_pages(made.peek_dirty_log(0)) == {131}


def test_bits_past_the_slots_end_are_harmless() -> None:
    made = machine(70)
    write(made, (0, 70))

    outcome = made.perform(ClearDirtyLog(slot=0, pages=bitmap(128, set(range(128)))))

    assert (outcome.dirty_count, outcome.remaining_count) == (70, 0)


def test_a_clear_works_without_the_capability_and_on_a_read_only_slot() -> None:
    made = machine(70, flags=LOG | READONLY, manual_dirty_log_protect2=3)

    outcome = clear(made, (0, 70))

    assert outcome.dirty_count == 70
    assert outcome.accelerator is not None
    assert outcome.accelerator.outcome is AcceleratorOutcome.PARTIAL  # nothing is mapped: IPAF
    assert known(outcome.software).pages == 70
    assert known(outcome.software).write_protected == 0


def test_a_clear_of_no_pages_is_a_legal_call_of_the_hook() -> None:
    made = machine(128)

    outcome = clear(made, first_page=128, num_pages=0)

    assert outcome.accelerator is not None
    assert outcome.accelerator.outcome is AcceleratorOutcome.CLEANED
    assert (outcome.dirty_count, outcome.flush_tlb) == (0, False)


NOTHING: Any = ranges()


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (GetDirtyLog(slot=40000), ("invalid_argument", "EINVAL", "slot")),
        (GetDirtyLog(slot=5), ("no_dirty_log", "ENOENT", "slot")),
        (GetDirtyLog(slot=1), ("no_dirty_log", "ENOENT", "slot")),
        (
            ClearDirtyLog(slot=40000, pages=NOTHING, first_page=1),
            ("invalid_argument", "EINVAL", "slot"),
        ),
        (
            ClearDirtyLog(slot=5, pages=NOTHING, first_page=1),
            ("invalid_argument", "EINVAL", "first_page"),
        ),
        (ClearDirtyLog(slot=5, pages=NOTHING, first_page=6400), ("no_dirty_log", "ENOENT", "slot")),
        (
            ClearDirtyLog(slot=0, pages=NOTHING, first_page=192, num_pages=1),
            ("window_outside_memslot", "EINVAL", "first_page"),
        ),
        (
            ClearDirtyLog(slot=0, pages=NOTHING, first_page=64, num_pages=67),
            ("window_outside_memslot", "EINVAL", "num_pages"),
        ),
        (
            ClearDirtyLog(slot=0, pages=NOTHING, first_page=64, num_pages=65),
            ("window_outside_memslot", "EINVAL", "num_pages"),
        ),
        (ClearDirtyLog(slot=0, pages=bitmap(64, set())), ("invalid_argument", "EINVAL", "bitmap")),
        (ClearDirtyLog(slot=0, pages=bitmap(200, set())), ("invalid_argument", "EINVAL", "bitmap")),
        (
            ClearDirtyLog(slot=0, pages=ranges((129, 2))),
            ("invalid_argument", "EINVAL", "page_ranges"),
        ),
        (
            ClearDirtyLog(slot=0, pages=ranges((1, 130))),
            ("invalid_argument", "EINVAL", "page_ranges"),
        ),
        (
            ClearDirtyLog(slot=0, pages=ranges((2**64 - 1, 2))),
            ("invalid_argument", "EINVAL", "page_ranges"),
        ),
        (
            ClearDirtyLog(slot=0, pages=ranges((0, 1)), first_page=64),
            ("invalid_argument", "EINVAL", "page_ranges"),
        ),
    ],
)
def test_each_check_has_its_errno_and_names_its_argument(
    action: GetDirtyLog | ClearDirtyLog, expected: tuple[str, str, str]
) -> None:
    made = machine(130)
    write(made, (0, 130))
    made.perform(HostWrite(pages=ranges((0, 1))))
    set_region_without_log(made)

    assert refusal(made, action) == expected


def set_region_without_log(made: Machine) -> None:
    made.perform(SetMemslot(slot=1, guest_phys_addr=MIB, memory_size=MIB))


def test_a_cpu_that_does_not_exist_is_refused_before_all_else() -> None:
    made = machine(64, cpus=2)

    for action in (
        GetDirtyLog(slot=9, cpu=2),
        ClearDirtyLog(slot=9, pages=NOTHING, first_page=3, cpu=-1),
    ):
        with pytest.raises(NoSuchCpuError) as caught:
            made.perform(action)
        assert caught.value.bound == 1


def test_a_window_reaches_the_slots_end_by_default() -> None:
    made = machine(130)
    write(made, (0, 130))

    outcome = clear(made, (64, 66), first_page=64)

    assert (outcome.num_pages, outcome.dirty_count) == (66, 66)


def test_a_failed_copy_loses_the_bits_without_manual_protect_only() -> None:
    made = machine(64)
    write(made, (3, 2))
    arm(made, FaultType.COPY_TO_USER)
    made.perform(UpdateVm(manual_dirty_log_protect2=1))

    with pytest.raises(CopyToUserError):
        get(made)
    assert made.peek_dirty_log(0).dirty_count == 2
    made.perform(UpdateVm(manual_dirty_log_protect2=0))
    with pytest.raises(CopyToUserError):
        get(made)
    assert made.peek_dirty_log(0).dirty_count == 0
    assert states(made, 3, 2) == [(3, 2, 3, "writable_clean")]
    assert made.faults()[0].hits == 2


def test_hook_calls_take_the_online_cpus_in_turn() -> None:
    made = machine(64, cpus=3)

    def used() -> int:
        report = get(made).accelerator
        assert report is not None
        return report.cpu

    assert [used(), used(), used(), used()] == [0, 1, 2, 0]
    made.perform(SetCpu(cpu=1, online=False))
    assert [used(), used(), used()] == [2, 0, 2]
    named = get(made, cpu=2).accelerator
    assert named is not None
    assert named.cpu == 2
    assert used() == 0


def test_software_cleaning_write_protects_the_whole_interval_of_a_word() -> None:
    """Pages that stay dirty between two masked ones lose their write permission too."""
    made = machine(128, features=Features(hacdbs=False))
    write(made, (0, 128))

    outcome = clear(made, (10, 1), (20, 1))

    assert outcome.software == SoftwareReport(
        ran=True, words=1, pages=2, write_protected=11, blocks_split=0
    )
    assert states(made, 0, 128) == [
        (0, 10, 3, "writable_dirty"),
        (10, 11, 3, "writable_clean"),
        (21, 107, 3, "writable_dirty"),
    ]
    assert dirty_pages(made.peek_dirty_log(0)) == set(range(128)) - {10, 20}


def test_software_cleaning_write_protects_a_block_whole_and_counts_one_leaf() -> None:
    made = machine(
        1024, flags=0, backing=2 * MIB, manual_dirty_log_protect2=3, features=Features(hacdbs=False)
    )
    write(made, (0, 1), (512, 1))
    set_log(made, on=True)

    outcome = clear(made, (100, 1), (200, 1), (300, 300))

    assert known(outcome.software).write_protected == 2
    assert known(outcome.software).blocks_split == 0  # chunk 0
    assert states(made, 0, 1024) == [(0, 1024, 2, "writable_clean")]


@pytest.mark.parametrize("pages", [np.zeros(3, np.uint64), np.full(3, 2**64 - 1, np.uint64)])
def test_the_users_words_are_never_written(pages: Any) -> None:
    made = machine(192)
    write(made, (0, 192))
    pages.flags.writeable = False

    made.perform(ClearDirtyLog(slot=0, pages=Bitmap(pages)))

    assert len(set(pages.tolist())) == 1
