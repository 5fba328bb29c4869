"""Block leaves of one level, against sets of page numbers.

First blocks that start at a word's start, one page after it, in its middle and one page before its
end: those are where a word that straddles two blocks goes wrong.
"""

import numpy as np
import pytest

from hacdbs_sim.model.words import WordMask, mask_of_pages
from hacdbs_sim.sim.arm64.blocks import BlockLevel, Pieces
from hacdbs_sim.sim.arm64.descriptor import READ_ONLY, WRITABLE_DIRTY, Leaf
from tests.support.building import pages_of

PAGES = 512


def level_from(first: int, blocks: int = 6, rest: int = 5) -> BlockLevel:
    """A slot of whole blocks whose first one starts at page `first`, and some pages after them."""
    return BlockLevel(2, PAGES, PAGES * 9 - first, first + blocks * PAGES + rest)


def numbers(*blocks: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    return np.array(blocks, np.intp)


def pages_meant(mask: WordMask) -> list[int]:
    """The pages of a mask; its words must come once each, ascending."""
    words = mask.indices().tolist()
    assert words == sorted(set(words))
    return [
        64 * word + page
        for word, bits in zip(words, mask.bits, strict=True)
        for page in sorted(pages_of([bits]))
    ]


def pages_by_block(pieces: Pieces, words: list[int]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for block, word, bits in zip(
        pieces.block.tolist(), pieces.word.tolist(), pieces.bits, strict=True
    ):
        found.setdefault(block, []).extend(64 * words[word] + page for page in pages_of([bits]))
    return {block: sorted(pages) for block, pages in found.items()}


@pytest.mark.parametrize(
    ("first", "npages", "blocks"),
    [(0, PAGES, 1), (0, PAGES - 1, 0), (7, 7 + PAGES, 1), (7, 6 + PAGES, 0), (7, 5, 0), (0, 1, 0)],
)
def test_only_whole_blocks_inside_the_slot_are_blocks(first: int, npages: int, blocks: int) -> None:
    assert len(BlockLevel(2, PAGES, PAGES - first, npages).leaves) == blocks


@pytest.mark.parametrize("first", [0, 1, 32, 63, 100])
def test_a_page_is_found_in_its_block(first: int) -> None:
    level = level_from(first, blocks=2)

    assert [level.first_page(block) for block in range(2)] == [first, first + PAGES]
    assert [level.block_of(page) for page in (first, first + PAGES - 1, first + PAGES)] == [0, 0, 1]
    assert level.block_of(first + 2 * PAGES) is None
    assert level.block_of(first - 1) is None


def test_present_counts_the_leaves_that_are_mapped() -> None:
    level = level_from(0)
    assert level.present == 0

    level.set(numbers(0, 3, 5), WRITABLE_DIRTY)
    level.set(numbers(3, 4), np.array([READ_ONLY, READ_ONLY], np.uint8))
    assert level.present == 4
    level.set(numbers(0, 1), Leaf.NONE)

    assert level.present == 3
    assert level.mapped().tolist() == [3, 4, 5]


def test_edges_are_where_the_leaf_over_a_page_changes() -> None:
    level = level_from(7)
    assert level.edges().tolist() == []

    level.set(numbers(0, 1, 5), READ_ONLY)
    level.set(numbers(2), WRITABLE_DIRTY)

    assert level.edges().tolist() == [7 + PAGES * block for block in (0, 2, 3, 5, 6)]


@pytest.mark.parametrize("first", [0, 1, 32, 63])
@pytest.mark.parametrize("blocks", [(), (3,), (0, 1), (0, 2), (0, 1, 2, 4, 5), (1, 3, 5)])
def test_the_pages_of_blocks_are_theirs_alone(first: int, blocks: tuple[int, ...]) -> None:
    mask = level_from(first).pages_of(numbers(*blocks))

    assert pages_meant(mask) == [
        first + PAGES * block + page for block in blocks for page in range(PAGES)
    ]


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("first", [0, 1, 2, 32, 62, 63])
def test_a_mask_is_cut_at_the_edges_of_blocks(first: int, sparse: bool) -> None:
    level = level_from(first, blocks=3, rest=70)
    end = first + 3 * PAGES + 70
    near = {
        first + PAGES * block + off for block in range(4) for off in (-65, -64, -2, -1, 0, 1, 64)
    }
    pages = [page for page in sorted(near) if 0 <= page < end] if sparse else list(range(end))
    mask = mask_of_pages(np.array(pages, np.uint64))
    words = mask.indices().tolist()

    pieces = level.pieces(mask)

    expected: dict[int, list[int]] = {}
    for page in pages:
        block = (page - first) // PAGES
        if 0 <= block < 3:
            expected.setdefault(block, []).append(page)
    assert pages_by_block(pieces, words) == expected
    assert pieces.block.tolist() == sorted(pieces.block.tolist())
    assert pieces.blocks().tolist() == sorted(expected)
    inside = [page for found in expected.values() for page in found]
    assert pages_meant(mask.with_bits(pieces.within(mask.bits))) == inside
    assert pages_meant(mask.with_bits(pieces.without(mask.bits))) == sorted(
        set(pages) - set(inside)
    )


def test_mapped_pieces_leave_out_blocks_that_are_no_leaves() -> None:
    level = level_from(32)
    level.set(numbers(1, 4), READ_ONLY)
    mask = mask_of_pages(np.arange(0, 32 + 6 * PAGES, dtype=np.uint64))

    pieces = level.mapped_pieces(mask)

    assert pieces.blocks().tolist() == [1, 4]
    assert sum(len(pages_of([bits])) for bits in pieces.bits) == 2 * PAGES
