"""What a machine counts, from the outcomes of its actions."""

from dataclasses import fields
from typing import Final

from hacdbs_sim.model import AcceleratorOutcome, AccessOutcome
from hacdbs_sim.sim.arm64.regions import Stage2Regions
from hacdbs_sim.sim.kvm.dirty_log import CleanedLog

_CALLS_OF_HOOK: Final = {outcome: f"accelerator_{outcome.value}" for outcome in AcceleratorOutcome}

_FAULTS: Final = tuple(each.name for each in fields(AccessOutcome) if each.name != "pages")

COUNTERS: Final = (
    "guest_writes",
    "guest_reads",
    "host_writes",
    "host_unmaps",
    *_FAULTS,
    "dirty_log_gets",
    "dirty_log_clears",
    *_CALLS_OF_HOOK.values(),
    "accelerator_runs",
    "accelerator_entries",
    "accelerator_cleaned_pages",
    "accelerator_requeued_pages",
    "software_words",
    "software_pages",
    "write_protected",
    "blocks_split",
    "eager_blocks_split",
    "tlb_flushes",
)
"""Names of a machine's counters. Accesses count pages, repeats included; `accelerator_cleaned`,
`_declined` and `_partial` count calls of the hook by outcome; `eager_blocks_split` the blocks that
went when a slot began to log."""


class Counters:
    """A machine's counters since it was made."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(COUNTERS, 0)

    def read(self) -> dict[str, int]:
        """Return all counters, by name."""
        return dict(self._counts)

    def add_access(self, kind: str, outcome: AccessOutcome) -> None:
        """Count a batch of accesses under its kind."""
        counts = self._counts
        counts[kind] += outcome.pages
        for name in _FAULTS:
            counts[name] += getattr(outcome, name)

    def add_region(self, done: Stage2Regions) -> None:
        """Count what a change of memslots did to stage 2."""
        self._add({"eager_blocks_split": done.blocks_split, "tlb_flushes": done.tlb_flushes})

    def add_copy(self) -> None:
        """Count a get that only copied."""
        self._add({"dirty_log_gets": 1})

    def add_cleaning(self, call: str, cleaned: CleanedLog) -> None:
        """Count a get or clear that cleaned."""
        counts, hook, software = self._counts, cleaned.accelerator, cleaned.software
        counts[call] += 1
        counts[_CALLS_OF_HOOK[hook.outcome]] += 1
        counts["accelerator_runs"] += hook.batches
        counts["accelerator_entries"] += hook.entries
        counts["accelerator_cleaned_pages"] += hook.cleaned
        counts["accelerator_requeued_pages"] += hook.requeued
        counts["blocks_split"] += hook.blocks_split + software.blocks_split
        counts["tlb_flushes"] += cleaned.flush_tlb
        if software.ran:
            counts["software_words"] += software.words
            counts["software_pages"] += software.pages
            counts["write_protected"] += software.write_protected

    def _add(self, counts: dict[str, int]) -> None:
        for name, count in counts.items():
            self._counts[name] += count
