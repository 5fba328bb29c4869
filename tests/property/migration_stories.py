"""Migrations that somebody tries to fool: random machines, and hands that reach in at every moment."""

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hacdbs_sim import model as a
from hacdbs_sim.model.errors import KvmError
from hacdbs_sim.vmm import Report, TransferHistory
from tests.property.dice import Dice
from tests.property.migration_oracle import Judged, Truth, Watched
from tests.support.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Callable

LOGS: Final = int(a.MemslotFlags.LOG_DIRTY_PAGES)
_SIZES: Final = (200, 64, 100, 1)
_GFN_OF_SLOT: Final = 1 << 18
_MAX_STEPS: Final = 3_000
_MS: Final = 10**6


class Mood(Enum):
    """What those who reach in are after."""

    ANYTHING = "anything"
    BALLOON = "balloon"
    TAKERS = "takers"
    LAYOUT = "layout"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of a story.

    Attributes:
        report: Its report.
        judged: What is true of it.
        is_first: Whether no attempt came before it.
        spec: How it was run.
        ends_versions: Whether versions may have ended and begun again on the way.
    """

    report: Report
    judged: Judged
    is_first: bool
    spec: a.MigrationSpec
    ends_versions: bool


class Author:
    """Draws a story: a machine, attempts to migrate it, and what happens meanwhile."""

    def __init__(self, dice: Dice) -> None:
        self._dice = dice
        self.page_size = dice.pick([4_096, 65_536])
        self.manual = dice.pick([0, 1, 3])
        self._slots = list(range(dice.between(1, 3)))
        self._mood = dice.pick(list(Mood))

    def _often(self, of_ten: int) -> bool:
        return self._dice.between(0, 9) >= 10 - of_ten

    def config(self) -> a.VmConfig:
        dice = self._dice
        return a.VmConfig(
            page_size=self.page_size,
            manual_dirty_log_protect2=self.manual,
            features=a.Features(dbm=dice.pick([True, False]), hacdbs=dice.pick([True, False])),
            vcpus=dice.between(1, 2),
            seed=dice.between(0, 9),
        )

    def region(self, slot: int, flags: int | None = None, *, moves: bool = False) -> a.SetMemslot:
        address = slot * _GFN_OF_SLOT * self.page_size
        return a.SetMemslot(
            slot=slot,
            guest_phys_addr=address + moves * 512 * self.page_size,
            userspace_addr=address,
            memory_size=_SIZES[slot] * self.page_size,
            flags=self._dice.pick([0, LOGS]) if flags is None else flags,
        )

    def setup(self) -> list[a.Action[Any]]:
        logs = self._often(6)
        actions: list[a.Action[Any]] = [
            self.region(slot, LOGS if logs else None) for slot in self._slots
        ]
        actions += [self._workload() for _ in range(self._dice.between(0, 2))]
        actions += [self._meddling() for _ in range(self._dice.between(0, 3))]
        return actions

    def _workload(self) -> a.Action[Any]:
        kind: Callable[..., a.Action[Any]] = self._dice.pick([a.AddSequential, a.AddUniform])
        return kind(
            slot=self._dice.pick(self._slots),
            writes_per_second=self._dice.pick([100, 1_000, 20_000]),
            writer=self._dice.pick(list(a.Writer)),
        )

    def _pages(self) -> a.PageRanges:
        first = self._dice.pick(self._slots) * _GFN_OF_SLOT + self._dice.between(0, 250)
        first += self._dice.pick([0, 0, 0, 512])
        count = self._dice.pick([1, 3, 64, 200])
        return a.PageRanges(np.array([first], np.uint64), np.array([count], np.uint64))

    def _meddling(self) -> a.Action[Any]:
        """Draw something that another thread of the VMM, or the guest, may do."""
        dice = self._dice
        slot = dice.pick([*self._slots, 3])
        choices: list[Callable[[], a.Action[Any]]] = [
            lambda: a.GuestWrite(pages=self._pages()),
            lambda: a.HostWrite(pages=self._pages()),
            lambda: a.HintFree(pages=self._pages()),
            lambda: a.HostDiscard(pages=self._pages()),
            lambda: a.GetDirtyLog(slot=slot),
            lambda: a.ClearDirtyLog(
                slot=slot,
                pages=a.Bitmap(np.full(1, 0xFFFF_FFFF_FFFF_FFFF, np.uint64)),
                first_page=0,
                num_pages=64,
            ),
            lambda: a.AddCopyToUser(after=dice.between(0, 3), every=dice.between(1, 3)),
            a.DeleteFaults,
            lambda: a.SetCpu(cpu=dice.between(0, 1), online=dice.pick([True, False])),
            lambda: a.TrackVersions(enabled=dice.pick([True, False])),
            lambda: a.NeedVersions(needed=dice.pick([True, False])),
            a.DeleteWorkloads,
            self._workload,
        ]
        return dice.pick(choices)()

    def _layout(self) -> a.Action[Any]:
        """Draw a change of the memslots."""
        slot = self._dice.pick([*self._slots, 3])
        choices: list[Callable[[], a.Action[Any]]] = [
            lambda: self.region(slot),
            lambda: self.region(slot, LOGS),
            lambda: self.region(slot, LOGS, moves=True),
            lambda: a.DeleteMemslot(slot=slot),
            lambda: a.SetMemslot(
                slot=slot,
                guest_phys_addr=slot * _GFN_OF_SLOT * self.page_size,
                memory_size=self._dice.pick(_SIZES) * self.page_size,
                flags=self._dice.pick([0, LOGS]),
            ),
        ]
        return self._dice.pick(choices)()

    def _give_up(self) -> a.Action[Any]:
        """Draw the give and take of a balloon."""
        kind = self._dice.pick([a.HintFree, a.HostDiscard, a.GuestWrite, a.HostWrite])
        return kind(pages=self._pages())

    def _take(self) -> a.Action[Any]:
        """Draw what takes something from a log, and what fills it again."""
        slot = self._dice.pick(self._slots)
        choices: list[Callable[[], a.Action[Any]]] = [
            lambda: a.GetDirtyLog(slot=slot),
            lambda: a.GuestWrite(pages=self._pages()),
            lambda: a.AddCopyToUser(after=self._dice.between(0, 2), every=2),
            a.DeleteFaults,
            lambda: self.region(slot),
            lambda: a.TrackVersions(enabled=self._often(5)),
            lambda: a.NeedVersions(needed=self._often(5)),
        ]
        return self._dice.pick(choices)()

    def action(self) -> a.Action[Any]:
        match self._mood:
            case Mood.BALLOON:
                return self._give_up()
            case Mood.TAKERS:
                return self._take()
            case Mood.LAYOUT:
                return self._layout() if self._often(5) else self._take()
            case Mood.ANYTHING:
                return self._layout() if self._often(2) else self._meddling()

    def change(self) -> a.ScheduledChange:
        dice = self._dice
        command = dice.pick([None, *a.MigrationCommand])
        return a.ScheduledChange(
            command=command,
            bandwidth_bytes_per_second=dice.pick([None, 10**6, 10**7, 10**9]),
            downtime_limit_ns=dice.pick([None, 0, 10 * _MS, 10**10]),
            throttle_percent=dice.pick([None, 0, 50]),
        )

    def _point(self) -> a.SchedulePoint:
        dice = self._dice
        phase = dice.pick(list(a.Phase))
        points = [a.Point.BEGIN, a.Point.END]
        if phase is a.Phase.DEVICE:
            points.append(a.Point.AFTER_LAST_GET)
        choices: list[Callable[[], a.SchedulePoint]] = [
            lambda: a.SchedulePoint(iteration=dice.between(0, 4)),
            lambda: a.SchedulePoint(phase=phase, point=dice.pick(points)),
            lambda: a.SchedulePoint(ns=dice.between(0, 3_000) * _MS),
        ]
        return dice.pick(choices)()

    def _scheduled(self) -> a.Scheduled:
        if self._often(3):
            return a.Scheduled(at=self._point(), set=self.change())
        return a.Scheduled(at=self._point(), action=self.action())

    def _link(self) -> a.LinkSpec | None:
        dice = self._dice
        if not self._often(5):
            return None
        types = [a.LinkEventType.DOWN, a.LinkEventType.RATE, a.LinkEventType.FAILURE]
        if self._often(1):
            types.append(a.LinkEventType.DESTINATION_DIES)

        def event() -> a.LinkEvent:
            at: dict[str, Any] = dice.pick(
                [{"at_ns": dice.between(0, 2_000) * _MS}, {"iteration": dice.between(0, 4)}]
            )
            return a.LinkEvent(
                type=dice.pick(types),
                duration_ns=dice.between(1, 500) * _MS,
                bytes_per_second=dice.pick([10**6, 10**7, 10**9]),
                **at,
            )

        return a.LinkSpec(
            bytes_per_second=dice.pick([10**6, 10**7, 10**9]),
            latency_ns=dice.pick([0, _MS]),
            events=tuple(event() for _ in range(dice.between(0, 3))),
        )

    def spec(self) -> a.MigrationSpec:
        dice = self._dice
        postcopy = None
        if self._often(4):
            postcopy = a.PostcopySpec(
                after_iterations=dice.pick([None, 1, 3]),
                bandwidth_bytes_per_second=dice.pick([None, 10**6, 10**8]),
            )
        orders = list(a.ClearOrder) if self.manual else [a.ClearOrder.BEFORE_COPY]
        strategies = [a.TimeoutStrategy.CANCEL, a.TimeoutStrategy.SWITCH_OVER]
        if postcopy is not None:
            strategies.append(a.TimeoutStrategy.POSTCOPY)
        return a.MigrationSpec(
            bandwidth_bytes_per_second=dice.pick([10**6, 10**7, 10**9]),
            downtime_limit_ns=dice.pick([0, 10 * _MS, 300 * _MS]),
            max_iterations=dice.between(1, 8),
            timeout_ns=dice.pick([None, 100 * _MS, 1_000 * _MS]),
            stall_ns=dice.pick([None, 200 * _MS]),
            timeout_strategy=dice.pick(strategies),
            auto_converge=dice.pick([None, a.AutoConverge()]),
            pause_before_switchover=self._often(2),
            postcopy=postcopy,
            slots=dice.pick([None, None, (0,), tuple(self._slots)]),
            clear_chunk_pages=dice.pick([64, 128, 1 << 18]),
            clear_order=dice.pick(orders),
            full_first_pass=self._often(6),
            zero_pages=self._often(3),
            on_layout_change=dice.pick(list(a.LayoutChange)),
            link=self._link(),
            device_state_bytes=dice.pick([0, 10**5]),
            timing=dice.pick(list(a.Timing)),
            schedule=tuple(self._scheduled() for _ in range(dice.between(0, 5))),
        )

    def reaches_in(self) -> bool:
        return self._often(2 if self._mood is Mood.ANYTHING else 5)

    def gives_up(self) -> bool:
        return self._dice.between(0, 99) == 99

    def attempts(self) -> int:
        return self._dice.between(1, 3)


def tell(dice: Dice) -> list[Attempt]:
    """Tell a story: migrate a machine up to three times, whatever comes between."""
    author = Author(dice)
    machine = Machine(author.config())
    truth, history = Truth(machine), TransferHistory()
    for action in author.setup():
        _try(machine, action)
    attempts: list[Attempt] = []
    for _ in range(author.attempts()):
        spec = author.spec()
        try:
            migration = Watched(truth, spec, history)
        except KvmError:
            continue
        _run(author, machine, migration)
        report = migration.report()
        judged = migration.judge(report)
        attempts.append(Attempt(report, judged, not attempts, spec, migration.ends_versions))
        if report.status is a.MigrationStatus.COMPLETED or report.postcopy is not None:
            break  # the guest is elsewhere
        for _ in range(2):
            _try(machine, author.action())
    return attempts


def _run(author: Author, machine: Machine, migration: Watched) -> None:
    for step in range(_MAX_STEPS):
        if not migration.step():
            return
        if step < 40 and author.reaches_in():
            _try(machine, author.action())
        if step < 40 and author.reaches_in():
            _try_request(migration, author.change())
        if step < 40 and author.gives_up():
            _share(machine, migration)
        if step < 200 and author.gives_up():
            migration.cancel()
        if migration.is_waiting:
            for command in (a.MigrationCommand.CONTINUE, a.MigrationCommand.RESUME):
                _try_request(migration, a.ScheduledChange(command=command))
    migration.cancel()
    migration.step()


def _share(machine: Machine, migration: Watched) -> None:
    """Take the log as a reader that hands on what it takes, like a measurement of the dirty rate."""
    try:
        taken = machine.perform(a.GetDirtyLog(slot=0)).bitmap
    except KvmError:
        return
    if taken is not None:
        migration.add_pending(0, taken.words)


def _try(machine: Machine, action: a.Action[Any]) -> None:
    try:
        machine.perform(action)
    except KvmError:
        return


def _try_request(migration: Watched, change: a.ScheduledChange) -> None:
    try:
        migration.request(change)
    except KvmError:
        return
