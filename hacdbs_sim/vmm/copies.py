"""A copy of a machine's memory that a caller keeps: a destination, a snapshot file, a backup.

A migration knows what it sends. A loop of somebody else's own (a chain of snapshots, a pre-copy) says
what it has read, and asks what its copy lacks. Page versions tell: they count all writes, whether a log
names them or not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from hacdbs_sim import model
from hacdbs_sim.model import MemslotFlags, MemslotInfo, MemslotLife, SlotBegan
from hacdbs_sim.model.errors import KvmError
from hacdbs_sim.model.page_checks import check_first_page, check_window, user_words
from hacdbs_sim.model.words import (
    WORD_BITS,
    Words,
    every_page,
    popcount,
    words_for,
)
from hacdbs_sim.vmm.copy import Judgement, SlotCopy
from hacdbs_sim.vmm.tracking import DirtyTracking, calls_that_took
from hacdbs_sim.vmm.versions import last_version_of, versions_of

BYTES_A_PAGE: Final = 4
"""What a copy takes: the version of each page."""

_NEVER_WRITTEN: Final = 0
"""Who has this version has the pages as they were before the first write."""


@dataclass(slots=True)
class _Held:
    """A memslot of a copy.

    Attributes:
        pages: What the copy has of it.
        view: The memslot as it was last seen.
        began: What the copy had of it at first.
    """

    pages: SlotCopy
    view: MemslotInfo
    began: SlotBegan


class Copy:
    """A copy of all memslots of one machine.

    The machine's page versions are tracked until `close`.

    Args:
        backend: The machine.
        base: What the copy has from the start. None: nothing, but zeros for pages that were never
            written; `source`: the machine as it is, without what the logs name; a copy of the same
            machine: what that one has.
        tracking: What the VMM's own readers of the log share; None: there are none. A copy of base
            `source` lacks what they took and have not delivered, and slots that log for them only.
    """

    def __init__(
        self,
        backend: model.Backend,
        base: "Copy | str | None" = None,
        tracking: DirtyTracking | None = None,
    ) -> None:
        self.received_pages = 0
        self._backend = backend
        self._is_open = True
        backend.perform(model.NeedVersions(needed=True))
        try:
            views = {view.slot: view for view in backend.query(model.ListMemslots())}
            begin = _Beginning(backend, base, tracking or DirtyTracking()).slot
            self._held = {life.slot: begin(life, views[life.slot]) for life in self._lives()}
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop needing the machine's page versions."""
        if self._is_open:
            self._is_open = False
            self._backend.perform(model.NeedVersions(needed=False))

    @property
    def state_bytes(self) -> int:
        """The bytes that the copy takes."""
        return BYTES_A_PAGE * sum(held.view.npages for held in self._held.copy().values())

    @property
    def slots(self) -> tuple[model.CopiedSlot, ...]:
        """The memslots of the copy, by number."""
        return tuple(
            model.CopiedSlot(slot=slot, npages=held.view.npages, began=held.began)
            for slot, held in sorted(self._held.copy().items())
        )

    @property
    def memslots(self) -> tuple[MemslotInfo, ...]:
        """The memslots of the copy as they were last seen, by number."""
        return tuple(held.view for _, held in sorted(self._held.items()))

    def pages_with(self, slot: int) -> int:
        """Return the pages of all memslots once the copy has received some of this one.

        Raises:
            NoSuchMemslotError: The machine has no such slot.
        """
        others = sum(h.view.npages for number, h in self._held.items() if number != slot)
        return others + self._backend.query(model.GetMemslot(slot=slot)).npages

    def receive(self, request: model.ReceivePages) -> model.ReceivedPages:
        """Receive pages as they are now; the guest runs while they are read.

        Raises:
            KvmError: There is no such memslot, the window leaves it, the pages leave the window, or
                the guest cannot run so long. Nothing has changed.
        """
        view, words, num_pages = self._window(request)
        last_version = last_version_of(self._backend)
        if request.duration_ns:
            self._backend.perform(model.RunGuest(duration_ns=request.duration_ns))
        held = self._adopt(view)
        held.pages.receive(request.first_page, words, last_version)
        pages = popcount(words)
        self.received_pages += pages
        return model.ReceivedPages(
            slot=request.slot,
            first_page=request.first_page,
            num_pages=num_pages,
            received_pages=pages,
            now_ns=self._backend.query(model.GetClock()).now_ns,
        )

    def verify(self, pending: Sequence[model.PageWindow] = ()) -> model.Verification:
        """Compare the copy with the machine, page by page.

        Args:
            pending: Pages that the caller still has to send; those in a log are known anyway.

        Raises:
            KvmError: A window is not one of the machine's.
        """
        named = self._named(pending)
        judgement = Judgement()
        lives = self._lives()
        for life in lives:
            held = self._held.get(life.slot)
            is_same = held is not None and held.pages.life.created == life.created
            pages = held.pages if held is not None and is_same else SlotCopy(life)
            known = _log_of(self._backend, life)
            if (more := named.get(life.slot)) is not None:
                known |= more
            versions = versions_of(self._backend, life.slot)
            judgement.compare(pages, versions, known, self._free(life.slot))
        for slot in self._held.keys() - {life.slot for life in lives}:
            judgement.cannot_compare(slot)
        return judgement.verdict()

    def _adopt(self, view: MemslotInfo) -> _Held:
        """Return the copy of a slot as it is now; one that was made since is lacking whole."""
        life = self._backend.query(model.GetMemslotLife(slot=view.slot))
        assert life is not None, "its window was looked at"
        held = self._held.get(life.slot)
        if held is None or held.pages.life.created != life.created:
            held = self._held[life.slot] = _Held(SlotCopy(life), view, SlotBegan.NOTHING)
        elif held.pages.life.log is None:
            held.pages.life = life
        held.view = view
        return held

    def _window(self, window: model.PageWindow) -> tuple[MemslotInfo, Words, int]:
        """Return a memslot, the pages of a window as words of its own, and the window's length."""
        check_first_page(window.first_page)
        view = self._backend.query(model.GetMemslot(slot=window.slot))
        num_pages = check_window(window.first_page, window.num_pages, view.npages)
        pages = window.pages.words if isinstance(window.pages, model.Bitmap) else window.pages
        found = user_words(pages, window.first_page, num_pages)
        every = every_page(num_pages)
        return view, every if found is None else found & every, num_pages

    def _named(self, pending: Sequence[model.PageWindow]) -> dict[int, Words]:
        """Return the pages that the caller names, by memslot."""
        named: dict[int, Words] = {}
        for index, window in enumerate(pending):
            try:
                view, words, _ = self._window(window)
            except KvmError as refused:
                raise type(refused)(
                    refused.detail,
                    field=f"pending.{index}.{refused.field}",
                    bound=refused.bound,
                    value=refused.value,
                ) from refused
            of_slot = named.setdefault(window.slot, np.zeros(words_for(view.npages), np.uint64))
            first = window.first_page // WORD_BITS
            of_slot[first : first + len(words)] |= words
        return named

    def _lives(self) -> tuple[MemslotLife, ...]:
        return self._backend.query(model.ListMemslotLives())

    def _free(self, slot: int) -> Words | None:
        free = self._backend.query(model.GetFreePages(slot=slot)).bitmap
        return None if free is None else free.words


class _Beginning:
    """What a copy has of each memslot when it begins."""

    def __init__(
        self, backend: model.Backend, base: "Copy | str | None", tracking: DirtyTracking
    ) -> None:
        self._backend = backend
        self._base = base
        self._tracking = tracking

    def slot(self, life: MemslotLife, view: MemslotInfo) -> _Held:
        """Begin with a memslot."""
        if self._base is None:
            written = self._backend.query(model.GetWrittenPages(slot=life.slot)).bitmap
            if written is None:
                return _Held(SlotCopy(life), view, SlotBegan.NOTHING)
            return _Held(SlotCopy(life, _NEVER_WRITTEN), view, SlotBegan.ZEROS)
        if isinstance(self._base, Copy):
            pages = self._of_copy(self._base, life, view)
        else:
            pages = self._of_source(life, view)
        if pages is None:
            return _Held(SlotCopy(life), view, SlotBegan.NOTHING)
        return _Held(pages, view, SlotBegan.BASE)

    def _of_source(self, life: MemslotLife, view: MemslotInfo) -> SlotCopy | None:
        """Return the machine's pages, without those that are known to have changed since the base."""
        logs = life.log is not None and not self._tracking.holds_log(life)
        if not logs and not _is_readonly(view):
            return None
        pages = SlotCopy(life, last_version_of(self._backend))
        pages.forget(0, _log_of(self._backend, life))
        left = self._tracking.left(life)
        if left is None:
            return None if self._tracking.history.is_new(life) else pages
        has_gap = left.log != life.log or left.taken != calls_that_took(self._backend)
        if left.lacking is None or (has_gap and not _is_readonly(view)):
            return None
        pages.forget(0, left.lacking)
        return pages

    def _of_copy(self, base: Copy, life: MemslotLife, view: MemslotInfo) -> SlotCopy | None:
        """Return what another copy has, where the log names all that was written since."""
        held = base._held.get(life.slot)  # noqa: SLF001 - of the same module
        if held is None or held.pages.life.created != life.created:
            return None
        has_gap = life.log is None or life.log != held.pages.life.log
        if has_gap and not _is_readonly(view):
            return None
        pages = held.pages.copy()
        pages.life = life
        return pages


def _is_readonly(view: MemslotInfo) -> bool:
    """Whether nobody can write the memslot, so that no log need say what changed."""
    return bool(view.flags & MemslotFlags.READONLY)


def _log_of(backend: model.Backend, life: MemslotLife) -> Words:
    """Return what the log names; nothing where the memslot keeps none."""
    if life.log is not None:
        log = backend.query(model.PeekDirtyLog(slot=life.slot)).bitmap
        assert log is not None, "a peek has a bitmap"
        return log.words
    return np.zeros(words_for(life.npages), np.uint64)
