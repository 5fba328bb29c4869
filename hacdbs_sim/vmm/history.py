"""What earlier attempts to migrate a VM took from its log and did not deliver.

Without manual protect a get takes the bits, and with it a clear does. An attempt that ends before it
has sent those pages is the only one that knows of them, so the next incremental one must begin with
them. What a complete one has lost, the destination lacks after the next incremental one too.
"""

from typing import NamedTuple

from hacdbs_sim.model import MemslotLife
from hacdbs_sim.model.words import Words


class Left(NamedTuple):
    """What an attempt left of a slot.

    Attributes:
        log: Which log said what the slot wrote; with another one, nothing says that.
        taken: How many calls had taken something from the log.
        pending: uint64 words, the pages that the attempt knew of and did not deliver.
        lacking: uint64 words, those and all others that the destination does not have as they are;
            None: the attempt did not prove which those are.
    """

    log: int | None
    taken: int
    pending: Words
    lacking: Words | None


class TransferHistory:
    """What the last attempt left, by slot of one VM."""

    def __init__(self) -> None:
        self._left: dict[int, tuple[int, Left]] = {}
        self._first_generation: int | None = None

    def begin(self, generation: int) -> None:
        """Begin an attempt, in a generation of the memslots."""
        if self._first_generation is None:
            self._first_generation = generation

    def is_new(self, life: MemslotLife) -> bool:
        """Return whether a slot was made after the first attempt: no base can have any of it."""
        first = self._first_generation
        return first is not None and life.created > first

    def left(self, life: MemslotLife) -> Left | None:
        """Return what was left of a slot; None: nothing, or it is another slot."""
        created, left = self._left.get(life.slot, (None, None))
        return left if created == life.created else None

    def leave(self, life: MemslotLife, left: Left) -> None:
        """Remember what an attempt leaves of a slot."""
        self._left[life.slot] = life.created, left

    def forget(self, life: MemslotLife) -> None:
        """Forget a slot: its guest has left."""
        self._left.pop(life.slot, None)

    def took(self, life: MemslotLife, words: Words, calls: int) -> None:
        """Remember pages that a reader beside the migrations took, and how many calls all did."""
        left = self.left(life)
        if left is None:
            self.leave(life, Left(life.log, calls, words.copy(), words.copy()))
            return
        lacking = None if left.lacking is None else left.lacking | words
        self.leave(life, Left(left.log, left.taken, left.pending | words, lacking))

    def counted(self, before: int, after: int) -> None:
        """Follow the count of the calls that take something, by those that were counted here."""
        for slot, (created, left) in self._left.items():
            if left.taken == before:
                self._left[slot] = created, left._replace(taken=after)
