"""Pages that the guest gave up: ballooned, or hinted free. A write ends that."""

from typing import Final

import numpy as np

from hacdbs_sim.model.pages import PageSet
from hacdbs_sim.model.words import Words, drop_bits, set_bits, words_for
from hacdbs_sim.sim.kvm.accesses import by_slot
from hacdbs_sim.sim.kvm.memslots import Memslot, Memslots

BYTES_A_WORD: Final = 8


class FreePages:
    """Which pages of a machine the guest gave up and has not written since."""

    def __init__(self) -> None:
        self._by_slot: dict[int, Words] = {}

    def follow(self, slots: Memslots) -> None:
        """Forget the slots that have gone."""
        self._by_slot = {slot: words for slot, words in self._by_slot.items() if slot in slots}

    def add(self, slots: Memslots, pages: PageSet) -> None:
        """Give up pages."""
        for slot in self._new_among(slots, pages):
            self._by_slot[slot.region.slot] = np.zeros(words_for(slot.region.npages), np.uint64)
        for slot, _, tiles in by_slot(slots, pages):
            for mask in tiles:
                set_bits(self._by_slot[slot.region.slot], mask)

    def bytes_to_add(self, slots: Memslots, pages: PageSet) -> int:
        """Return the bytes that `add` would take."""
        new = self._new_among(slots, pages)
        return sum(BYTES_A_WORD * words_for(slot.region.npages) for slot in new)

    def _new_among(self, slots: Memslots, pages: PageSet) -> list[Memslot]:
        """List the slots around pages that have had none given up so far."""
        if not len(pages):
            return []
        around = slots.around(*pages.span())
        return [slot for slot in around if slot.region.slot not in self._by_slot]

    def drop(self, slots: Memslots, pages: PageSet) -> None:
        """Use pages again."""
        for slot, _, tiles in by_slot(slots, pages):
            words = self._by_slot.get(slot.region.slot)
            if words is None or slot.region.is_readonly:
                continue
            for mask in tiles:
                drop_bits(words, mask)

    def read(self, slot: int) -> Words | None:
        """Return the pages of a slot, uint64 words; None: it never had any."""
        return self._by_slot.get(slot)

    @property
    def state_bytes(self) -> int:
        """Bytes that they hold."""
        return sum(words.nbytes for words in self._by_slot.copy().values())
