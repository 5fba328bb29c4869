"""A migration at one moment, as the VMM has it.

An iteration is one pass: a get of each slot, then its pages chunk by chunk. The pass in which the
guest is paused is the last one, of phase `device`.
"""

from dataclasses import dataclass

from hacdbs_sim import model


@dataclass(frozen=True, slots=True)
class Report:
    """A migration at one moment.

    Attributes:
        status: As QMP names it.
        reason: Why it went over or ended; None before.
        refused: What the machine refused, where it failed.
        started_ns: The clock when it began.
        now_ns: The clock when it was last seen.
        setup_ns: How long the setup took.
        downtime_ns: How long the guest has been paused for it.
        expected_downtime_ns: How long what was to be sent at the last get would take.
        throttle_percent: The throttling at present.
        page_size: Bytes of a page.
        total_pages: Pages of all slots that are migrated.
        remaining_pages: Pages known to have to be sent.
        sent_pages: Pages sent, those of the current pass included.
        syncs: How often the logs of all slots were taken.
        iterations: The passes that have ended.
        scheduled: Actions of the schedule that were performed.
        verification: What the page versions prove; nothing before the end.
    """

    status: model.MigrationStatus
    reason: model.Reason | None
    refused: model.Refused | None
    started_ns: int
    now_ns: int
    setup_ns: int
    downtime_ns: int
    expected_downtime_ns: int
    throttle_percent: int
    page_size: int
    total_pages: int
    remaining_pages: int
    sent_pages: int
    syncs: int
    iterations: tuple[model.Iteration, ...]
    scheduled: tuple[model.ScheduledOutcome, ...]
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
