"""What arm64 does while memslots change (kvm_arch_prepare_memory_region and others, mmu.c)."""

from hacdbs_sim.model.errors import BeyondIpaSpaceError
from hacdbs_sim.sim.arm64.stage2 import Stage2
from hacdbs_sim.sim.kvm.memslots import Memslot
from hacdbs_sim.sim.kvm.region import Region


def stage2_of(slot: Memslot) -> Stage2:
    """Return a slot's stage 2."""
    assert isinstance(slot.mappings, Stage2), "RegionHooks makes all mappings"
    return slot.mappings


class Stage2Regions:
    """The arm64 side of one change of memslots; implements `hacdbs_sim.sim.kvm.memslots.RegionHooks`.

    Args:
        end_gfn: End of the IPA space.
        dbm: Whether writable leaves get DBM.
        initially_set: Whether manual protect and initially set are both on.
        chunk_size_bytes: The eager-split chunk size, 0 for none.
    """

    def __init__(
        self, *, end_gfn: int, dbm: bool, initially_set: bool, chunk_size_bytes: int
    ) -> None:
        self._end_gfn = end_gfn
        self._dbm = dbm
        self._initially_set = initially_set
        self._chunk_size_bytes = chunk_size_bytes
        self.tlb_flushes = 0
        self.blocks_split = 0

    @property
    def initially_set(self) -> bool:
        """Whether a new dirty bitmap starts with all bits set."""
        return self._initially_set

    def flush_shadow(self, slot: Memslot) -> None:
        """Unmap all of a slot that is being moved or deleted."""
        stage2_of(slot).unmap_all()

    def prepare(self, region: Region) -> None:
        """Refuse a region that ends beyond the IPA space (EFAULT; docs/kernel.md A.1 check 14)."""
        if region.end_gfn > self._end_gfn:
            end = self._end_gfn * region.page_size
            given = region.guest_phys_addr + region.memory_size
            raise BeyondIpaSpaceError(
                f"guest_phys_addr + memory_size must be at most {end:#x}, the end of the IPA "
                f"space, not {given:#x}",
                field="guest_phys_addr",
                bound=f"{end:#x}",
                value=f"{region.guest_phys_addr:#x}",
            )

    def new_mappings(self, region: Region) -> Stage2:
        """Make an empty stage-2 range."""
        return Stage2(region, dbm=self._dbm)

    def commit(self, slot: Memslot) -> None:
        """Write-protect and split a slot that begins to log.

        Where all its bits are set anyway, gets and clears do that later (docs/kernel.md B.1).
        """
        if self._initially_set:
            return
        stage2 = stage2_of(slot)
        stage2.write_protect_all()
        if self._chunk_size_bytes:
            self.blocks_split += stage2.split_all()
        self.tlb_flushes += 1
