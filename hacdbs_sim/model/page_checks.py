"""What every backend asks of sets of pages before it acts on them."""

import numpy as np

from hacdbs_sim.model.errors import (
    GfnBeyondIpaSpaceError,
    InvalidArgumentError,
    WindowOutsideMemslotError,
)
from hacdbs_sim.model.pages import Gfns, PageRanges, PageSet
from hacdbs_sim.model.units import PAGES_PER_WORD
from hacdbs_sim.model.words import Words, mask_of, words_for


def check_gfns(pages: PageSet, end_gfn: int, field: str = "gfn_ranges") -> None:
    """Refuse a batch that names a frame at or past `end_gfn`, the end of the IPA space."""
    span = pages.one_range()
    if span is not None and span[1] <= end_gfn:  # as nearly all are
        return
    if not len(pages):
        return
    if isinstance(pages, Gfns):
        if (last := int(pages.gfns.max())) >= end_gfn:
            raise _beyond("gfns", last, end_gfn)
        return
    # In this order first + count cannot wrap.
    if int(pages.first.max()) >= end_gfn:
        raise _beyond(field, int(pages.first.max()), end_gfn)
    if int(pages.count.max()) > end_gfn or int((pages.first + pages.count).max()) > end_gfn:
        at = int(np.argmax(np.minimum(pages.count, np.uint64(end_gfn + 1)) + pages.first))
        raise _beyond(field, int(pages.first[at]) + int(pages.count[at]) - 1, end_gfn)


def _beyond(field: str, gfn: int, end_gfn: int) -> GfnBeyondIpaSpaceError:
    return GfnBeyondIpaSpaceError.must(
        field, f"stay below gfn {end_gfn}, the end of the IPA space", gfn, bound=end_gfn - 1
    )


def check_first_page(first_page: int) -> None:
    """Refuse an unaligned start (EINVAL); the kernel does so before it finds the slot."""
    if first_page % PAGES_PER_WORD:
        raise InvalidArgumentError.must(
            "first_page", "be a multiple of 64", first_page, bound=PAGES_PER_WORD
        )


def check_window(first_page: int, num_pages: int | None, npages: int) -> int:
    """Check a clear's window in the kernel's order (A.3 check 5); return its num_pages."""
    if first_page > npages:
        raise WindowOutsideMemslotError.must(
            "first_page", f"be at most {npages}, the slot's npages", first_page, bound=npages
        )
    left = npages - first_page
    if num_pages is None:
        return left
    if num_pages > left:
        raise WindowOutsideMemslotError.must(
            "num_pages", f"be at most {left}, up to the slot's end", num_pages, bound=left
        )
    if num_pages % PAGES_PER_WORD and num_pages < left:
        raise WindowOutsideMemslotError.must(
            "num_pages",
            f"be a multiple of 64, or {left} to reach the slot's end",
            num_pages,
            bound=PAGES_PER_WORD,
        )
    return num_pages


def user_words(pages: Words | PageRanges, first_page: int, num_pages: int) -> Words | None:
    """Return the user's bitmap of a window: uint64[ALIGN(num_pages, 64) / 64], bit 0 is first_page.

    None means every page of it, as one range may, without making a bitmap. `pages` are such words,
    or ranges counted from the slot's start (InvalidArgumentError if they do not fit the window).
    """
    expected = words_for(num_pages)
    if not isinstance(pages, PageRanges):
        if len(pages) != expected:
            raise InvalidArgumentError.must(
                "bitmap",
                f"be {expected * 8} bytes for {num_pages} pages",
                len(pages) * 8,
                bound=expected * 8,
            )
        return pages
    end = first_page + num_pages
    if len(pages) == 1:  # numbers cost a tenth of arrays of one
        first, count = int(pages.first[0]), int(pages.count[0])
        if (first, count) == (first_page, num_pages):
            return None
        if first_page <= first and first + count <= end:
            return words_of(pages.moved_down(first_page), expected)
    # Written so that first + count cannot wrap.
    outside = (
        (pages.first < np.uint64(first_page))
        | (pages.first > np.uint64(end))
        | (pages.count > np.uint64(end) - np.minimum(pages.first, np.uint64(end)))
    )
    if bool(outside.any()):
        worst = int(np.argmax(outside))
        bound = f"{first_page}..{end - 1}" if num_pages else "none"
        raise InvalidArgumentError.must(
            "page_ranges",
            f"lie in pages {bound} of the slot" if num_pages else "be empty, as the window is",
            f"[{pages.first[worst]}, {pages.count[worst]}]",
            bound=bound,
        )
    return words_of(pages.moved_down(first_page), expected)


def words_of(pages: PageRanges, num_words: int) -> Words:
    """Return the bitmap of ranges that lie in so many words: uint64[num_words]."""
    words = np.zeros(num_words, np.uint64)
    wanted = mask_of(pages)
    words[wanted.at] = wanted.bits
    return words
