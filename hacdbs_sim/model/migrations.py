"""Migrations: how one is run, and how it is controlled while it runs.

Times are nanoseconds of the machine's virtual clock. Names and defaults are QEMU's where QEMU has the
parameter: downtime-limit 300 ms, cpu-throttle-initial 20, cpu-throttle-increment 10,
max-cpu-throttle 99, throttle-trigger-threshold 50, and a clear chunk of 1 GiB
(x-clear-bitmap-shift 18). max-bandwidth is 10 Gbit/s here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias

from annotated_types import Ge, Le, Len

from hacdbs_sim.model.base import Action, Model, Request
from hacdbs_sim.model.kinds import MAX_NS, MAX_SLOT, Boolean, Label, Nanoseconds, SlotId, whole

NS_PER_SECOND: Final = 10**9

MIN_BANDWIDTH: Final = 1_000_000
MAX_BANDWIDTH: Final = 10**13
DEFAULT_BANDWIDTH: Final = 1_250_000_000
"""10 Gbit/s."""

MAX_ITERATIONS: Final = 1_000
MAX_SCHEDULED: Final = 1_000
MAX_LINK_EVENTS: Final = 1_000
MAX_CLEAR_CHUNK_PAGES: Final = 1 << 31
MAX_PACE_MS: Final = 10_000
MAX_PACE: Final = 100
MAX_DEVICE_STATE: Final = 1 << 36

Bandwidth = Annotated[int, whole(MIN_BANDWIDTH, MAX_BANDWIDTH)]
Percent = Annotated[int, whole(1, 99)]
ThrottlePercent = Annotated[int, whole(0, 99)]
Threshold = Annotated[int, whole(1, 100)]
Iterations = Annotated[int, whole(1, MAX_ITERATIONS)]
AnIteration = Annotated[int, whole(0, MAX_ITERATIONS)]
Duration = Annotated[int, whole(0, MAX_NS)]
ClearChunk = Annotated[int, whole(64, MAX_CLEAR_CHUNK_PAGES, multiple_of=64)]
DeviceState = Annotated[int, whole(0, MAX_DEVICE_STATE)]
PaceMs = Annotated[int, whole(0, MAX_PACE_MS)]
Pace = Annotated[float, Ge(0), Le(MAX_PACE)]
VmId = Annotated[str, Len(0, 96)]
PresetName: TypeAlias = Literal["converges", "never_converges"]


class TimeoutStrategy(StrEnum):
    """What a migration does when its time or iterations are used up, or when it stalls."""

    CANCEL = "cancel"
    SWITCH_OVER = "switch_over"
    POSTCOPY = "postcopy"


class ClearOrder(StrEnum):
    """When a chunk's bits are cleared: before its pages are read, or (a defect) after."""

    BEFORE_COPY = "before_copy"
    AFTER_COPY = "after_copy"


class Timing(StrEnum):
    """How the stream is simulated: by whole windows of the rate limit, or by every flush."""

    WINDOWS = "windows"
    EXACT = "exact"


class LayoutChange(StrEnum):
    """What a change of the migrated memslots does to a migration."""

    FAIL = "fail"
    FOLLOW = "follow"
    IGNORE = "ignore"


class LinkEventType(StrEnum):
    """What happens to the link, or to the destination behind it."""

    DOWN = "down"
    RATE = "rate"
    FAILURE = "failure"
    DESTINATION_DIES = "destination_dies"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkEvent(Request):
    """Something that happens to the link."""

    one_of: ClassVar[tuple[str, ...]] = ("at_ns", "iteration")

    type: LinkEventType
    """`down`: carries nothing for a while. `rate`: has another speed. `failure`: the connection
    breaks. `destination_dies`: the destination's process ends."""
    at_ns: Duration | None = None
    """When, in nanoseconds since the migration began."""
    iteration: AnIteration | None = None
    """When, as the beginning of a pass."""
    bytes_per_second: Bandwidth | None = None
    """The new speed, of `rate`."""
    duration_ns: Nanoseconds | None = None
    """How long: required of `down`; of `rate` null is to the end; of `failure` the time until
    post-copy recovers by itself, null never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSpec(Request):
    """The network between source and destination."""

    bytes_per_second: Bandwidth | None = None
    """Its speed: all that limits the switch-over; null is 10 Gbit/s, or the migration's bandwidth
    where that is more."""
    latency_ns: Duration = 0
    """One way."""
    events: Annotated[tuple[LinkEvent, ...], Len(0, MAX_LINK_EVENTS)] = ()
    """What happens to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoConverge(Request):
    """Throttling of the vCPUs, in percent of their time, as QEMU's auto-converge."""

    initial: Percent = 20
    """The first throttling."""
    increment: Percent = 10
    """The increase of each further one."""
    max: Percent = 99
    """The maximum."""
    trigger_threshold: Threshold = 50
    """A look counts as too dirty where more bytes were dirtied than this percentage of the bytes
    sent since the look before; every second such look throttles."""
    tailslow: Boolean = False
    """Increase by no more than what brings the dirty rate down to the threshold
    (cpu-throttle-tailslow)."""
    periodic_sync: Boolean = True
    """Take the log every 5 seconds of a pass longer than that, so that throttling can start in it.
    """
    after_iterations: Iterations | None = None
    """Throttle at the start of every pass after this many, whatever was dirtied (Cloud Hypervisor's
    rule); null: QEMU's rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostcopySpec(Request):
    """Post-copy: the guest runs at the destination before all pages have arrived."""

    after_iterations: Iterations | None = None
    """Start it after this many passes; null: only when requested, or by the timeout strategy
    `postcopy`."""
    bandwidth_bytes_per_second: Bandwidth | None = None
    """The limit of the background stream (max-postcopy-bandwidth); null: the link's speed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateMigration(Request):
    """Settings of a running migration to change; what is null stays."""

    bandwidth_bytes_per_second: Bandwidth | None = None
    """max-bandwidth."""
    downtime_limit_ns: Duration | None = None
    """downtime-limit."""
    switchover_bandwidth_bytes_per_second: Bandwidth | None = None
    """avail-switchover-bandwidth."""
    postcopy_bandwidth_bytes_per_second: Bandwidth | None = None
    """max-postcopy-bandwidth, of a migration that was started with post-copy."""
    auto_converge: AutoConverge | None = None
    """Starts throttling by these settings, or changes them."""
    throttle_percent: ThrottlePercent | None = None
    """Sets the present throttling; auto_converge may change it later."""
    max_iterations: Iterations | None = None
    """The maximum number of passes while the guest runs."""
    timeout_ns: Nanoseconds | None = None
    """The maximum virtual time before the switch-over, since the start."""

    @property
    def given(self) -> dict[str, Any]:
        """The settings that change, by field."""
        values = {each.name: getattr(self, each.name) for each in fields(UpdateMigration)}
        return {name: value for name, value in values.items() if value is not None}


class MigrationCommand(StrEnum):
    """A command to a running migration."""

    SWITCH_OVER = "switch_over"
    START_POSTCOPY = "start_postcopy"
    CONTINUE = "continue"
    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledChange(UpdateMigration):
    """What a schedule changes: settings, and a command."""

    command: MigrationCommand | None = None
    """As the call of the same name."""


class Phase(StrEnum):
    """A phase of a migration that a schedule can name."""

    SETUP = "setup"
    ACTIVE = "active"
    PRE_SWITCHOVER = "pre-switchover"
    DEVICE = "device"
    POSTCOPY_ACTIVE = "postcopy-active"
    POSTCOPY_PAUSED = "postcopy-paused"


class Point(StrEnum):
    """A point of a phase."""

    BEGIN = "begin"
    AFTER_LAST_GET = "after_last_get"
    END = "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulePoint(Request):
    """When something of a schedule happens: exactly one of a pass, a phase, and a time."""

    one_of: ClassVar[tuple[str, ...]] = ("iteration", "phase", "ns")

    iteration: AnIteration | None = None
    """Before the get of a pass, from 0."""
    phase: Phase | None = None
    """In a phase."""
    point: Point = Point.BEGIN
    """Of the phase: its begin, its end, or (of `device`) after the last get. At the begin of
    `device` QEMU saves the tables of the vGIC; after the last get nothing is sent that is
    written."""
    ns: Duration | None = None
    """Nanoseconds since the migration began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled(Request):
    """An action, as a batch takes it, or a change of the migration, at a point of it."""

    one_of: ClassVar[tuple[str, ...]] = ("at", "iteration")
    not_with: ClassVar[tuple[tuple[str, str], ...]] = (("action", "set"),)

    at: SchedulePoint | None = None
    """When; a point that is never reached is reported so."""
    iteration: AnIteration | None = None
    """Short for `at` with that iteration."""
    action: Action[Any] | None = None
    """What is performed on the VM."""
    set: ScheduledChange | None = None
    """What is changed of the migration."""

    @property
    def point(self) -> SchedulePoint:
        """When it happens."""
        return self.at or SchedulePoint(iteration=self.iteration)


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination(Request):
    """The VM to make at the switch-over, which has what the migration delivered."""

    session_id: str | None = None
    """Its session; the source's if null."""
    name: Label | None = None
    """Its name; the source's if null."""


@dataclass(frozen=True, kw_only=True)
class MigrationSpec(Request):
    """How a migration is run."""

    bandwidth_bytes_per_second: Bandwidth = DEFAULT_BANDWIDTH
    """max-bandwidth: the limit of what is sent while the guest runs."""
    downtime_limit_ns: Duration = 300_000_000
    """Switch over once the rest can be sent in this time."""
    switchover_bandwidth_bytes_per_second: Bandwidth | None = None
    """Replaces the measured bandwidth in that decision (avail-switchover-bandwidth); null: measure.
    """
    max_iterations: Iterations = 30
    """The maximum number of passes while the guest runs."""
    timeout_ns: Nanoseconds | None = None
    """The maximum virtual time before the switch-over; null: unlimited."""
    stall_ns: Nanoseconds | None = None
    """How long the least number of remaining pages may not fall below what it was; null: unlimited.
    """
    timeout_strategy: TimeoutStrategy = TimeoutStrategy.CANCEL
    """What happens once the time or the iterations are used up, or it stalls."""
    auto_converge: AutoConverge | None = None
    """Throttling; null: none."""
    pause_before_switchover: Boolean = False
    """Wait for `continue` with the guest paused, before the last get."""
    postcopy: PostcopySpec | None = None
    """Allows post-copy; null: refused."""
    slots: Annotated[tuple[SlotId, ...], Len(1, MAX_SLOT + 1)] | None = None
    """Which to migrate; null: all, or all that log where logging is not enabled."""
    enable_logging: Boolean = True
    """Slots that do not log begin to at setup, and end afterwards."""
    clear_chunk_pages: ClearChunk = 262_144
    """Pages of one KVM_CLEAR_DIRTY_LOG."""
    clear_order: ClearOrder = ClearOrder.BEFORE_COPY
    """after_copy loses what the guest writes between the copy and the clear."""
    verify: Boolean = True
    """Track page versions, and list the pages that the destination lacks."""
    full_first_pass: Boolean = True
    """The first pass sends all pages, not only the dirty ones."""
    zero_pages: Boolean = False
    """Send a page that is known never to have been written as 9 bytes."""
    on_layout_change: LayoutChange = LayoutChange.FAIL
    """What a change of the migrated memslots does: `fail`, `follow` it, or `ignore` it, which
    proves nothing."""
    link: LinkSpec | None = None
    """The network; null: 10 Gbit/s without latency."""
    device_state_bytes: DeviceState = 0
    """Sent while the guest is paused."""
    device_state_ns: Duration = 0
    """Time to save and load it."""
    stop_latency_ns: Duration = 0
    """Time to stop the vCPUs, part of the downtime."""
    timing: Timing = Timing.WINDOWS
    """`windows` simulates whole windows of the rate limit, `exact` every flush."""
    schedule: Annotated[tuple[Scheduled, ...], Len(0, MAX_SCHEDULED)] = ()
    """What else happens, and when."""


@dataclass(frozen=True, kw_only=True)
class PresetMigration(MigrationSpec):
    """How a migration is run; what a preset sets too is what is given here."""

    preset: PresetName | None = None
    """A migration that ends in a known way (`GET /v1/migration-presets`)."""


@dataclass(frozen=True, kw_only=True)
class StartMigration(PresetMigration):
    """A migration to begin."""

    vm_id: VmId
    """The source."""
    destination: Destination | None = None
    """Makes a VM of what arrives; null: none."""
    pace_ms: PaceMs = 0
    """Real milliseconds to wait after each iteration and phase, to watch it."""
    pace: Pace = 0.0
    """Real seconds that a virtual second takes; 0: as fast as possible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset(Model):
    """A migration that ends in a known way on the VM that goes with it."""

    preset: PresetName
    """Its name."""
    description: str
    """What happens, with figures."""
    migration: Mapping[str, Any]
    """Fields of a migration that differ from the defaults."""
    vm: Mapping[str, Any]
    """A VM to make, with its workload."""
