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
    """Something that happens to the link.

    Attributes:
        type: `down`: carries nothing for a while. `rate`: has another speed. `failure`: the
            connection breaks. `destination_dies`: the destination's process ends.
        at_ns: When, in nanoseconds since the migration began.
        iteration: When, as the beginning of a pass.
        bytes_per_second: The new speed, of `rate`.
        duration_ns: How long: required of `down`; of `rate` null is to the end; of `failure` the
            time until post-copy recovers by itself, null never.
    """

    one_of: ClassVar[tuple[str, ...]] = ("at_ns", "iteration")

    type: LinkEventType
    at_ns: Duration | None = None
    iteration: AnIteration | None = None
    bytes_per_second: Bandwidth | None = None
    duration_ns: Nanoseconds | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSpec(Request):
    """The network between source and destination.

    Attributes:
        bytes_per_second: Its speed: all that limits the switch-over; null is 10 Gbit/s, or the
            migration's bandwidth where that is more.
        latency_ns: One way.
        events: What happens to it.
    """

    bytes_per_second: Bandwidth | None = None
    latency_ns: Duration = 0
    events: Annotated[tuple[LinkEvent, ...], Len(0, MAX_LINK_EVENTS)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoConverge(Request):
    """Throttling of the vCPUs, in percent of their time, as QEMU's auto-converge.

    Attributes:
        initial: The first throttling.
        increment: The increase of each further one.
        max: The maximum.
        trigger_threshold: A look counts as too dirty where more bytes were dirtied than this
            percentage of the bytes sent since the look before; every second such look throttles.
        tailslow: Increase by no more than what brings the dirty rate down to the threshold
            (cpu-throttle-tailslow).
        periodic_sync: Take the log every 5 seconds of a pass longer than that, so that throttling
            can start in it.
        after_iterations: Throttle at the start of every pass after this many, whatever was dirtied
            (Cloud Hypervisor's rule); null: QEMU's rule.
    """

    initial: Percent = 20
    increment: Percent = 10
    max: Percent = 99
    trigger_threshold: Threshold = 50
    tailslow: Boolean = False
    periodic_sync: Boolean = True
    after_iterations: Iterations | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PostcopySpec(Request):
    """Post-copy: the guest runs at the destination before all pages have arrived.

    Attributes:
        after_iterations: Start it after this many passes; null: only when requested, or by the
            timeout strategy `postcopy`.
        bandwidth_bytes_per_second: The limit of the background stream
            (max-postcopy-bandwidth); null: the link's speed.
    """

    after_iterations: Iterations | None = None
    bandwidth_bytes_per_second: Bandwidth | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateMigration(Request):
    """Settings of a running migration to change; what is null stays.

    Attributes:
        bandwidth_bytes_per_second: max-bandwidth.
        downtime_limit_ns: downtime-limit.
        switchover_bandwidth_bytes_per_second: avail-switchover-bandwidth.
        auto_converge: Starts throttling by these settings, or changes them.
        throttle_percent: Sets the present throttling; auto_converge may change it later.
        max_iterations: The maximum number of passes while the guest runs.
        timeout_ns: The maximum virtual time before the switch-over, since the start.
    """

    bandwidth_bytes_per_second: Bandwidth | None = None
    downtime_limit_ns: Duration | None = None
    switchover_bandwidth_bytes_per_second: Bandwidth | None = None
    auto_converge: AutoConverge | None = None
    throttle_percent: ThrottlePercent | None = None
    max_iterations: Iterations | None = None
    timeout_ns: Nanoseconds | None = None

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
    """What a schedule changes: settings, and a command.

    Attributes:
        command: As the call of the same name.
    """

    command: MigrationCommand | None = None


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
    """When something of a schedule happens: exactly one of a pass, a phase, and a time.

    Attributes:
        iteration: Before the get of a pass, from 0.
        phase: In a phase.
        point: Of the phase: its begin, its end, or (of `device`) after the last get. At the begin
            of `device` QEMU saves the tables of the vGIC; after the last get nothing is sent that
            is written.
        ns: Nanoseconds since the migration began.
    """

    one_of: ClassVar[tuple[str, ...]] = ("iteration", "phase", "ns")

    iteration: AnIteration | None = None
    phase: Phase | None = None
    point: Point = Point.BEGIN
    ns: Duration | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled(Request):
    """An action, as a batch takes it, or a change of the migration, at a point of it.

    Attributes:
        at: When; a point that is never reached is reported so.
        iteration: Short for `at` with that iteration.
        action: What is performed on the VM.
        set: What is changed of the migration.
    """

    one_of: ClassVar[tuple[str, ...]] = ("at", "iteration")
    not_with: ClassVar[tuple[tuple[str, str], ...]] = (("action", "set"),)

    at: SchedulePoint | None = None
    iteration: AnIteration | None = None
    action: Action[Any] | None = None
    set: ScheduledChange | None = None

    @property
    def point(self) -> SchedulePoint:
        """When it happens."""
        return self.at or SchedulePoint(iteration=self.iteration)


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination(Request):
    """The VM to make at the switch-over, which has what the migration delivered.

    Attributes:
        session_id: Its session; the source's if null.
        name: Its name; the source's if null.
    """

    session_id: str | None = None
    name: Label | None = None


@dataclass(frozen=True, kw_only=True)
class MigrationSpec(Request):
    """How a migration is run.

    Attributes:
        bandwidth_bytes_per_second: max-bandwidth: the limit of what is sent while the guest runs.
        downtime_limit_ns: Switch over once the rest can be sent in this time.
        switchover_bandwidth_bytes_per_second: Replaces the measured bandwidth in that decision
            (avail-switchover-bandwidth); null: measure.
        max_iterations: The maximum number of passes while the guest runs.
        timeout_ns: The maximum virtual time before the switch-over; null: unlimited.
        stall_ns: How long the least number of remaining pages may not fall below what it was;
            null: unlimited.
        timeout_strategy: What happens once the time or the iterations are used up, or it stalls.
        auto_converge: Throttling; null: none.
        pause_before_switchover: Wait for `continue` with the guest paused, before the last get.
        postcopy: Allows post-copy; null: refused.
        slots: Which to migrate; null: all, or all that log where logging is not enabled.
        enable_logging: Slots that do not log begin to at setup, and end afterwards.
        clear_chunk_pages: Pages of one KVM_CLEAR_DIRTY_LOG.
        clear_order: after_copy loses what the guest writes between the copy and the clear.
        verify: Track page versions, and list the pages that the destination lacks.
        full_first_pass: The first pass sends all pages, not only the dirty ones.
        zero_pages: Send a page that is known never to have been written as 9 bytes.
        on_layout_change: What a change of the migrated memslots does: `fail`, `follow` it, or
            `ignore` it, which proves nothing.
        link: The network; null: 10 Gbit/s without latency.
        device_state_bytes: Sent while the guest is paused.
        device_state_ns: Time to save and load it.
        stop_latency_ns: Time to stop the vCPUs, part of the downtime.
        timing: `windows` simulates whole windows of the rate limit, `exact` every flush.
        schedule: What else happens, and when.
    """

    bandwidth_bytes_per_second: Bandwidth = DEFAULT_BANDWIDTH
    downtime_limit_ns: Duration = 300_000_000
    switchover_bandwidth_bytes_per_second: Bandwidth | None = None
    max_iterations: Iterations = 30
    timeout_ns: Nanoseconds | None = None
    stall_ns: Nanoseconds | None = None
    timeout_strategy: TimeoutStrategy = TimeoutStrategy.CANCEL
    auto_converge: AutoConverge | None = None
    pause_before_switchover: Boolean = False
    postcopy: PostcopySpec | None = None
    slots: Annotated[tuple[SlotId, ...], Len(1, MAX_SLOT + 1)] | None = None
    enable_logging: Boolean = True
    clear_chunk_pages: ClearChunk = 262_144
    clear_order: ClearOrder = ClearOrder.BEFORE_COPY
    verify: Boolean = True
    full_first_pass: Boolean = True
    zero_pages: Boolean = False
    on_layout_change: LayoutChange = LayoutChange.FAIL
    link: LinkSpec | None = None
    device_state_bytes: DeviceState = 0
    device_state_ns: Duration = 0
    stop_latency_ns: Duration = 0
    timing: Timing = Timing.WINDOWS
    schedule: Annotated[tuple[Scheduled, ...], Len(0, MAX_SCHEDULED)] = ()


@dataclass(frozen=True, kw_only=True)
class PresetMigration(MigrationSpec):
    """How a migration is run; what a preset sets too is what is given here.

    Attributes:
        preset: A migration that ends in a known way (`GET /v1/migration-presets`).
    """

    preset: PresetName | None = None


@dataclass(frozen=True, kw_only=True)
class StartMigration(PresetMigration):
    """A migration to begin.

    Attributes:
        vm_id: The source.
        destination: Makes a VM of what arrives; null: none.
        pace_ms: Real milliseconds to wait after each iteration and phase, to watch it.
        pace: Real seconds that a virtual second takes; 0: as fast as possible.
    """

    vm_id: VmId
    destination: Destination | None = None
    pace_ms: PaceMs = 0
    pace: Pace = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset(Model):
    """A migration that ends in a known way on the VM that goes with it.

    Attributes:
        preset: Its name.
        description: What happens, with figures.
        migration: Fields of a migration that differ from the defaults.
        vm: A VM to make, with its workload.
    """

    preset: PresetName
    description: str
    migration: Mapping[str, Any]
    vm: Mapping[str, Any]
