"""Accesses of guest and host to batches of guest frames."""

from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np
from annotated_types import Len

from hacdbs_sim.model.base import Action, Model
from hacdbs_sim.model.errors import GfnBeyondIpaSpaceError, NoSuchVcpuError
from hacdbs_sim.model.kinds import Count, Gpa, PositiveSize
from hacdbs_sim.model.pages import FramePages, PageRanges

MAX_GPA_RANGES: Final = 65_536
"""The most ranges of one `guest_write_memory`."""


@dataclass(kw_only=True)
class AccessOutcome(Model):
    """What a batch of accesses did (docs/kernel.md S.2). Guest faults are counted by kind.

    A backend that cannot observe a count leaves it null (`unknown_fields` of the VM's capabilities).
    """

    pages: Count = 0
    """Accesses, repeats counted."""
    newly_dirty: Count | None = 0
    """Pages that entered a dirty log."""
    translation_faults: Count | None = 0
    """Faults on an unmapped page."""
    permission_faults: Count | None = 0
    """Write faults on a leaf without write permission."""
    mmio_exits: Count = 0
    """Accesses that no slot takes, repeats counted: outside every slot, or a write to a READONLY
    one. A host unmap has none."""
    block_splits: Count | None = 0
    """Blocks broken by a write fault while logging (lazy splits)."""
    blocks_mapped: Count | None = 0
    """Block leaves made by a fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestWrite(Action[AccessOutcome]):
    """Write pages as a vCPU."""

    refusals = (NoSuchVcpuError, GfnBeyondIpaSpaceError)

    pages: FramePages
    vcpu: Count = 0
    """Which vCPU writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestWriteMemory(Action[AccessOutcome]):
    """Write ranges of memory as a vCPU: each range writes every page that it touches, once."""

    refusals = (NoSuchVcpuError, GfnBeyondIpaSpaceError)

    gpa_ranges: Annotated[tuple[tuple[Gpa, PositiveSize], ...], Len(1, MAX_GPA_RANGES)]
    """Pairs of a guest physical address and a length in bytes, in any order."""
    vcpu: Count = 0
    """Which vCPU writes."""

    def pages(self, page_size: int) -> PageRanges:
        """Return the pages that the ranges touch, one range each."""
        first, length = np.array(self.gpa_ranges, np.uint64).reshape(-1, 2).T
        start = first // np.uint64(page_size)
        last = (first + length - np.uint64(1)) // np.uint64(page_size)
        return PageRanges(start, last - start + np.uint64(1))


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestRead(Action[AccessOutcome]):
    """Read pages as a vCPU."""

    refusals = (NoSuchVcpuError, GfnBeyondIpaSpaceError)

    pages: FramePages
    vcpu: Count = 0
    """Which vCPU reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostWrite(Action[AccessOutcome]):
    """Write pages as the host kernel (kvm_write_guest, the vGIC): mark the log, leave stage 2 alone."""

    refusals = (GfnBeyondIpaSpaceError,)

    pages: FramePages


@dataclass(frozen=True, slots=True, kw_only=True)
class HostUnmap(Action[AccessOutcome]):
    """Unmap pages as an MMU notifier does, whole blocks included; leave the log alone."""

    refusals = (GfnBeyondIpaSpaceError,)

    pages: FramePages


@dataclass(frozen=True, slots=True, kw_only=True)
class HostDiscard(Action[AccessOutcome]):
    """Give pages back to the host, as a balloon does: unmap them, and drop their content.

    The log is left alone. A migration need not send them until they are written.
    """

    refusals = (GfnBeyondIpaSpaceError,)

    pages: FramePages


@dataclass(frozen=True, slots=True, kw_only=True)
class HintFree(Action[AccessOutcome]):
    """Report pages as free, as virtio-balloon's free page hints do: nothing is unmapped.

    A migration need not send them until they are written.
    """

    refusals = (GfnBeyondIpaSpaceError,)

    pages: FramePages
