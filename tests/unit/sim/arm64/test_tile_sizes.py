"""The size of a tile never shows: not in an outcome, a register, a fault's hits or a leaf."""

from typing import Any

import numpy as np
import pytest

from hacdbs_sim.model import (
    Bitmap,
    ClearDirtyLog,
    DirtyLog,
    FaultType,
    GetDirtyLog,
    Gfns,
    GuestRead,
    GuestWrite,
    HostUnmap,
    HostWrite,
    KernelProfile,
    PageRanges,
    known,
    words,
)
from tests.support.building import MIB, arm, machine, set_log, states
from tests.support.machine import Machine
from tests.unit.sim.read_back import dirty_pages

pytestmark = pytest.mark.slow

PAGES = 4096 - 29
"""64 words and, in each array of 512 entries, at least 8 of them: runs, frontiers and blocks span tiles."""

SIZES = [1, 2, 5, 8, 63]

CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "init-set": {"manual_dirty_log_protect2": 3, "eager_split_chunk_size": 2 * MIB},
    "blocks-unsplit": {"manual_dirty_log_protect2": 3},
    "v1": {"kernel": KernelProfile.V1},
    "v1-blocks": {
        "kernel": KernelProfile.V1,
        "manual_dirty_log_protect2": 3,
        "eager_split_chunk_size": 2 * MIB,
    },
}

FAULTS: dict[str, list[tuple[FaultType, dict[str, Any]]]] = {
    "none": [],
    "early": [(FaultType.STRUCTF, {"batch": 0, "index": 5})],
    "middle": [(FaultType.IPAF, {"batch": 2, "index": 100})],
    "last-of-a-run": [(FaultType.IPAHACF, {"batch": 1, "index": 511})],
    "gfn": [(FaultType.IPAF, {"gfn": 2100}), (FaultType.STRUCTF, {"batch": 7, "index": 0})],
    "lost": [(FaultType.LOST_INTERRUPT, {"batch": 1})],
    "lost-before-stop": [
        (FaultType.LOST_INTERRUPT, {"batch": 1}),
        (FaultType.IPAF, {"batch": 1, "index": 3}),
        (FaultType.STRUCTF, {"batch": 2, "index": 3}),
    ],
    "split-fails": [(FaultType.SPLIT_ENOMEM, {"gfn": 1700})],
}


def summary_of(outcome: DirtyLog, made: Machine) -> tuple[Any, ...]:
    """All that a call can be seen to have done."""
    return (
        outcome.accelerator,
        outcome.software,
        None if outcome.bitmap is None else dirty_pages(outcome),
        (outcome.dirty_count, outcome.remaining_count, outcome.flush_tlb),
        dirty_pages(made.peek_dirty_log(0)),
        states(made, 0, PAGES),
        (made.cpus(), made.faults()),
        made.counters(),
    )


def story(seed: int, config: dict[str, Any], faults: str, *, dense: bool) -> list[Any]:
    """A life with every kind of access, then two clears and a get."""
    dice = np.random.default_rng(seed)
    blocks = "manual_dirty_log_protect2" in config
    made = machine(PAGES, flags=0, backing=2 * MIB if blocks else None, **config)
    share = PAGES if dense else PAGES // 3

    def some(count: int) -> Gfns:
        return Gfns(dice.choice(PAGES, count, replace=False).astype(np.uint64))

    seen: list[Any] = []
    if blocks:
        seen.append(made.perform(GuestWrite(pages=some(3))))
        seen.append(made.perform(GuestRead(pages=some(3))))
    set_log(made, on=True)
    seen.append(made.perform(GuestWrite(pages=some(share))))
    seen.append(made.perform(GuestRead(pages=some(20))))
    if seed % 2:  # entries that cannot be cleaned
        seen.append(made.perform(HostWrite(pages=some(2))))
        seen.append(made.perform(HostUnmap(pages=some(2))))
    for kind, place in FAULTS[faults]:
        arm(made, kind, **place)
    user = dice.integers(0, 2**64, -(-PAGES // 64), np.uint64) | np.uint64(0xFFFF_0000)
    seen.append(summary_of(made.perform(ClearDirtyLog(slot=0, pages=Bitmap(user))), made))
    seen.append(made.perform(GuestWrite(pages=some(share))))
    window = (np.array([640], np.uint64), np.array([1280], np.uint64))
    cleared = made.perform(
        ClearDirtyLog(slot=0, pages=PageRanges(*window), first_page=640, num_pages=1280)
    )
    seen.append(summary_of(cleared, made))
    seen.append(summary_of(made.perform(GetDirtyLog(slot=0)), made))
    return seen


@pytest.mark.parametrize("dense", [True, False], ids=["dense", "sparse"])
@pytest.mark.parametrize("faults", FAULTS)
@pytest.mark.parametrize("config", CONFIGS)
def test_tiles_of_any_size_come_to_the_same(
    config: str, faults: str, *, dense: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in (0, 1):
        whole = story(seed, CONFIGS[config], faults, dense=dense)
        for size in SIZES:
            with monkeypatch.context() as patched:
                patched.setattr(words, "TILE_WORDS", size)
                assert story(seed, CONFIGS[config], faults, dense=dense) == whole


def test_the_frontier_may_lie_many_tiles_behind_the_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """One page a word: an array of 512 entries spans 512 words, 256 tiles of two."""
    monkeypatch.setattr(words, "TILE_WORDS", 2)
    made = machine(64 * 1500, cpus=1)
    made.perform(GuestWrite(pages=Gfns(np.arange(1500, dtype=np.uint64) * np.uint64(64))))
    arm(made, FaultType.IPAF, batch=1, index=1)

    got = made.perform(GetDirtyLog(slot=0))

    assert got.accelerator is not None
    assert (got.accelerator.batches, got.accelerator.entries) == (2, 1024)
    assert (got.accelerator.cleaned, got.accelerator.requeued) == (513, 511)
    assert (known(got.software).words, known(got.software).pages) == (987, 987)
    assert dirty_pages(got) == set(range(0, 64 * 1500, 64))


def test_a_page_that_went_and_came_back_read_only_is_noticed_by_the_next_clear() -> None:
    """That all pages have DBM is remembered from one clear to the next."""
    made = machine(1024)
    everything = GuestWrite(pages=PageRanges(np.array([0], np.uint64), np.array([1024], np.uint64)))
    for _ in range(2):
        made.perform(everything)
        assert known(made.perform(GetDirtyLog(slot=0)).software).ran is False

    lost = Gfns(np.array([700], np.uint64))
    made.perform(everything)
    made.perform(HostUnmap(pages=lost))
    made.perform(GuestRead(pages=lost))
    got = made.perform(GetDirtyLog(slot=0))

    assert got.accelerator is not None
    assert got.accelerator.error is not None
    assert (got.accelerator.error.reason, got.accelerator.error.gfn) == ("IPAHACF", 700)
