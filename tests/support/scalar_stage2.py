"""Stage 2 as a dict with one entry for each leaf: (level, first gfn) -> state.

Slow and plain on purpose: an oracle. Sizes of leaves per granule are those of docs/kernel.md A.6; what
write-protection and splitting do is docs/kernel.md S.2.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

from hacdbs_sim.model import LeafState, Stage2Run

Leaf: TypeAlias = tuple[int, int]
"""(lookup level, first gfn)."""

LeafPages: TypeAlias = dict[int, int]
"""Lookup level to pages under one leaf."""

PAGES_PER_LEAF: Final[dict[int, LeafPages]] = {
    4096: {1: 512 * 512, 2: 512, 3: 1},
    16384: {2: 2048, 3: 1},
    65536: {2: 8192, 3: 1},
}

WITHOUT_WRITE: Final = {
    LeafState.WRITABLE_DIRTY: LeafState.WRITABLE_CLEAN,
    LeafState.READ_WRITE: LeafState.READ_ONLY,
}
"""What a leaf with S2AP[1] set is without it; a state not in here has S2AP[1] clear already."""


class ScalarStage2:
    """The stage-2 leaves of one VM."""

    def __init__(self, page_size: int, *, dbm: bool) -> None:
        self.page_size = page_size
        self.pages_at = PAGES_PER_LEAF[page_size]
        self.writable = LeafState.WRITABLE_DIRTY if dbm else LeafState.READ_WRITE
        self.leaves: dict[Leaf, LeafState] = {}

    def leaf_of(self, gfn: int) -> Leaf | None:
        if (3, gfn) in self.leaves:  # leaves do not overlap, so the commonest may be asked first
            return 3, gfn
        for level, pages in self.pages_at.items():
            leaf = (level, gfn - gfn % pages)
            if leaf in self.leaves:
                return leaf
        return None

    def end_of(self, leaf: Leaf) -> int:
        level, first = leaf
        return first + self.pages_at[level]

    def page(self, gfn: int) -> tuple[int | None, LeafState]:
        """Level and state of the leaf that translates `gfn`."""
        leaf = self.leaf_of(gfn)
        return (None, LeafState.UNMAPPED) if leaf is None else (leaf[0], self.leaves[leaf])

    def map(self, leaf: Leaf, state: LeafState) -> None:
        """Put a leaf over whatever is there."""
        self.unmap(leaf[1], self.end_of(leaf))
        self.leaves[leaf] = state

    def unmap(self, first: int, end: int) -> None:
        """Drop every leaf that holds a page of [first, end), whole."""
        if end - first == 1:
            leaf = self.leaf_of(first)
            gone = [] if leaf is None else [leaf]
        else:
            gone = [leaf for leaf in self.leaves if leaf[1] < end and self.end_of(leaf) > first]
        for leaf in gone:
            del self.leaves[leaf]

    def write_protect(self, first: int, end: int) -> int:
        """Clear S2AP[1] of every leaf that holds a page of [first, end); count those that had it."""
        changed = 0
        gfn = first
        while gfn < end:
            leaf = self.leaf_of(gfn)
            if leaf is None:
                gfn += 1
                continue
            state = self.leaves[leaf]
            if state in WITHOUT_WRITE:
                self.leaves[leaf] = WITHOUT_WRITE[state]
                changed += 1
            gfn = self.end_of(leaf)
        return changed

    def split(self, first: int, end: int, chunk: int, fails: Callable[[int, int], bool]) -> int:
        """Split every block that holds a page of [first, end); count the blocks replaced.

        Args:
            first: First gfn.
            end: The gfn past the last one.
            chunk: The eager-split chunk size in bytes, not 0.
            fails: Asked with [first, end) of each block before its split.
        """
        split = 0
        gfn = first
        while gfn < end:
            leaf = self.leaf_of(gfn)
            if leaf is None or leaf[0] == 3:
                gfn += 1
                continue
            level, start = leaf
            stop = self.end_of(leaf)
            if fails(start, stop):
                gfn = stop
                continue
            # A chunk below 1 GiB opens a 1 GiB block only one level down; the 2 MiB blocks so made
            # are met again by this loop, those in the range only.
            to_level = level + 1 if chunk < self.pages_at[level] * self.page_size else 3
            state = self.leaves.pop(leaf)
            for child in range(start, stop, self.pages_at[to_level]):
                self.leaves[to_level, child] = state
            split += 1
            if to_level == 3:
                gfn = stop
        return split

    def runs(self, first: int, end: int) -> list[Stage2Run]:
        """Return the pages of [first, end) as runs equal in level and state, unmapped ones too."""
        starts: list[tuple[int, int | None, LeafState]] = []
        last: tuple[int | None, LeafState] = (0, LeafState.UNMAPPED)  # like no page
        at = first
        for start, level, state in sorted((s, lv, state) for (lv, s), state in self.leaves.items()):
            stop = start + self.pages_at[level]
            if stop <= first or start >= end:
                continue
            if start > at:
                last = (None, LeafState.UNMAPPED)
                starts.append((at, *last))
            if level != last[0] or state is not last[1]:
                last = (level, state)
                starts.append((max(start, first), *last))
            at = stop
        if at < end:
            starts.append((at, None, LeafState.UNMAPPED))
        ends = [gfn for gfn, _level, _state in starts[1:]] + [end]
        return [
            Stage2Run(
                gfn=gfn, count=stop - gfn, level=level, state=state, descriptor=self.descriptor(gfn)
            )
            for (gfn, level, state), stop in zip(starts, ends, strict=True)
        ]

    def descriptor(self, gfn: int) -> int:
        """Return the 64-bit leaf descriptor that translates `gfn` (docs/kernel.md B.5), 0 if none does."""
        leaf = self.leaf_of(gfn)
        if leaf is None:
            return 0
        level, first = leaf
        state = self.leaves[leaf]
        bits = 1 << 0 | 0b1111 << 2 | 1 << 6 | 0b11 << 8 | 1 << 10
        if level == 3:
            bits |= 1 << 1
        if state in WITHOUT_WRITE:
            bits |= 1 << 7
        if state in {LeafState.WRITABLE_CLEAN, LeafState.WRITABLE_DIRTY}:
            bits |= 1 << 51
        return first * self.page_size | bits
