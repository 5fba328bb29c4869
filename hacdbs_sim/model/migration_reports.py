"""What a migration reports, while it runs and afterwards.

Times are nanoseconds of the machine's virtual clock.
"""

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import ClassVar, Final, Literal

from hacdbs_sim.model.base import Model
from hacdbs_sim.model.kinds import Boolean, Count, SlotId
from hacdbs_sim.model.migrations import (
    MigrationCommand,
    MigrationSpec,
    SchedulePoint,
    UpdateMigration,
)
from hacdbs_sim.model.query_migrate import MigrationStatus, QueryMigrate
from hacdbs_sim.model.vms import VmSpec


class Reason(StrEnum):
    """Why a migration switched over, or ended without."""

    CONVERGED = "converged"
    REQUESTED = "requested"
    MAX_ITERATIONS = "max_iterations"
    TIMEOUT = "timeout"
    STALLED = "stalled"
    POSTCOPY = "postcopy"
    REFUSED = "refused"
    MEMORY_LAYOUT_CHANGED = "memory_layout_changed"
    LINK_FAILED = "link_failed"
    DESTINATION_DIED = "destination_died"
    CANCEL = "cancel"
    VM_DELETED = "vm_deleted"
    SESSION_RESET = "session_reset"
    SERVICE_STOPPED = "service_stopped"

    @property
    def because(self) -> str:
        """The same as a clause."""
        return _BECAUSE[self]


_BECAUSE: Final = {
    Reason.CONVERGED: "the rest could be sent within the downtime limit",
    Reason.REQUESTED: "a call or the schedule had it switch over",
    Reason.MAX_ITERATIONS: "the passes were used up",
    Reason.TIMEOUT: "the time was used up",
    Reason.STALLED: "the remaining pages did not get fewer",
    Reason.POSTCOPY: "post-copy sent the rest",
    Reason.REFUSED: "the machine refused a call",
    Reason.MEMORY_LAYOUT_CHANGED: "a migrated memslot changed",
    Reason.LINK_FAILED: "the connection to the destination broke",
    Reason.DESTINATION_DIED: "the destination died",
    Reason.CANCEL: "it was cancelled",
    Reason.VM_DELETED: "the VM was deleted",
    Reason.SESSION_RESET: "the session was reset",
    Reason.SERVICE_STOPPED: "the service stopped",
}


@dataclass(kw_only=True)
class Sums(Model):
    """What a pass did, and all passes together."""

    dirty_pages: Count = 0
    """Pages that gets found, beyond those that were still to be sent."""
    sent_pages: Count = 0
    """Pages sent, zero pages included."""
    sent_bytes: Count = 0
    """The bytes of their content: pages by the page size, without zero pages."""
    get_ns: Count = 0
    """What gets cost."""
    clear_ns: Count = 0
    """What clears cost."""
    clears: Count = 0
    """How many there were."""
    guest_ns: Count = 0
    """How long the guest really ran."""
    guest_stall_ns: Count = 0
    """How long the guest's faults kept it."""
    throttled_ns: Count = 0
    """How long throttling kept it."""
    guest_writes: Count = 0
    """Writes of the workloads."""
    permission_faults: Count = 0
    """Write faults on pages that had been cleaned."""
    translation_faults: Count = 0
    """Faults on pages that were not mapped."""
    hardware_cleaned: Count = 0
    """Pages that the unit cleaned."""
    software_cleaned: Count = 0
    """Pages that software cleaned."""
    requeued: Count = 0
    """Pages that the unit gave back."""
    declined: Count = 0
    """Calls of the hook that it declined."""
    partial: Count = 0
    """Calls of the hook that stopped early."""
    blocks_split: Count = 0
    """Blocks that gets and clears split."""
    zero_pages: Count = 0
    """Pages sent as zero."""
    skipped_pages: Count = 0
    """Pages not sent because the guest had given them up."""
    requested_pages: Count = 0
    """Pages that faults of the destination's guest fetched, in post-copy."""
    blocked_ns: Count = 0
    """How long those faults kept the guest."""


SUMMED: Final = tuple(each.name for each in fields(Sums))
"""What is added up over passes."""


@dataclass(kw_only=True)
class Iteration(Sums):
    """One pass: a get of each slot, then its pages."""

    written_first: ClassVar[tuple[str, ...]] = (
        "iteration",
        "phase",
        "started_ns",
        "duration_ns",
        "dirty_pages",
        "dirty_pages_per_second",
        "sent_pages",
        "sent_bytes",
        "remaining_pages",
        "throttle_percent",
    )

    iteration: Count = 0
    """Its number, from 0."""
    phase: Literal["active", "device", "postcopy"] = "active"
    """`active` while the guest runs, `device` while it is paused, `postcopy` while it runs at the
    destination."""
    started_ns: Count = 0
    """The clock when it began, before its get."""
    duration_ns: Count = 0
    """Until its last page was sent."""
    dirty_pages_per_second: Count = 0
    """dirty_pages by the time since the get before."""
    remaining_pages: Count = 0
    """Pages that have to be sent when it ends: dirty again, or not reached."""
    throttle_percent: Count = 0
    """How much of their time the vCPUs were kept from running."""


ITERATION_FIELDS: Final = (
    *Iteration.written_first,
    *(name for name in SUMMED if name not in Iteration.written_first),
)
"""The columns of a table of iterations: what a pass is, what it sent, then what that took."""


@dataclass(kw_only=True)
class Totals(Sums):
    """Sums over all passes that have ended, and the times of the whole."""

    iterations: Count
    """How many passes have ended."""
    total_ns: Count
    """Since it began."""
    setup_ns: Count
    """How long the setup took."""
    downtime_ns: Count
    """How long the guest was paused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(Model):
    """What the machine refused."""

    code: str
    """The problem's code."""
    errno: str | None
    """The kernel's errno, where it has one."""
    detail: str
    """One sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledOutcome(Model):
    """What became of an item of the schedule."""

    index: Count
    """Its place in the schedule."""
    at: SchedulePoint
    """When it was to happen."""
    reached: Boolean
    """Whether the migration came there; false: it was not performed."""
    op: str
    """The action, or `set`."""
    iteration: Count | None
    """The pass in which it was performed; null: it was not."""
    now_ns: Count | None
    """The clock before it; null: it was not performed."""
    problem: Refused | None
    """Why it was refused; null: it was not refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedChange(Model):
    """A change of a running migration."""

    now_ns: Count
    """The clock when it took effect."""
    iteration: Count
    """The pass in which it did."""
    by: Literal["call", "schedule"]
    """A call, or the schedule."""
    command: MigrationCommand | None
    """The command; null: none."""
    settings: UpdateMigration
    """What was set; what is null stayed."""


LISTED_RANGES: Final = 10
"""The most ranges of lost pages in a message, which is one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LostPages(Model):
    """What a copy of a slot has: each page is current, pending, unneeded or lost."""

    slot: SlotId
    """The memslot."""
    current_pages: Count
    """Pages that the copy has as they are."""
    pending_pages: Count
    """Stale pages of which it is known that they have to be sent."""
    unneeded_pages: Count
    """Stale pages that the guest gave up, and has not written since."""
    lost_pages: Count
    """Stale pages that nobody knows of."""
    lost_ranges: tuple[tuple[Count, Count], ...]
    """The first of them, as pairs of a page of the slot and a count."""
    ranges_omitted: Count
    """How many ranges more."""

    def listed(self) -> str:
        """Return the first ranges of lost pages as text, and how many more there are: `5, 64..127`."""
        ranges = [
            str(first) if count == 1 else f"{first}..{first + count - 1}"
            for first, count in self.lost_ranges[:LISTED_RANGES]
        ]
        more = len(self.lost_ranges) - len(ranges) + self.ranges_omitted
        return ", ".join(ranges) + (f" and {more} more" if more else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification(Model):
    """What the page versions prove, at the end."""

    enabled: Boolean
    """Whether they were tracked."""
    verified: Boolean
    """Whether every page of every migrated slot was compared."""
    current_pages: Count
    """Pages that the destination has as they are."""
    pending_pages: Count
    """Stale pages of which it is known that they have to be sent."""
    unneeded_pages: Count
    """Stale pages that the guest gave up, and has not written since."""
    lost_pages: Count
    """Stale pages that nobody knows of."""
    slots: tuple[LostPages, ...]
    """The same by slot, with the first ranges; of many slots, only of those that lost some."""
    unproved_slots: tuple[SlotId, ...]
    """Slots that could not be compared: they went, came, or stopped logging."""

    def assert_no_lost_pages(self) -> None:
        """Raise unless all pages were compared, and each is current, pending or unneeded.

        Raises:
            AssertionError: Names the slots, and their lost pages.
        """
        __tracebackhide__ = True
        if not self.enabled:
            raise AssertionError("nothing is proved: the versions of pages were not tracked")
        if problems := self._problems():
            raise AssertionError("; ".join(problems))

    def assert_complete(self) -> None:
        """Raise unless nothing is lost, and nothing has to be sent any more.

        Raises:
            AssertionError: Names the slots, and their pages.
        """
        __tracebackhide__ = True
        self.assert_no_lost_pages()
        if self.pending_pages:
            found = [each for each in self.slots if each.pending_pages]
            listed = ", ".join(f"{each.pending_pages} of slot {each.slot}" for each in found)
            raise AssertionError(
                f"{_pages(self.pending_pages)} still to be sent" + (f": {listed}" if listed else "")
            )

    def _problems(self) -> list[str]:
        found = [
            f"slot {each.slot} lost {_pages(each.lost_pages)}: {each.listed()}"
            for each in self.slots
            if each.lost_pages
        ]
        listed = sum(each.lost_pages for each in self.slots)
        if self.lost_pages > listed:
            found.append(f"slots that are not listed lost {_pages(self.lost_pages - listed)}")
        if not self.verified:
            slots = ", ".join(map(str, self.unproved_slots))
            found.append(f"nothing is proved of slots {slots}" if slots else "not all is proved")
        return found


def _pages(count: int) -> str:
    return "1 page" if count == 1 else f"{count} pages"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedSlot(Model):
    """A migrated memslot that changed on the way."""

    slot: SlotId
    """The memslot."""
    change: Literal["appeared", "went", "replaced", "moved", "logging_ended"]
    """It appeared, went, was made again (`replaced`), moved, or stopped logging."""
    now_ns: Count
    """The clock when the migration noticed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostcopyReport(Model):
    """The post-copy phase."""

    started_ns: Count
    """The clock when the guest was stopped for it."""
    discarded_pages: Count
    """Stale pages that the destination dropped before its guest ran."""
    background_pages: Count
    """Pages that arrived by the background stream."""
    requests: Count
    """Faults of the destination's guest on missing pages."""
    requested_pages: Count
    """Pages that these fetched: a block is fetched whole."""
    blocked_ns: Count
    """How long they kept the guest."""
    pauses: Count
    """How often the link failed."""
    guest_lost: Boolean
    """Whether the destination died: its guest is lost."""


@dataclass(frozen=True, kw_only=True)
class MigrationReport(Model):
    """A migration at one moment."""

    status: MigrationStatus
    """As QMP names it."""
    reason: Reason | None
    """Why it switched over or ended; null before."""
    problem: Refused | None
    """What the machine refused, where it failed."""
    spec: MigrationSpec
    """How it is run: every field, with what was left out filled in, and changes applied."""
    started_ns: Count
    """The clock when it began."""
    now_ns: Count
    """The clock when it was last seen."""
    qmp: QueryMigrate
    """What QMP's query-migrate returns."""
    iterations: tuple[Iteration, ...]
    """The passes that have ended."""
    scheduled: tuple[ScheduledOutcome, ...]
    """What became of the items of the schedule; those not reached once it has ended."""
    changes: tuple[AppliedChange, ...]
    """What was changed while it ran."""
    changed_slots: tuple[ChangedSlot, ...]
    """Migrated memslots that changed on the way."""
    postcopy: PostcopyReport | None
    """The post-copy phase; null: there was none."""
    verification: Verification
    """What the page versions prove; nothing before the end."""
    totals: Totals
    """Sums over all passes that have ended."""

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.status.is_final

    def assert_no_lost_pages(self) -> None:
        """Raise unless it completed, all pages were compared, and none is lost.

        Raises:
            AssertionError: Names how it ended and why, its passes, and the slots with their lost pages.
        """
        __tracebackhide__ = True
        outcome = f"{self.status} after {len(self.iterations)} passes, reason {self.reason or '-'}"
        if self.status is not MigrationStatus.COMPLETED:
            problem = "" if self.problem is None else f": {self.problem.detail}"
            raise AssertionError(f"nothing is proved: the migration is {outcome}{problem}")
        try:
            self.verification.assert_no_lost_pages()
        except AssertionError as error:
            raise AssertionError(f"the migration is {outcome}; {error}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationBrief(Model):
    """A migration in a list."""

    migration_id: str
    """`{session_id}-m{n}`."""
    session_id: str
    """Its session."""
    vm_id: str
    """The source."""
    status: MigrationStatus
    """As QMP names it."""
    reason: Reason | None
    """Why it switched over or ended; null before."""
    iteration_count: Count
    """Passes that have ended."""
    lost_pages: Count
    """Pages that the proof found lost."""


MAX_ORIGIN_PARTS: Final = 256
"""How many memslots, faults and workloads each an origin keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin(Model):
    """What a migration began with: two bodies that repeat it."""

    vm: VmSpec
    """Of POST /v1/vms: the source when the migration began."""
    migration: MigrationSpec
    """Of POST /v1/migrations, beside `vm_id`."""
    was_used: Boolean
    """Whether the source had run, been accessed or lost parts before. If not, and if no part is
    omitted and no call changed the migration, the two calls return the same report."""
    omitted_parts: Count
    """Parts of the source that `vm` lacks: of more than 256 memslots, faults or workloads the rest,
    and traces given in full."""


@dataclass(frozen=True, kw_only=True)
class MigrationInfo(MigrationReport):
    """A migration of a VM, and its report."""

    migration_id: str
    """`{session_id}-m{n}`."""
    session_id: str
    """Its session."""
    vm_id: str
    """The source."""
    destination_vm_id: str | None
    """The VM made of what arrived; null: none."""
    origin: Origin
    """What it began with, to repeat it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IterationTable(Model):
    """The passes of a migration that have ended."""

    migration_id: str
    """Which migration."""
    status: MigrationStatus
    """As QMP names it."""
    iterations: tuple[Iteration, ...]
    """The passes."""
