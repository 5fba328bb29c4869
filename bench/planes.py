"""Three numpy passes over planes: about the least that any clear of a whole slot has to do."""

import numpy as np


class ThreePasses:
    """And, xor and and-not over planes of a size, into arrays that are there already."""

    def __init__(self, npages: int) -> None:
        words = npages // 64
        ones = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
        self._dirty, self._user, self._writable = (np.full(words, ones) for _ in range(3))
        self._mask, self._left, self._kept = (np.zeros(words, np.uint64) for _ in range(3))
        self._not_user = ~self._user

    def sweep(self) -> None:
        """Make the three passes, one whole plane after the other."""
        np.bitwise_and(self._dirty, self._user, out=self._mask)
        np.bitwise_xor(self._dirty, self._mask, out=self._left)
        # The user's complement is there already: one pass, and numpy has no and-not of its own
        np.bitwise_and(self._writable, self._not_user, out=self._kept)
