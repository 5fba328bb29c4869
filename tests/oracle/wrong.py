"""Sides that are wrong on purpose, each in one way: what the oracle has to find."""

from dataclasses import replace
from typing import Any, Final

import numpy as np
from typing_extensions import override

from hacdbs_sim import model as a
from hacdbs_sim.host_kvm.memory import PAGE_SIZE
from tests.oracle.answers import Answer
from tests.oracle.ground import LOG, flags_of, gfns_of
from tests.oracle.scripts import bits_in, pages_of
from tests.oracle.setups import Setup
from tests.oracle.sides import CoreSide

FORGOTTEN_PAGE: Final = 65
STICKY_PAGE: Final = 70


class Forgetful(CoreSide):
    """No get ever reports page 65 of a slot."""

    @override
    def perform(self, action: a.Action[Any]) -> Answer:
        answer = super().perform(action)
        if answer.bitmap is None or len(answer.bitmap) < 16:
            return answer
        words = np.frombuffer(answer.bitmap, np.uint64).copy()
        words[FORGOTTEN_PAGE // 64] &= ~np.uint64(1 << FORGOTTEN_PAGE % 64)
        return Answer(bitmap=words.tobytes())


class Sticky(CoreSide):
    """A clear of page 70 in a window that starts at its word leaves the page dirty."""

    @override
    def perform(self, action: a.Action[Any]) -> Answer:
        if isinstance(action, a.ClearDirtyLog) and action.first_page == 64:
            assert isinstance(action.pages, a.Bitmap)
            few = set(pages_of(action.pages.words)) - {STICKY_PAGE - 64}
            action = replace(action, pages=bits_in(len(action.pages.words), *few))
        return super().perform(action)


class MovesLoseTheLog(CoreSide):
    """A slot that moves begins a new log."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._places: dict[int, int] = {}

    @override
    def perform(self, action: a.Action[Any]) -> Answer:
        answer = super().perform(action)
        if isinstance(action, a.SetMemslot) and answer.errno is None:
            moved = self._places.get(action.slot) not in (None, action.guest_phys_addr)
            if moved and action.memory_size:
                super().perform(replace(action, flags=action.flags & ~LOG))
                super().perform(action)
            self._places[action.slot] = action.guest_phys_addr
            if not action.memory_size:
                del self._places[action.slot]
        return answer


class NothingIsInitiallySet(CoreSide):
    """KVM_DIRTY_LOG_INITIALLY_SET is taken and ignored."""

    @override
    def perform(self, action: a.Action[Any]) -> Answer:
        if isinstance(action, a.UpdateVm) and flags_of(action) == 3:
            action = a.UpdateVm(manual_dirty_log_protect2=1)
        return super().perform(action)


class NothingIsManual(CoreSide):
    """A get always cleans the log, manual protect or not."""

    @override
    def perform(self, action: a.Action[Any]) -> Answer:
        answer = super().perform(action)
        if isinstance(action, a.GetDirtyLog) and answer.bitmap is not None:
            words = np.frombuffer(answer.bitmap, np.uint64)
            super().perform(a.ClearDirtyLog(slot=action.slot, pages=a.Bitmap(words)))
        return answer


class ClearsNeedTheCapability(CoreSide):
    """A clear without manual protect is refused."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._manual_protect = 0

    @override
    def perform(self, action: a.Action[Any]) -> Answer:
        if isinstance(action, a.ClearDirtyLog) and not self._manual_protect:
            return Answer("EINVAL")
        answer = super().perform(action)
        if isinstance(action, a.UpdateVm) and answer.errno is None:
            self._manual_protect = flags_of(action)
        return answer


class LooksTheSlotUpFirst(CoreSide):
    """An unaligned first_page on an absent slot is ENOENT, not EINVAL."""

    @override
    def perform(self, action: a.Action[Any]) -> Answer:
        if isinstance(action, a.ClearDirtyLog) and action.first_page % 64:
            absent = super().perform(replace(action, first_page=0, num_pages=0, pages=bits_in(0)))
            if absent.errno == "ENOENT":
                return absent
        return super().perform(action)


class OverlapIsInvalid(CoreSide):
    """Overlapping slots are EINVAL."""

    @override
    def perform(self, action: a.Action[Any]) -> Answer:
        answer = super().perform(action)
        return Answer("EINVAL") if answer.errno == "EEXIST" else answer


class AnyFlagWillDo(CoreSide):
    """Flags that no kernel knows are ignored."""

    @override
    def perform(self, action: a.Action[Any]) -> Answer:
        if isinstance(action, a.SetMemslot):
            action = replace(action, flags=action.flags & 3)
        return super().perform(action)


class HostWritesAreSilent(CoreSide):
    """What the host writes is not logged."""

    @override
    def perform(self, action: a.Action[Any]) -> Answer:
        return Answer() if isinstance(action, a.HostWrite) else super().perform(action)


class UnmapsAreLogged(CoreSide):
    """An MMU notifier's unmap marks its pages dirty."""

    @override
    def perform(self, action: a.Action[Any]) -> Answer:
        if isinstance(action, a.HostUnmap):
            super().perform(a.HostWrite(pages=action.pages))
        return super().perform(action)


class PagesAreSixteenKib(CoreSide):
    """A write marks its page's neighbours too."""

    @override
    def perform(self, action: a.Action[Any]) -> Answer:
        answer = super().perform(action)
        if isinstance(action, a.GuestWrite):
            first = gfns_of(action) & ~np.uint64(3)
            for step in range(4):
                super().perform(a.GuestWrite(pages=a.Gfns(first + np.uint64(step))))
        return answer


class ReadonlyIsNot(CoreSide):
    """A READONLY slot is made as any other."""

    @override
    def perform(self, action: a.Action[Any]) -> Answer:
        if isinstance(action, a.SetMemslot) and action.flags < 4:
            action = replace(action, flags=action.flags & LOG)
        return super().perform(action)


class SlotsMayGrow(CoreSide):
    """A call with another size of a slot that is there changes nothing, and succeeds."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._sizes: dict[int, int] = {}

    @override
    def perform(self, action: a.Action[Any]) -> Answer:
        answer = super().perform(action)
        if isinstance(action, a.SetMemslot):
            grown = action.memory_size == self._sizes.get(action.slot, 0) + PAGE_SIZE
            if answer.errno == "EINVAL" and grown:
                return Answer()
            if answer.errno is None:
                self._sizes[action.slot] = action.memory_size
        return answer


WRONG_SIDES: Final[tuple[type[CoreSide], ...]] = (
    Forgetful,
    Sticky,
    MovesLoseTheLog,
    NothingIsInitiallySet,
    NothingIsManual,
    ClearsNeedTheCapability,
    LooksTheSlotUpFirst,
    OverlapIsInvalid,
    AnyFlagWillDo,
    HostWritesAreSilent,
    UnmapsAreLogged,
    PagesAreSixteenKib,
    ReadonlyIsNot,
    SlotsMayGrow,
)
