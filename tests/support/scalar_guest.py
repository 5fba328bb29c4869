"""The guest of one VM, write by write: its workloads, its clock, and the versions of its pages.

Which page a write goes to is reckoned from the formulas of docs/workloads.md, but for Zipf's, whose table
the core is read for: tests/unit/sim/guest/test_patterns.py holds it to the law.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace

import numpy as np

from hacdbs_sim.model import (
    AccessOutcome,
    AddIntervals,
    AddReplay,
    AddWorkload,
    AdvanceClock,
    Clock,
    DeleteWorkload,
    DeleteWorkloads,
    Gfns,
    GuestRun,
    GuestWrite,
    HostWrite,
    HotSet,
    HotSetInfo,
    Intervals,
    IntervalsInfo,
    Moving,
    MovingInfo,
    ReplayInfo,
    RunGuest,
    Sequential,
    SequentialInfo,
    TimedFields,
    TraceFields,
    TraceName,
    Uniform,
    UniformInfo,
    VmConfig,
    WorkloadInfo,
    WorkloadKind,
    Writer,
    Zipf,
    ZipfInfo,
    known,
)
from hacdbs_sim.sim.guest.zipf import zipf_table
from tests.support.scalar_memslots import ScalarMemslots
from tests.support.scalar_refusal import Refused
from tests.support.scalar_workloads import U64, mix, page_of

GAMMA = 0x9E3779B97F4A7C15
MAX_NS = 10**15
LAST_NS = 2**53 - 1
MOST_WRITES = 2**26

GuestAction = AddWorkload | DeleteWorkload | DeleteWorkloads | AdvanceClock | RunGuest
Write = Callable[[GuestWrite | HostWrite], AccessOutcome]
Recordings = Callable[[TraceName], Intervals]

INFOS: dict[WorkloadKind, Callable[..., WorkloadInfo]] = {
    WorkloadKind.SEQUENTIAL: SequentialInfo,
    WorkloadKind.UNIFORM: UniformInfo,
    WorkloadKind.HOT_SET: HotSetInfo,
    WorkloadKind.ZIPF: ZipfInfo,
    WorkloadKind.MOVING: MovingInfo,
    WorkloadKind.REPLAY: ReplayInfo,
    WorkloadKind.INTERVALS: IntervalsInfo,
}


def no_recordings(_name: TraceName) -> Intervals:
    raise Refused("invalid_workload")


@dataclass
class ScalarWorkload:
    """A workload; `spec` has its window and its seed, `began_ns` is its writer's time when it was added."""

    workload_id: str
    spec: AddWorkload
    recording: Intervals | None
    began_ns: int
    writes: int = 0
    skipped: int = 0
    played: list[list[int]] = field(default_factory=list)
    """Of a trace, what each interval writes, all copies together."""

    def view(self) -> WorkloadInfo:
        names = [each.name for each in fields(self.spec) if each.name != "pages"]
        figures = {name: getattr(self.spec, name) for name in names}
        if self.recording is not None:
            figures["interval_count"] = len(self.recording.starts) - 1
            figures["record_count"] = len(self.recording.pages)
        return INFOS[self.spec.kind](
            workload_id=self.workload_id,
            writes=self.writes,
            skipped=self.skipped,
            **figures,
        )

    def writes_by(self, writer_ns: int) -> int:
        time_ns = writer_ns - self.began_ns
        if self.spec.burst is not None:
            on, off = self.spec.burst.on_ns, self.spec.burst.off_ns
            time_ns = time_ns // (on + off) * on + min(time_ns % (on + off), on)
        trace = self.spec
        if isinstance(trace, TimedFields):
            return time_ns * trace.writes_per_second // 10**9
        assert isinstance(trace, TraceFields)
        at, into_ns = divmod(time_ns, trace.interval_ns)
        whole = sum(map(len, self.played))
        if not trace.loop and at >= len(self.played):
            return whole
        loops, at = divmod(at, len(self.played))
        now = len(self.played[at]) * into_ns // trace.interval_ns
        return loops * whole + sum(map(len, self.played[:at])) + now

    def pages(self, first: int, count: int) -> list[int]:
        """Return the pages of some writes, from the slot's start on."""
        spec = self.spec
        assert spec.num_pages is not None
        assert spec.seed is not None
        numbers = range(first, first + count)
        if isinstance(spec, TraceFields):
            flat = [page for interval in self.played for page in interval]
            pages = [flat[number % len(flat)] for number in numbers]
        elif isinstance(spec, Zipf):
            table = zipf_table(spec.seed, spec.num_pages, spec.exponent)
            pages = table.pages(first, count).tolist()
        else:
            assert isinstance(spec, Sequential | Uniform | HotSet | Moving)
            pages = [page_of(spec, spec.seed, spec.num_pages, each) for each in numbers]
        return [spec.first_page + page for page in pages]


class ScalarGuest:
    """The workloads and the clock of one VM; `write` performs a batch on it."""

    def __init__(
        self,
        config: VmConfig,
        memslots: ScalarMemslots,
        write: Write,
        recordings: Recordings,
    ) -> None:
        self.config = config
        self.recordings = recordings
        self.memslots = memslots
        self.write = write
        self.workloads: dict[str, ScalarWorkload] = {}
        self.added = 0
        self.advanced_ns = self.run_ns = self.stalled_ns = 0
        self.awake_percent = 0  # of the time it was let run, in hundredths of nanoseconds
        self.debt_ps = 0

    def perform(self, action: GuestAction) -> object:
        match action:
            case AddWorkload():
                return self._add(action)
            case DeleteWorkload():
                if action.workload_id not in self.workloads:
                    raise Refused("no_such_workload")
                return self.workloads.pop(action.workload_id).view()
            case DeleteWorkloads():
                self.workloads.clear()
                return None
            case AdvanceClock():
                self._check_duration(action.duration_ns)
                self.advanced_ns += action.duration_ns
                return self.clock()
            case RunGuest():
                return self._run(action)

    @property
    def guest_ns(self) -> int:
        return self.awake_percent // 100 - self.stalled_ns

    def clock(self) -> Clock:
        return Clock(
            now_ns=self.advanced_ns + self.run_ns,
            guest_ns=self.guest_ns,
            stalled_ns=self.stalled_ns,
            throttled_ns=self.run_ns - self.awake_percent // 100,
            debt_ns=self._debt_ns(),
        )

    def views(self) -> tuple[WorkloadInfo, ...]:
        return tuple(workload.view() for workload in self.workloads.values())

    def state_bytes(self) -> int:
        """Return what traces take: 4 bytes a record as given, and 4 for each copy of it."""
        return sum(
            4 * len(each.recording.pages) * (1 + each.spec.copies)
            for each in self.workloads.values()
            if each.recording is not None and isinstance(each.spec, TraceFields)
        )

    def writes_ahead(self, duration_ns: int, throttle_percent: int) -> int:
        """Count what a run writes if nothing stalls it."""
        awake = self.awake_percent + duration_ns * (100 - throttle_percent)
        ends = {
            Writer.GUEST: awake // 100 - self.stalled_ns,
            Writer.HOST: self.run_ns + duration_ns,
        }
        return sum(
            each.writes_by(ends[each.spec.writer]) - each.writes for each in self.workloads.values()
        )

    def _add(self, spec: AddWorkload) -> WorkloadInfo:
        if not 0 <= spec.vcpu < self.config.vcpus:
            raise Refused("no_such_vcpu")
        if spec.slot not in self.memslots.by_id:
            raise Refused("no_such_memslot")
        ordinal = self.added + 1
        seed = mix((mix(self.config.seed) + GAMMA * ordinal) & U64) >> 11
        npages = self.memslots.by_id[spec.slot].npages
        full = replace(
            spec,
            num_pages=npages - spec.first_page if spec.num_pages is None else spec.num_pages,
            seed=seed if spec.seed is None else spec.seed,
        )
        if not _has_window(full, npages):
            raise Refused("invalid_workload")
        recording = self._recording_of(full)
        if not _has_pattern(full, recording, full.num_pages or 0):
            raise Refused("invalid_workload")
        began_ns = self.guest_ns if spec.writer is Writer.GUEST else self.run_ns
        workload = ScalarWorkload(f"w{ordinal}", full, recording, began_ns)
        if isinstance(full, TraceFields) and recording is not None:
            workload.played = _laid_out(full, recording, full.num_pages or 0)
        self.workloads[workload.workload_id] = workload
        self.added = ordinal
        return workload.view()

    def _recording_of(self, spec: AddWorkload) -> Intervals | None:
        if isinstance(spec, AddReplay):
            return self.recordings(spec.trace)
        return spec.pages if isinstance(spec, AddIntervals) else None

    def _check_duration(self, duration_ns: int) -> None:
        if not 1 <= duration_ns <= min(MAX_NS, LAST_NS - self.clock().now_ns):
            raise Refused("invalid_argument")

    def _debt_ns(self) -> int:
        return self.debt_ps // (1000 * self.config.vcpus)

    def _run(self, action: RunGuest) -> GuestRun:
        self._check_duration(action.duration_ns)
        if not 0 <= action.throttle_percent <= 99:
            raise Refused("invalid_argument")
        ahead = self.writes_ahead(action.duration_ns, action.throttle_percent)
        if ahead > MOST_WRITES:
            raise Refused("too_many_writes")
        slices = min(16, 1 + ahead // 4096, action.duration_ns)
        before, made = self.clock(), self.views()
        done: Counter[str] = Counter(asdict(AccessOutcome()))
        for at in range(slices):
            end = action.duration_ns * (at + 1) // slices
            self._pass(end - action.duration_ns * at // slices, action.throttle_percent)
            for workload in self.workloads.values():
                done.update(self._catch_up(workload))
        after = self.clock()
        return GuestRun(
            clock=after,
            guest_ns=after.guest_ns - before.guest_ns,
            stalled_ns=after.stalled_ns - before.stalled_ns,
            throttled_ns=after.throttled_ns - before.throttled_ns,
            slices=slices,
            writes=sum(v.writes for v in self.views()) - sum(v.writes for v in made),
            skipped=sum(v.skipped for v in self.views()) - sum(v.skipped for v in made),
            **done,
        )

    def _pass(self, duration_ns: int, throttle_percent: int) -> None:
        """Let a slice's time pass, its debt paid first."""
        awake_ns = self.awake_percent // 100
        self.run_ns += duration_ns
        self.awake_percent += duration_ns * (100 - throttle_percent)
        paid_ns = min(self.awake_percent // 100 - awake_ns, self._debt_ns())
        self.stalled_ns += paid_ns
        self.debt_ps -= paid_ns * 1000 * self.config.vcpus

    def _catch_up(self, workload: ScalarWorkload) -> dict[str, int]:
        spec = workload.spec
        is_guest = spec.writer is Writer.GUEST
        end = workload.writes_by(self.guest_ns if is_guest else self.run_ns)
        pages = workload.pages(workload.writes, end - workload.writes)
        slot = self.memslots.by_id.get(spec.slot)
        gfns = [slot.base_gfn + page for page in pages if page < slot.npages] if slot else []
        workload.writes = end
        workload.skipped += len(pages) - len(gfns)
        if not gfns:
            return {}
        batch = Gfns(np.array(gfns, np.uint64))
        outcome = self.write(GuestWrite(pages=batch) if is_guest else HostWrite(pages=batch))
        if is_guest:
            costs = self.config.costs
            self.debt_ps += known(outcome.translation_faults) * costs.translation_fault_ps
            self.debt_ps += known(outcome.permission_faults) * costs.permission_fault_ps
            self.debt_ps += known(outcome.block_splits) * costs.lazy_split_ps
            self.debt_ps += outcome.mmio_exits * costs.mmio_exit_ps
        return asdict(outcome)


def _has_window(spec: AddWorkload, npages: int) -> bool:
    assert spec.num_pages is not None
    return 0 <= spec.first_page < npages and 1 <= spec.num_pages <= npages - spec.first_page


def _has_pattern(spec: AddWorkload, recording: Intervals | None, num_pages: int) -> bool:
    if isinstance(spec, Moving):
        return 1 <= spec.set_pages <= num_pages and 1 <= spec.step_pages <= num_pages
    if not isinstance(spec, TraceFields):
        return True
    assert recording is not None
    if not 1 <= spec.copies <= min(4096, num_pages):
        return False
    if not len(recording.starts) > 1 or len(recording.pages) * spec.copies > 1 << 24:
        return False
    return spec.scale or max(recording.pages.tolist(), default=0) < num_pages // spec.copies


def _laid_out(trace: TraceFields, recording: Intervals, num_pages: int) -> list[list[int]]:
    starts, pages = recording.starts.tolist(), recording.pages.tolist()
    recorded = [pages[starts[at] : starts[at + 1]] for at in range(len(starts) - 1)]
    part, span = num_pages // trace.copies, max(pages, default=0) + 1
    played: list[list[int]] = [[] for _ in recorded]
    for copy in range(trace.copies):
        begin = copy * len(recorded) // trace.copies if trace.loop else 0
        for at, now in enumerate(played):
            for page in recorded[(at + begin) % len(recorded)]:
                now.append(copy * part + (page * part // span if trace.scale else page))
    return played


class ScalarVersions:
    """The number of the batch of writes that last touched each page; none for a page not written."""

    def __init__(self, memslots: ScalarMemslots, *, is_complete: bool, since: int) -> None:
        self.memslots = memslots
        self.since = self.last = since
        self.by_page: dict[tuple[int, int], int] = {}
        if since and not is_complete:
            for slot in memslots.by_id.values():
                self.by_page |= {(slot.slot, page): since for page in range(slot.npages)}
        self.is_complete = is_complete
        self.known = set(memslots.by_id)
        self.incomplete = set() if is_complete else set(memslots.by_id)

    def stamp(self, gfns: list[int]) -> None:
        self.last += 1
        for gfn in gfns:
            slot = self.memslots.at(gfn)
            if slot is not None and not slot.is_readonly:
                self.by_page[slot.slot, gfn - slot.base_gfn] = self.last

    def follow(self) -> None:
        """Forget the slots that have gone; a new one may have the memory of one that went."""
        now = set(self.memslots.by_id)
        self.by_page = {page: at for page, at in self.by_page.items() if page[0] in now}
        if self.last != self.since and self.known - now:
            self.is_complete = False
        self.incomplete &= now
        if not self.is_complete:
            self.incomplete |= now - self.known
        self.known = now


class ScalarFreePages:
    """The pages that the guest gave up, and has not written since."""

    def __init__(self, memslots: ScalarMemslots) -> None:
        self.memslots = memslots
        self.by_slot: dict[int, set[int]] = {}

    def add(self, gfns: list[int]) -> None:
        if gfns:
            first, end = min(gfns), max(gfns) + 1
            for slot in self.memslots.by_id.values():
                if slot.base_gfn < end and first < slot.end_gfn:
                    self.by_slot.setdefault(slot.slot, set())
        for gfn in gfns:
            slot_at = self.memslots.at(gfn)
            if slot_at is not None:
                self.by_slot[slot_at.slot].add(gfn - slot_at.base_gfn)

    def drop(self, gfns: list[int]) -> None:
        for gfn in gfns:
            slot = self.memslots.at(gfn)
            if slot is not None and not slot.is_readonly:
                self.by_slot.get(slot.slot, set()).discard(gfn - slot.base_gfn)

    def follow(self) -> None:
        """Forget the slots that have gone."""
        kept = {slot: free for slot, free in self.by_slot.items() if slot in self.memslots.by_id}
        self.by_slot = kept

    def state_bytes(self) -> int:
        """Return a bit for each page of the slots that have, or had, any."""
        return sum(8 * -(-self.memslots.by_id[slot].npages // 64) for slot in self.by_slot)
