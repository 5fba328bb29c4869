"""What a migration reports, while it runs and afterwards: the same names, always all of them.

Times are nanoseconds of the machine's virtual clock. An iteration is one pass: a get of each slot, then
its pages chunk by chunk. The pass in which the guest is paused is the last one, of phase `device`.
"""

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Final

from hacdbs_sim.vmm.versions import LostPages


class MigrationStatus(StrEnum):
    """QMP's MigrationStatus, as far as a pre-copy has them."""

    NONE = "none"
    SETUP = "setup"
    ACTIVE = "active"
    PRE_SWITCHOVER = "pre-switchover"
    DEVICE = "device"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Tell whether nothing comes after it."""
        return self in _FINAL


_FINAL: Final = frozenset(
    {MigrationStatus.COMPLETED, MigrationStatus.FAILED, MigrationStatus.CANCELLED}
)


class Reason(StrEnum):
    """Why a migration went over, or ended without."""

    CONVERGED = "converged"
    MAX_ITERATIONS = "max_iterations"
    TIMEOUT = "timeout"
    REFUSED = "refused"
    CANCEL = "cancel"
    VM_DELETED = "vm_deleted"
    SESSION_RESET = "session_reset"
    SERVICE_STOPPED = "service_stopped"


@dataclass(slots=True)
class Iteration:
    """One pass.

    Attributes:
        iteration: Its number, from 0.
        phase: `active` while the guest runs, `device` while it is paused.
        started_ns: The clock when it began, before its get.
        duration_ns: Until its last page was sent.
        dirty_pages: Pages that its get found, beyond those that were still to be sent.
        dirty_pages_per_second: The same, by the time since the get before.
        sent_pages: Pages that it sent.
        sent_bytes: Their bytes.
        remaining_pages: Pages that have to be sent when it ends: dirty again, or not reached.
        throttle_percent: How much of their time the vCPUs were kept from running.
        get_ns: What its gets cost.
        clear_ns: What its clears cost.
        clears: How many there were.
        guest_ns: How long the guest really ran.
        guest_stall_ns: How long the guest's faults kept it.
        throttled_ns: How long throttling kept it.
        guest_writes: Writes of the workloads.
        permission_faults: Write faults on pages that had been cleaned.
        translation_faults: Faults on pages that were not mapped.
        hardware_cleaned: Pages that the unit cleaned.
        software_cleaned: Pages that software cleaned.
        requeued: Pages that the unit gave back.
        declined: Calls of the hook that it declined.
        partial: Calls of the hook that stopped early.
        blocks_split: Blocks that gets and clears split.
    """

    iteration: int = 0
    phase: str = MigrationStatus.ACTIVE.value
    started_ns: int = 0
    duration_ns: int = 0
    dirty_pages: int = 0
    dirty_pages_per_second: int = 0
    sent_pages: int = 0
    sent_bytes: int = 0
    remaining_pages: int = 0
    throttle_percent: int = 0
    get_ns: int = 0
    clear_ns: int = 0
    clears: int = 0
    guest_ns: int = 0
    guest_stall_ns: int = 0
    throttled_ns: int = 0
    guest_writes: int = 0
    permission_faults: int = 0
    translation_faults: int = 0
    hardware_cleaned: int = 0
    software_cleaned: int = 0
    requeued: int = 0
    declined: int = 0
    partial: int = 0
    blocks_split: int = 0


ITERATION_FIELDS: Final = tuple(each.name for each in fields(Iteration))
"""The columns of a table of iterations."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all passes, and the times of the whole; names as in `Iteration`."""

    iterations: int
    total_ns: int
    setup_ns: int
    downtime_ns: int
    dirty_pages: int
    sent_pages: int
    sent_bytes: int
    get_ns: int
    clear_ns: int
    clears: int
    guest_ns: int
    guest_stall_ns: int
    throttled_ns: int
    guest_writes: int
    permission_faults: int
    translation_faults: int
    hardware_cleaned: int
    software_cleaned: int
    requeued: int
    declined: int
    partial: int
    blocks_split: int


_SUMMED: Final = tuple(
    each.name
    for each in fields(Totals)
    if each.name not in {"iterations", "total_ns", "setup_ns", "downtime_ns"}
)


def totals_of(
    passes: tuple[Iteration, ...], *, total_ns: int, setup_ns: int, downtime_ns: int
) -> Totals:
    """Add passes up."""
    sums = {name: sum(getattr(each, name) for each in passes) for name in _SUMMED}
    return Totals(
        iterations=len(passes),
        total_ns=total_ns,
        setup_ns=setup_ns,
        downtime_ns=downtime_ns,
        **sums,
    )


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal of the machine: its code, the kernel's errno where it has one, and a sentence."""

    code: str
    errno: str | None
    detail: str


@dataclass(frozen=True, slots=True)
class ScheduledOutcome:
    """An action of the schedule that was performed.

    Attributes:
        iteration: When.
        op: What.
        now_ns: The clock before it.
        refused: Why it was refused; None: it was done.
    """

    iteration: int
    op: str
    now_ns: int
    refused: Refused | None


@dataclass(frozen=True, slots=True)
class Verification:
    """What the page versions prove.

    Attributes:
        enabled: Whether they were followed.
        verified: Whether all slots could be compared, at the end.
        lost_pages: Pages that the destination has not as they are, and that will not be sent.
        slots: The same by slot, with the first ranges; of many slots, only of those that lost some.
    """

    enabled: bool
    verified: bool
    lost_pages: int
    slots: tuple[LostPages, ...]


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
        sent_pages: Pages sent, those of the pass that goes on included.
        syncs: How often the logs of all slots were taken.
        iterations: The passes that have ended.
        scheduled: Actions of the schedule that were performed.
        verification: What the page versions prove; nothing before the end.
    """

    status: MigrationStatus
    reason: Reason | None
    refused: Refused | None
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
    iterations: tuple[Iteration, ...]
    scheduled: tuple[ScheduledOutcome, ...]
    verification: Verification

    @property
    def totals(self) -> Totals:
        """Value of the sums over all passes that have ended."""
        return totals_of(
            self.iterations,
            total_ns=self.now_ns - self.started_ns,
            setup_ns=self.setup_ns,
            downtime_ns=self.downtime_ns,
        )
