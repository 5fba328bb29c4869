"""What generic KVM needs of an architecture's page tables for one memslot."""

from typing import Final, NamedTuple, Protocol

from hacdbs_sim.model.words import WordMask


class Faults(NamedTuple):
    """The faults that a batch of guest accesses took in one slot."""

    translation: int
    """Faults on an unmapped page."""
    permission: int
    """Write faults on a leaf without write permission."""
    block_splits: int
    """Blocks broken by a write fault while logging."""
    blocks_mapped: int
    """Block leaves made."""
    written: WordMask | None = None
    """Pages that a write fault made writable while logging: the ones to mark dirty."""


NO_FAULTS: Final = Faults(0, 0, 0, 0)


class Mappings(Protocol):
    """The stage-2 leaves of one memslot; pages are counted from the slot's start."""

    def write_fault(self, pages: WordMask, *, is_logging: bool) -> Faults:
        """Write to pages as a guest does; map what is missing."""
        ...

    def read_fault(self, pages: WordMask, *, is_logging: bool) -> Faults:
        """Read pages as a guest does; map what is missing."""
        ...

    def unmap(self, pages: WordMask) -> None:
        """Unmap pages, whole blocks included."""
        ...
