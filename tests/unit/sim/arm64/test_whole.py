"""A get or a clear of a whole log that cannot stop is one step; it ends as the walk would.

A fault that is armed but never fires makes the same call walk word by word.
"""

from copy import deepcopy
from typing import Any

import numpy as np
import pytest

from hacdbs_sim.model import DirtyLog, FaultType, HostUnmap, HostWrite, KernelProfile, known
from hacdbs_sim.sim.arm64.regions import stage2_of
from tests.support.building import (
    arm,
    clear,
    get,
    gfns,
    machine,
    ranges,
    read,
    states,
    write,
)
from tests.support.machine import Machine
from tests.unit.sim.read_back import dirty_pages

NPAGES = 64 * 41


def both(npages: int = NPAGES, **config: Any) -> tuple[Machine, Machine]:
    """Make two machines whose pages have all been written and cleaned; the second one walks."""
    made = (machine(npages, **config), machine(npages, **config))
    for each in made:
        write(each, (0, npages))
        clear(each, (0, npages)) if config.get("manual_dirty_log_protect2") else get(each)
        assert stage2_of(each._slots.get(0)).every_page_has_dbm, "the first call has learnt it"
    arm(made[1], FaultType.IPAF, probability=0)
    return made


@pytest.mark.parametrize("kernel", list(KernelProfile))
@pytest.mark.parametrize("dirty", [1, 7, 512, 1024, NPAGES])
def test_a_whole_get_ends_as_the_walk_does(dirty: int, kernel: KernelProfile) -> None:
    at_once, walking = both(kernel=kernel)
    pages = np.random.default_rng(dirty).permutation(NPAGES)[:dirty].tolist()
    for made in (at_once, walking):
        write(made, *((page, 1) for page in pages))

    outcomes = (get(at_once), get(walking))

    assert outcomes[0] == outcomes[1]
    assert outcomes[0].dirty_count == dirty
    assert states(at_once, 0, NPAGES) == states(walking, 0, NPAGES)
    assert at_once.counters() == walking.counters()
    assert at_once.cpus() == walking.cpus()
    assert get(at_once).dirty_count == 0


@pytest.mark.parametrize("npages", [NPAGES, 64 * 8193])
def test_a_whole_clear_ends_as_the_walk_does(npages: int) -> None:
    at_once, walking = both(npages, manual_dirty_log_protect2=1)
    for made in (at_once, walking):
        write(made, (3, 200), (npages - 70, 70))

    outcomes = (clear(at_once, (0, npages)), clear(walking, (0, npages)))

    assert outcomes[0] == outcomes[1]
    assert states(at_once, 0, npages) == states(walking, 0, npages)
    assert dirty_pages(_peek(at_once)) == set()
    write(at_once, (5, 2))
    assert dirty_pages(_peek(at_once)) == {5, 6}


def test_a_part_of_the_log_is_never_taken_for_the_whole() -> None:
    made, _ = both(manual_dirty_log_protect2=1)
    write(made, (0, NPAGES))

    outcome = clear(made, (0, 64), first_page=0, num_pages=64)

    assert (outcome.dirty_count, outcome.remaining_count) == (64, NPAGES - 64)


def test_a_page_without_dbm_makes_the_call_walk_again() -> None:
    made, _ = both()
    made.perform(_unmap(70))
    write(made, (0, 64))
    made.perform(_host_write(70))

    outcome = get(made)

    assert outcome.accelerator is not None
    assert outcome.accelerator.error is not None
    assert (outcome.accelerator.cleaned, known(outcome.software).pages) == (64, 1)


def test_a_snapshot_is_the_callers_own() -> None:
    made, _ = both()
    write(made, (1, 2))
    outcome = get(made)

    write(made, (0, NPAGES))

    assert outcome.bitmap is not None
    assert dirty_pages(outcome) == {1, 2}


@pytest.mark.parametrize("fails", [False, True])
def test_a_slot_with_no_page_writable_any_more_is_used_as_before(*, fails: bool) -> None:
    """The whole call has dropped the plane that the walk has left."""
    at_once, walking = both(manual_dirty_log_protect2=1)
    for made in (at_once, walking):
        write(made, (0, NPAGES))
        clear(made, (0, NPAGES))
        made.perform(HostWrite(pages=ranges((0, 300))))
        if fails:
            arm(made, FaultType.IPAF, index=7, times=1)

    assert not stage2_of(at_once._slots.get(0)).writable.flags.writeable
    assert stage2_of(walking._slots.get(0)).writable.flags.writeable
    for made in (at_once, walking):
        assert clear(made, (0, 128), first_page=0, num_pages=128).dirty_count == 128
        made.perform(HostUnmap(pages=ranges((5, 100))))
        read(made, (5, 3))
        write(made, (7, 20))
    assert states(at_once, 0, NPAGES) == states(walking, 0, NPAGES)
    assert dirty_pages(_peek(at_once)) == dirty_pages(_peek(walking))
    assert at_once.counters() == walking.counters()


def test_a_copy_of_a_machine_has_planes_of_its_own() -> None:
    made, _ = both()
    write(made, (0, 9))
    get(made)

    copied = deepcopy(made)
    copied.perform(HostWrite(pages=ranges((5, 70))))

    assert dirty_pages(_peek(copied)) == set(range(5, 75))
    assert dirty_pages(_peek(made)) == set()
    assert states(copied, 0, NPAGES) == states(made, 0, NPAGES)


def _peek(made: Machine) -> DirtyLog:
    return made.peek_dirty_log(0)


def _unmap(gfn: int) -> HostUnmap:
    return HostUnmap(pages=gfns(gfn))


def _host_write(gfn: int) -> HostWrite:
    return HostWrite(pages=gfns(gfn))
