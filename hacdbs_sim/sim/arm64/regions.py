"""What arm64 does while memslots change (kvm_arch_prepare_memory_region and others, mmu.c)."""

from dataclasses import dataclass

from hacdbs_sim.model.errors import BeyondIpaSpaceError
from hacdbs_sim.sim.arm64.stage2 import Stage2
from hacdbs_sim.sim.kvm.memslots import Memslot
from hacdbs_sim.sim.kvm.region import Region


def stage2_of(slot: Memslot) -> Stage2:
    """Return a slot's stage 2."""
    assert isinstance(slot.mappings, Stage2), "RegionHooks makes all mappings"
    return slot.mappings


@dataclass(slots=True, kw_only=True, eq=False)
class Stage2Regions:
    """The arm64 side of one change of memslots; implements `kvm.memslots.RegionHooks`."""

    end_gfn: int
    """End of the IPA space."""
    dbm: bool
    """Whether writable leaves get DBM."""
    initially_set: bool
    """Whether a new dirty bitmap starts with all bits set."""
    chunk_size_bytes: int
    """The eager-split chunk size, 0 for none."""
    tlb_flushes: int = 0
    blocks_split: int = 0

    def flush_shadow(self, slot: Memslot) -> None:
        """Unmap all of a slot that is being moved or deleted."""
        stage2_of(slot).unmap_all()

    def prepare(self, region: Region) -> None:
        """Refuse a region that ends beyond the IPA space (EFAULT; docs/kernel.md A.1 check 14)."""
        if region.end_gfn > self.end_gfn:
            end = self.end_gfn * region.page_size
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
        return Stage2(region, dbm=self.dbm)

    def commit(self, slot: Memslot) -> None:
        """Write-protect and split a slot that begins to log.

        Where all its bits are set anyway, gets and clears do that later (docs/kernel.md B.1).
        """
        if self.initially_set:
            return
        stage2 = stage2_of(slot)
        stage2.write_protect_all()
        if self.chunk_size_bytes:
            self.blocks_split += stage2.split_all()
        self.tlb_flushes += 1
