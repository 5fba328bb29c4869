"""Hypothesis strategies for configurations, batches of pages and faults.

Sizes are sampled, not drawn freely: slots that straddle blocks and fill several arrays must come
up in few examples, and a free integer seldom makes one.
"""

from typing import Final

import numpy as np
from hypothesis import strategies as st

from app.sim.actions import (
    Bitmap,
    FaultSpec,
    FaultType,
    FaultWhen,
    Gfns,
    KernelProfile,
    LogOp,
    MachineConfig,
    MemslotView,
    PageRanges,
    PageSet,
)
from tests.support.scalar_stage2 import PAGES_PER_LEAF

SLOT_PAGES: Final[dict[int, list[int]]] = {
    4096: [1, 64, 65, 700, 1500, 1536, 1600, 2112, 3001],
    16384: [64, 700, 2048, 4200, 6200],
    65536: [65, 1000, 8192, 8300, 16400],
}
"""Pages of a slot by page size: within a word, of several arrays, of whole blocks and ragged."""

BASE_GFNS: Final = [0x10000, 0x10040, 0x10025, 0x101FF, 0x11800, 0x12000]
"""First frames of slots: on a block, on a word only, on neither; some slots overlap."""


def leaf_sizes(page_size: int) -> list[int]:
    return [pages * page_size for pages in PAGES_PER_LEAF[page_size].values()]


@st.composite
def configs(draw: st.DrawFn) -> MachineConfig:
    """Every configuration of a machine; the usual ones more often."""
    page_size = draw(st.sampled_from([4096, 4096, 4096, 16384, 65536]))
    manual = draw(st.sampled_from([0, 1, 3, 3]))
    return MachineConfig(
        page_size=page_size,
        ipa_bits=draw(st.sampled_from([34, 40])),
        vcpus=draw(st.integers(1, 3)),
        cpus=draw(st.integers(1, 4)),
        dbm=draw(st.sampled_from([True] * 7 + [False])),
        hacdbs=draw(st.sampled_from([True] * 7 + [False])),
        manual_dirty_log_protect2=manual,
        eager_split_chunk_size=draw(st.sampled_from([0, *leaf_sizes(page_size)])),
        kernel=draw(st.sampled_from(KernelProfile)),
        seed=draw(st.sampled_from([0, 7, (1 << 64) - 1])),
    )


def page_ranges(*pairs: tuple[int, int]) -> PageRanges:
    return PageRanges(
        np.array([first for first, _ in pairs], np.uint64),
        np.array([count for _, count in pairs], np.uint64),
    )


def spans(first: int, npages: int) -> st.SearchStrategy[tuple[int, int]]:
    """Draw (first, count) inside [first, first + npages), npages >= 1; often all of it."""
    some = st.integers(0, npages - 1).flatmap(
        lambda skip: st.tuples(st.just(first + skip), st.integers(1, npages - skip))
    )
    return st.one_of(st.just((first, npages)), some)


def spread(first: int, npages: int) -> st.SearchStrategy[Gfns]:
    """Draw frames of [first, first + npages) at a stride, or a few anywhere, repeats allowed."""
    stride = st.sampled_from([2, 3, 7, 64, 129]).map(
        lambda step: range(first, first + npages, step)
    )
    few = st.lists(st.integers(first, first + npages - 1), max_size=12)
    return st.one_of(stride, few).map(lambda gfns: Gfns(np.array(list(gfns), np.uint64)))


def batches(slots: tuple[MemslotView, ...]) -> st.SearchStrategy[PageSet]:
    """Draw a batch of frames: within a slot mostly, now and then around or outside every one."""
    outside: list[st.SearchStrategy[PageSet]] = [spread(0x0FF00, 0x3000), spread(0x30000, 64)]
    inside: list[st.SearchStrategy[PageSet]] = []
    for slot in slots:
        span = spans(slot.base_gfn, slot.npages)
        inside.append(st.lists(span, min_size=1, max_size=3).map(lambda some: page_ranges(*some)))
        inside.append(spread(slot.base_gfn, slot.npages))
    return st.one_of(*inside, *inside, *outside)


def user_bitmaps(words: int) -> st.SearchStrategy[Bitmap]:
    """Draw the words of a clear's bitmap: all pages, a pattern, or free ones at the front."""
    patterns = [(1 << 64) - 1, 0x5555_5555_5555_5555, 0xFFFF_FFFF_0000_0000, 1 << 63 | 1, 0]
    filled = st.lists(st.sampled_from(patterns), min_size=1, max_size=4).map(
        lambda some: (some * words)[:words]
    )
    front = st.lists(st.integers(0, (1 << 64) - 1), max_size=min(words, 6))
    return st.builds(
        lambda head, rest: Bitmap(np.array([*head, *rest[len(head) :]], np.uint64)), front, filled
    )


def whens(config: MachineConfig) -> st.SearchStrategy[FaultWhen]:
    """Draw when and where a fault strikes, senseless combinations included."""
    n = config.page_size // 8
    maybe = st.none()
    indexes = st.sampled_from([0, 1, 63, 100, n // 2 + 1, n - 1])
    return st.builds(
        FaultWhen,
        op=st.one_of(maybe, maybe, st.sampled_from(LogOp)),
        slot=st.one_of(maybe, maybe, st.integers(0, 2)),
        cpu=st.one_of(maybe, maybe, st.integers(0, config.cpus)),
        batch=st.one_of(maybe, st.integers(0, 3)),
        index=st.one_of(maybe, indexes),
    )


def gfn_whens(config: MachineConfig) -> st.SearchStrategy[FaultWhen]:
    """Draw a fault of one frame, seldom of one beyond the IPA space."""
    end = (1 << config.ipa_bits) // config.page_size
    gfns = [*BASE_GFNS, *(gfn + 600 for gfn in BASE_GFNS), *(gfn + 1511 for gfn in BASE_GFNS), end]
    return st.builds(
        FaultWhen, gfn=st.sampled_from(gfns), op=st.one_of(st.none(), st.sampled_from(LogOp))
    )


def faults(config: MachineConfig) -> st.SearchStrategy[FaultSpec]:
    """Draw faults of all types; the place is dropped mostly where the type has none."""
    placeless = st.builds(FaultWhen, cpu=st.one_of(st.none(), st.integers(0, config.cpus - 1)))
    entry = [FaultType.STRUCTF, FaultType.IPAF, FaultType.IPAHACF]
    return st.one_of(
        _specs(entry, whens(config)),
        _specs(entry, gfn_whens(config)),
        _specs([FaultType.LOST_INTERRUPT], st.builds(FaultWhen, batch=st.integers(0, 3))),
        _specs([FaultType.SPLIT_ENOMEM], st.one_of(placeless, gfn_whens(config))),
        _specs([FaultType.UNIT_BUSY, FaultType.ENTRIES_ENOMEM, FaultType.COPY_TO_USER], placeless),
        _specs(list(FaultType), whens(config)),
    )


def _specs(
    types: list[FaultType], when: st.SearchStrategy[FaultWhen]
) -> st.SearchStrategy[FaultSpec]:
    return st.builds(
        FaultSpec,
        type=st.sampled_from(types),
        enabled=st.sampled_from([True, True, True, True, False]),
        probability=st.sampled_from([1.0, 1.0, 1.0, 0.5, 0.1, 0.0]),
        after=st.sampled_from([0, 0, 0, 1, 2]),
        every=st.sampled_from([1, 1, 2, 3]),
        times=st.sampled_from([None, 1, 1, 2]),
        when=when,
    )
