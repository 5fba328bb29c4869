"""Loops of a caller's own over real HTTP: snapshots and a pre-copy, judged by what their copies lack.

Each loop does what a program of its kind does, and keeps plain sets of what it read: the service's
verdict must be the same.
"""

import random
from collections.abc import Iterator
from typing import Any, Final, Literal

import numpy as np
import pytest

from hacdbs_sim.client import Copy, FetchedLog, Session, Vm
from hacdbs_sim.model import LostPages, Verification

BASE_GFN = 0x40000
NPAGES = 4_000
SLOT: Final[dict[str, Any]] = {
    "slot": 0,
    "guest_phys_addr": BASE_GFN * 4096,
    "memory_size": NPAGES * 4096,
    "flags": ["LOG_DIRTY_PAGES"],
}
MANUAL = 1
MANUAL_AND_INITIALLY_SET = 3
CHUNK = 1_024


def source(session: Session, manual: int = 0) -> Vm:
    return session.create_vm(memslots=[SLOT], manual_dirty_log_protect2=manual)


def write(vm: Vm, pages: set[int]) -> None:
    vm.guest_write([BASE_GFN + page for page in sorted(pages)])


def rounds(seed: int, count: int) -> Iterator[set[int]]:
    """What the guest writes between two reads: a working set that moves, and strays."""
    rng = random.Random(seed)
    for number in range(count):
        first = number * 150
        yield {*range(first, first + 200), *rng.sample(range(NPAGES), 30)}


def lost_pages(found: Verification) -> set[int]:
    (of_slot,) = found.slots
    assert of_slot.ranges_omitted == 0
    return expanded(of_slot)


def expanded(of_slot: LostPages) -> set[int]:
    return {page for first, n in of_slot.lost_ranges for page in range(first, first + n)}


def take_snapshot(vm: Vm, copy: Copy) -> FetchedLog:
    """Write a snapshot as Firecracker does: the guest is paused, a diff has what the log names."""
    log = vm.slot(0).get_dirty_log()
    copy.receive(0, log)
    return log


# A chain of snapshots


def full_snapshot(vm: Vm) -> Copy:
    """Write all pages; the get empties the log, from which the first diff counts."""
    full = vm.copy()
    vm.slot(0).get_dirty_log()
    full.receive(0, pages=range(NPAGES))
    full.verify().assert_complete()
    return full


def test_a_chain_of_a_full_snapshot_and_diffs_has_all_of_the_memory(session: Session) -> None:
    vm = source(session)
    write(vm, {1, 2, 3})
    last = full_snapshot(vm)

    for written in rounds(seed=1, count=6):
        write(vm, written)
        diff = vm.copy(last)
        assert lost_pages(diff.verify()) == set()  # all that it lacks is in the log
        assert diff.verify().pending_pages == len(written)

        log = take_snapshot(vm, diff)

        assert set(log.pages().tolist()) == written
        diff.verify().assert_complete()
        last = diff

    assert [each.base for each in vm.list_copies()] == [None, "c1", "c2", "c3", "c4", "c5", "c6"]


def test_a_diff_whose_read_of_the_log_was_dropped_misses_exactly_those_pages(
    session: Session,
) -> None:
    vm = source(session)
    last = full_snapshot(vm)
    forgotten: set[int] = set()

    for number, written in enumerate(rounds(seed=2, count=6)):
        write(vm, written)
        diff = vm.copy(last)
        if number == 2:
            forgotten = set(vm.slot(0).get_dirty_log().pages().tolist())  # and never read
        else:
            take_snapshot(vm, diff)
            forgotten -= written  # a later diff has them
        found = diff.verify()
        assert lost_pages(found) == forgotten
        assert found.current_pages == NPAGES - len(forgotten)
        last = diff

    assert forgotten
    with pytest.raises(AssertionError, match=f"slot 0 lost {len(forgotten)} pages: "):
        last.verify().assert_no_lost_pages()


def test_a_diff_after_logging_was_switched_off_is_no_diff(session: Session) -> None:
    vm = source(session)
    full = full_snapshot(vm)
    region = {key: value for key, value in SLOT.items() if key not in {"slot", "flags"}}
    vm.set_memslot(0, **region)
    write(vm, {7})
    vm.set_memslot(0, **region, flags=["LOG_DIRTY_PAGES"])
    write(vm, {8})

    diff = vm.copy(full)
    take_snapshot(vm, diff)

    assert lost_pages(diff.verify()) == set(range(NPAGES)) - {8}


def test_a_snapshot_restored_and_snapshotted_again_makes_a_second_chain(session: Session) -> None:
    vm = source(session)
    write(vm, {1, 2, 3})
    full = full_snapshot(vm)

    restored = full.start(name="restored")
    region = {key: value for key, value in SLOT.items() if key != "slot"}
    restored.set_memslot(**region, slot=0)
    onwards = restored.copy()

    # Its memory came with the snapshot: that the guest has not written there makes no page zero
    assert onwards.verify().lost_pages == NPAGES
    onwards.receive(0, pages=range(NPAGES))
    write(restored, {9})
    take_snapshot(restored, onwards)
    onwards.verify().assert_complete()


# A pre-copy of one's own


class Precopy:
    """Copies memory while the guest runs, by gets and clears in chunks.

    Attributes:
        pending: Pages that were reported, and are still to be sent.
    """

    def __init__(self, vm: Vm) -> None:
        self.vm = vm
        self.copy = vm.copy()
        self.pending = np.ones(NPAGES, np.bool_)

    def sync(self) -> None:
        self.pending |= self.vm.slot(0).get_dirty_log().mask()

    def send(self, first: int, *, clears: Literal["before", "after", "never"]) -> None:
        """Send a chunk; the guest runs for as long as that takes."""
        count = min(CHUNK, NPAGES - first)
        mask = self.pending[first : first + count]
        window: dict[str, Any] = {"first_page": first, "num_pages": count}
        if clears == "before":
            self.vm.slot(0).clear_dirty_log(bitmap=mask, **window)
        self.copy.receive(0, mask, duration_ns=count * 1_000, **window)
        if clears == "after":
            self.vm.slot(0).clear_dirty_log(bitmap=mask, **window)
        mask[:] = False

    def send_all(self, *, clears: Literal["before", "after", "never"]) -> None:
        for first in range(0, NPAGES, CHUNK):
            self.send(first, clears=clears)

    def verify(self) -> Verification:
        return self.copy.verify(pending={0: self.pending})


@pytest.mark.parametrize("manual", [MANUAL, MANUAL_AND_INITIALLY_SET])
def test_a_precopy_of_ones_own_loses_nothing_and_ends_complete(
    session: Session, manual: int
) -> None:
    vm = source(session, manual)
    vm.add_workload("uniform", slot=0, writes_per_second=100_000)
    precopy = Precopy(vm)

    for _ in range(4):
        precopy.sync()
        precopy.send_all(clears="before")
        precopy.verify().assert_no_lost_pages()
    assert precopy.verify().pending_pages > 0  # what was written while the last pass was sent
    vm.delete_workloads()  # the guest is stopped
    precopy.sync()
    precopy.send_all(clears="before")

    precopy.verify().assert_complete()


def test_what_only_the_caller_knows_of_is_lost_unless_the_caller_names_it(session: Session) -> None:
    vm = source(session)
    precopy = Precopy(vm)
    precopy.pending[:] = False
    write(vm, {5, 2_000, 3_000})
    precopy.sync()  # without manual protect: from here on only `pending` has them
    precopy.send(0, clears="never")
    write(vm, {6})

    knowing, unknowing = precopy.verify(), precopy.copy.verify()

    knowing.assert_no_lost_pages()
    assert (knowing.pending_pages, unknowing.pending_pages) == (3, 1)
    assert lost_pages(unknowing) == {2_000, 3_000}


@pytest.mark.parametrize("clears", ["before", "after"])
def test_a_precopy_that_clears_after_it_has_read_loses_what_came_between(
    session: Session, clears: Literal["before", "after"]
) -> None:
    vm = source(session, MANUAL)
    write(vm, set(range(NPAGES)))
    vm.add_workload("sequential", slot=0, writes_per_second=100_000, num_pages=CHUNK)
    precopy = Precopy(vm)
    precopy.sync()

    precopy.send(0, clears=clears)

    (workload,) = vm.list_workloads()
    assert 50 < workload.writes < CHUNK
    assert lost_pages(precopy.verify()) == (
        set(range(workload.writes)) if clears == "after" else set()
    )


def test_a_precopy_that_forgets_the_pages_of_one_get_lost_exactly_those(session: Session) -> None:
    vm = source(session)
    precopy = Precopy(vm)
    precopy.sync()
    precopy.send_all(clears="never")
    forgotten = {5, *range(640, 700), NPAGES - 1}
    write(vm, forgotten)
    vm.slot(0).get_dirty_log()  # its answer is dropped
    later = {5, 650, 1_000}
    write(vm, later)
    precopy.sync()

    midway = precopy.verify()
    precopy.send_all(clears="never")

    assert lost_pages(midway) == forgotten - later
    assert midway.pending_pages == len(later)
    found = precopy.verify()
    assert lost_pages(found) == forgotten - later
    assert found.slots[0].lost_ranges == ((640, 10), (651, 49), (NPAGES - 1, 1))
    with pytest.raises(
        AssertionError, match=r"^slot 0 lost 60 pages: 640\.\.649, 651\.\.699, 3999$"
    ):
        found.assert_no_lost_pages()


def test_the_slots_of_a_hotplug_are_lost_until_they_are_sent(session: Session) -> None:
    vm = source(session)
    copy = full_snapshot(vm)
    vm.set_memslot(1, guest_phys_addr=1 << 33, memory_size=64 * 4096, flags=["LOG_DIRTY_PAGES"])

    with pytest.raises(AssertionError, match=r"slot 1 lost 64 pages: 0\.\.63"):
        copy.verify().assert_no_lost_pages()
    copy.receive(1, pages=range(64))
    copy.verify().assert_complete()
