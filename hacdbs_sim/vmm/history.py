"""What earlier attempts to migrate a VM took from its log and did not deliver.

Without manual protect a get takes the bits, and with it a clear does. An attempt that ends before it
has sent those pages is the only one that knows of them, so the next incremental one must begin with
them.
"""

from collections.abc import Iterable

from hacdbs_sim.model import MemslotLife
from hacdbs_sim.model.words import Words


class TransferHistory:
    """The pages of one VM that were taken and not delivered, by slot."""

    def __init__(self) -> None:
        self._undelivered: dict[int, tuple[int, Words]] = {}

    def begin(self, slots: Iterable[MemslotLife]) -> None:
        """Forget slots that are not what they were."""
        for life in slots:
            found = self._undelivered.get(life.slot)
            if found is not None and found[0] != life.created:
                del self._undelivered[life.slot]

    def undelivered(self, life: MemslotLife) -> Words | None:
        """Return the pages of a slot, uint64 words; None: there are none."""
        created, words = self._undelivered.get(life.slot, (-1, None))
        return words if created == life.created else None

    def add(self, life: MemslotLife, taken: Words) -> None:
        """Remember pages that a reader beside the migrations took."""
        before = self.undelivered(life)
        self._undelivered[life.slot] = (life.created, taken if before is None else before | taken)

    def end(self, life: MemslotLife, pending: Words | None) -> None:
        """Remember what an attempt leaves pending of a slot; None: it delivered all."""
        self._undelivered.pop(life.slot, None)
        if pending is not None and pending.any():
            self._undelivered[life.slot] = (life.created, pending.copy())
