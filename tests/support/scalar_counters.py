"""What a VM has counted, from the outcomes of the model's own actions.

A count that is still 0 is not in here, so that the model needs no list of names.
"""

from collections import Counter

from hacdbs_sim.model import (
    AcceleratorReport,
    AccessOutcome,
    GuestRead,
    GuestWrite,
    HostDiscard,
    HostUnmap,
    HostWrite,
    LogOp,
    SoftwareReport,
    known,
)

KIND_OF_ACCESS = {
    GuestWrite: "guest_writes",
    GuestRead: "guest_reads",
    HostWrite: "host_writes",
    HostUnmap: "host_unmaps",
    HostDiscard: "host_unmaps",
}


class ScalarCounters:
    """Sums over the life of one VM."""

    def __init__(self) -> None:
        self.sums: Counter[str] = Counter()

    def read(self) -> dict[str, int]:
        return {name: count for name, count in self.sums.items() if count}

    def access(
        self,
        action: GuestWrite | GuestRead | HostWrite | HostUnmap | HostDiscard,
        outcome: AccessOutcome,
    ) -> None:
        self.sums[KIND_OF_ACCESS[type(action)]] += outcome.pages
        self.sums["newly_dirty"] += known(outcome.newly_dirty)
        self.sums["translation_faults"] += known(outcome.translation_faults)
        self.sums["permission_faults"] += known(outcome.permission_faults)
        self.sums["mmio_exits"] += outcome.mmio_exits
        self.sums["block_splits"] += known(outcome.block_splits)
        self.sums["blocks_mapped"] += known(outcome.blocks_mapped)

    def log_enabled(self, blocks_split: int) -> None:
        """Count a slot that was write-protected as it began to log: one flush, some splits."""
        self.sums["eager_blocks_split"] += blocks_split
        self.sums["tlb_flushes"] += 1

    def copied(self) -> None:
        self.sums["dirty_log_gets"] += 1

    def cleaning(
        self, op: LogOp, hook: AcceleratorReport, software: SoftwareReport, *, flush: bool
    ) -> None:
        self.sums[f"dirty_log_{op.value}s"] += 1
        self.sums[f"accelerator_{hook.outcome.value}"] += 1
        self.sums["accelerator_runs"] += hook.batches
        self.sums["accelerator_entries"] += hook.entries
        self.sums["accelerator_cleaned_pages"] += hook.cleaned
        self.sums["accelerator_requeued_pages"] += hook.requeued
        self.sums["software_words"] += software.words
        self.sums["software_pages"] += software.pages
        self.sums["write_protected"] += software.write_protected
        self.sums["blocks_split"] += hook.blocks_split + software.blocks_split
        self.sums["tlb_flushes"] += flush
