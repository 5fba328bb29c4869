"""How a migration is to be run.

Defaults are QEMU's where QEMU has the knob: max-bandwidth (here the link's own 10 Gbit/s),
downtime-limit 300 ms, cpu-throttle-initial 20, cpu-throttle-increment 10, max-cpu-throttle 99,
throttle-trigger-threshold 50, and a clear chunk of 1 GiB (x-clear-bitmap-shift 18).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from hacdbs_sim.model.errors import check_within
from hacdbs_sim.model.words import WORD_BITS
from hacdbs_sim.sim.machine import Machine
from hacdbs_sim.vmm.errors import InvalidMigrationError
from hacdbs_sim.model import Action, MemslotFlags, MemslotInfo

NS_PER_SECOND: Final = 10**9

MIN_BANDWIDTH: Final = 1_000_000
MAX_BANDWIDTH: Final = 10**13
MAX_DURATION_NS: Final = 10**15
MAX_ITERATIONS: Final = 1_000
MAX_SCHEDULED: Final = 1_000
MAX_CLEAR_CHUNK_PAGES: Final = 1 << 31


class TimeoutStrategy(StrEnum):
    """What happens when the time or the iterations are used up."""

    CANCEL = "cancel"
    SWITCH_OVER = "switch_over"


class ClearOrder(StrEnum):
    """When a chunk's bits are cleared: before its pages are read, or (a defect) after."""

    BEFORE_COPY = "before_copy"
    AFTER_COPY = "after_copy"


@dataclass(frozen=True, slots=True)
class AutoConverge:
    """Throttling of the vCPUs, in percent of their time.

    Attributes:
        initial: The first throttling.
        increment: What each further one adds.
        max: The most there is.
        trigger_threshold: An iteration counts as too dirty where more bytes were dirtied than this
            percentage of the bytes that were sent meanwhile; every second such throttles.
    """

    initial: int = 20
    increment: int = 10
    max: int = 99
    trigger_threshold: int = 50


@dataclass(frozen=True, slots=True)
class Scheduled:
    """An action to be performed when an iteration begins, before its get.

    Attributes:
        iteration: Which, from 0; one that is never reached performs nothing.
        op: What it is called in a report.
        told: How it was asked for, in words of who asked; a report tells it.
    """

    iteration: int
    op: str
    action: Action
    told: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MigrationSpec:
    """How a migration is to be run.

    Attributes:
        bandwidth_bytes_per_second: Of the link, all of it used.
        downtime_limit_ns: Switch over once the rest can be sent in this time.
        max_iterations: The most passes with the guest running.
        timeout_ns: The most virtual time before the switch-over; None: any.
        timeout_strategy: What happens when one of the two is used up.
        auto_converge: Throttling; None: none.
        slots: Which to migrate; None: all, or all that log where logging is not enabled.
        enable_logging: Let slots that do not log begin to log at setup, and end it afterwards.
        clear_chunk_pages: Pages of one clear and of what is copied with it; a multiple of 64.
        clear_order: `after_copy` loses what the guest writes between the copy and the clear.
        verify: Follow page versions, and tell which pages the destination has not as they are.
        full_first_pass: The first pass sends all pages, not only the dirty ones.
        schedule: What else happens, and when.
    """

    bandwidth_bytes_per_second: int = 1_250_000_000
    downtime_limit_ns: int = 300_000_000
    max_iterations: int = 30
    timeout_ns: int | None = None
    timeout_strategy: TimeoutStrategy = TimeoutStrategy.CANCEL
    auto_converge: AutoConverge | None = None
    slots: tuple[int, ...] | None = None
    enable_logging: bool = True
    clear_chunk_pages: int = 262_144
    clear_order: ClearOrder = ClearOrder.BEFORE_COPY
    verify: bool = True
    full_first_pass: bool = True
    schedule: tuple[Scheduled, ...] = ()


def check_spec(spec: MigrationSpec, machine: Machine) -> tuple[MemslotInfo, ...]:
    """Refuse what this machine could not do; give the slots to migrate, by number.

    Raises:
        InvalidMigrationError: names the field, its bound and its value.
    """
    _check_figures(spec)
    if spec.clear_order is ClearOrder.AFTER_COPY and not machine.config.protects_manually:
        raise InvalidMigrationError(
            "clear_order can be after_copy only where manual_dirty_log_protect2 is 1 or 3:"
            " else the get itself clears",
            field="clear_order",
            bound=ClearOrder.BEFORE_COPY.value,
            value=spec.clear_order.value,
        )
    views = {view.slot: view for view in machine.memslots()}
    if spec.slots is None:
        chosen = [view for view in views.values() if spec.enable_logging or logs(view)]
    else:
        chosen = [_slot(views, slot, spec) for slot in sorted(set(spec.slots))]
    if not chosen:
        what = "memslot" if spec.enable_logging else "memslot that logs"
        raise InvalidMigrationError(
            f"slots must name what is to be migrated: the VM has no {what}",
            field="slots",
            bound=1,
            value=0,
        )
    return tuple(chosen)


def logs(view: MemslotInfo) -> bool:
    """Tell whether a slot keeps a dirty log."""
    return MemslotFlags.LOG_DIRTY_PAGES in view.flags


def _slot(views: dict[int, MemslotInfo], slot: int, spec: MigrationSpec) -> MemslotInfo:
    view = views.get(slot)
    if view is None:
        raise InvalidMigrationError(
            f"slots must be memslots of the VM, {slot} is none",
            field="slots",
            bound=", ".join(map(str, views)) or "none",
            value=slot,
        )
    if not (spec.enable_logging or logs(view)):
        raise InvalidMigrationError(
            f"slots must log where enable_logging is false, {slot} does not",
            field="slots",
            bound=", ".join(str(each.slot) for each in views.values() if logs(each)) or "none",
            value=slot,
        )
    return view


def _check_figures(spec: MigrationSpec) -> None:
    check_within(
        InvalidMigrationError,
        "bandwidth_bytes_per_second",
        spec.bandwidth_bytes_per_second,
        MIN_BANDWIDTH,
        MAX_BANDWIDTH,
    )
    check_within(
        InvalidMigrationError, "downtime_limit_ns", spec.downtime_limit_ns, 0, MAX_DURATION_NS
    )
    check_within(InvalidMigrationError, "max_iterations", spec.max_iterations, 1, MAX_ITERATIONS)
    if spec.timeout_ns is not None:
        check_within(InvalidMigrationError, "timeout_ns", spec.timeout_ns, 1, MAX_DURATION_NS)
    check_within(
        InvalidMigrationError,
        "clear_chunk_pages",
        spec.clear_chunk_pages,
        WORD_BITS,
        MAX_CLEAR_CHUNK_PAGES,
    )
    if spec.clear_chunk_pages % WORD_BITS:
        raise InvalidMigrationError(
            f"clear_chunk_pages must be a multiple of {WORD_BITS}, not {spec.clear_chunk_pages}",
            field="clear_chunk_pages",
            bound=WORD_BITS,
            value=spec.clear_chunk_pages,
        )
    check_within(InvalidMigrationError, "schedule", len(spec.schedule), 0, MAX_SCHEDULED)
    if (converge := spec.auto_converge) is not None:
        check_within(InvalidMigrationError, "auto_converge.max", converge.max, 1, 99)
        check_within(
            InvalidMigrationError, "auto_converge.initial", converge.initial, 1, converge.max
        )
        check_within(InvalidMigrationError, "auto_converge.increment", converge.increment, 1, 99)
        check_within(
            InvalidMigrationError,
            "auto_converge.trigger_threshold",
            converge.trigger_threshold,
            1,
            100,
        )
