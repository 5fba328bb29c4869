"""Copies: what a destination, a snapshot file or a backup has of a VM's memory."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

from annotated_types import Len

from hacdbs_sim.model.base import Model, Request
from hacdbs_sim.model.kinds import MAX_NS, MAX_SLOT, Count, Page64, Pattern, SlotId, whole
from hacdbs_sim.model.migrations import Destination
from hacdbs_sim.model.pages import LogPages

MAX_COPIES_PER_VM: Final = 100

CopyBase = Annotated[str, Pattern(r"^(source|c[1-9][0-9]{0,9})$")]
"""`source`, or the id of another copy of the VM."""

SOURCE_BASE: Final = "source"


class SlotBegan(StrEnum):
    """What a copy had of a memslot when it began.

    `nothing`: no page. `zeros`: the pages that had never been written. `base`: what its base had.
    """

    NOTHING = "nothing"
    ZEROS = "zeros"
    BASE = "base"


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateCopy(Request):
    """A copy to begin."""

    base: CopyBase | None = None
    """What it has from the start. Null: nothing, but zeros for pages that were never written.
    `source`: the VM as it is, without what the logs name. The id of another copy: what that one
    has. A memslot that has not logged all the time since the base counts as missing in full
    until it is received."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedSlot(Model):
    """A memslot of a copy."""

    slot: SlotId
    """Its number."""
    npages: Count
    """Its length in pages."""
    began: SlotBegan
    """What the copy had of it at first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyInfo(Model):
    """A copy of a VM's memory."""

    copy_id: str
    """c1, c2, ... by VM."""
    vm_id: str
    """The VM whose memory it is."""
    base: str | None
    """What it began with; null: nothing."""
    created_ns: Count
    """The VM's clock when it began."""
    received_pages: Count
    """Pages received so far, repeats counted."""
    state_bytes: Count
    """Bytes that it takes in the service: 4 a page."""
    slots: tuple[CopiedSlot, ...]
    """The memslots that it has."""


@dataclass(frozen=True, kw_only=True)
class PageWindow(Request):
    """Pages in a window of a memslot."""

    slot: SlotId
    """The memslot."""
    pages: LogPages
    """Which pages; a bitmap has ALIGN(num_pages, 64) / 8 bytes exactly."""
    first_page: Page64 = 0
    """Start of the window, in pages of the slot."""
    num_pages: Count | None = None
    """Its length; to the slot's end if absent."""


@dataclass(frozen=True, kw_only=True)
class ReceivePages(PageWindow):
    """Pages that a copy receives, as they are in the VM now."""

    duration_ns: Annotated[int, whole(0, MAX_NS)] = 0
    """How long the guest runs while they are read: what it writes meanwhile, the copy lacks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedPages(Model):
    """What a copy received."""

    slot: SlotId
    """The memslot."""
    first_page: Count
    """Start of the window, in pages of the slot."""
    num_pages: Count
    """Its length."""
    received_pages: Count
    """Pages received."""
    now_ns: Count
    """The VM's clock afterwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyCopy(Request):
    """What a copy is compared with, beside the VM and its logs."""

    pending: Annotated[tuple[PageWindow, ...], Len(0, MAX_SLOT + 1)] = ()
    """Pages that the caller still has to send; those in a log are known anyway."""


@dataclass(frozen=True, kw_only=True)
class StartCopy(Destination):
    """The VM to make of a copy; it has the copy's memslots, and none of them logs."""
