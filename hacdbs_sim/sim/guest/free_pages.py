"""Pages that the guest gave up: ballooned, or hinted free. A write ends that."""

import numpy as np

from hacdbs_sim.model.pages import PageSet
from hacdbs_sim.model.words import Words, drop_bits, set_bits, words_for
from hacdbs_sim.sim.kvm.accesses import by_slot
from hacdbs_sim.sim.kvm.memslots import Memslots


class FreePages:
    """Which pages of a machine the guest gave up and has not written since."""

    def __init__(self) -> None:
        self._by_slot: dict[int, Words] = {}

    def follow(self, slots: Memslots) -> None:
        """Forget the slots that have gone."""
        self._by_slot = {slot: words for slot, words in self._by_slot.items() if slot in slots}

    def add(self, slots: Memslots, pages: PageSet) -> None:
        """Give up pages."""
        for slot, _, tiles in by_slot(slots, pages):
            number = slot.region.slot
            if number not in self._by_slot:
                self._by_slot[number] = np.zeros(words_for(slot.region.npages), np.uint64)
            for mask in tiles:
                set_bits(self._by_slot[number], mask)

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
