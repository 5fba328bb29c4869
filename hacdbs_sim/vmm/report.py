"""A migration at one moment, as the VMM has it.

A pass is a get of each slot, then its pages chunk by chunk. The pass in which the guest is paused is of
phase `device`.
"""

from dataclasses import dataclass

from hacdbs_sim import model
from hacdbs_sim.vmm.stream import Statistics


@dataclass(frozen=True, slots=True)
class Report:
    """A migration at one moment.

    Attributes:
        status: As QMP names it.
        reason: Why it switched over or ended; None before.
        refused: What the machine refused, where it failed.
        spec: How it is run, with the slots named and changes applied.
        started_ns: The clock when it began.
        now_ns: The clock when it was last seen.
        setup_ns: How long the setup took.
        downtime_ns: How long the guest has been paused for it.
        throttle_percent: The throttling at present.
        page_size: Bytes of a page.
        total_pages: Pages of all slots that are migrated.
        remaining_pages: Pages known to have to be sent.
        stats: QEMU's statistics.
        iterations: The passes that have ended.
        scheduled: What became of the items of the schedule.
        changes: What was changed while it ran.
        changed_slots: Migrated slots that changed on the way.
        postcopy: The post-copy phase; None: there was none.
        verification: What the page versions prove; nothing before the end.
    """

    status: model.MigrationStatus
    reason: model.Reason | None
    refused: model.Refused | None
    spec: model.MigrationSpec
    started_ns: int
    now_ns: int
    setup_ns: int
    downtime_ns: int
    throttle_percent: int
    page_size: int
    total_pages: int
    remaining_pages: int
    stats: Statistics
    iterations: tuple[model.Iteration, ...]
    scheduled: tuple[model.ScheduledOutcome, ...]
    changes: tuple[model.AppliedChange, ...]
    changed_slots: tuple[model.ChangedSlot, ...]
    postcopy: model.PostcopyReport | None
    verification: model.Verification

    @property
    def totals(self) -> model.Totals:
        """The sums over all passes that have ended."""
        sums = {name: sum(getattr(each, name) for each in self.iterations) for name in model.SUMMED}
        return model.Totals(
            iterations=len(self.iterations),
            total_ns=self.now_ns - self.started_ns,
            setup_ns=self.setup_ns,
            downtime_ns=self.downtime_ns,
            **sums,
        )
