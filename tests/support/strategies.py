"""Hypothesis strategies and sizes that several property tests share."""

from typing import Final

import numpy as np
from hypothesis import strategies as st

from hacdbs_sim.model import Bitmap, PageRanges

BASE_GFNS: Final = (0x10000, 0x10040, 0x10025, 0x101FF, 0x11800, 0x12000)
"""First frames of slots: on a block, on a word only, on neither; some slots overlap."""


def page_ranges(*pairs: tuple[int, int]) -> PageRanges:
    return PageRanges(
        np.array([first for first, _ in pairs], np.uint64),
        np.array([count for _, count in pairs], np.uint64),
    )


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
