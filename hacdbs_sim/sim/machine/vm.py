"""One VM: its actions and its queries. A `Backend` of the model.

Theory of operation. A machine is a pure function of the actions performed on it: it has no clock, no
randomness and no lock of its own, and the same actions in the same order always end in the same
machine. Queries never change it. Two actions and most queries may come while another action runs:
arming and disarming a fault, for a call reads the board of faults once, when it begins; and queries,
for memslots are replaced, never half changed.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, TypeVar, cast

from hacdbs_sim import model
from hacdbs_sim.model import errors
from hacdbs_sim.model.base import WORK_PER_ACTION
from hacdbs_sim.model.pages import PageRanges
from hacdbs_sim.model.units import PAGES_PER_WORD, entries_per_array
from hacdbs_sim.model.words import words_for
from hacdbs_sim.sim.arm64.dirty_bit import ClearConfig
from hacdbs_sim.sim.arm64.faults import FaultBoard, FaultBounds
from hacdbs_sim.sim.arm64.regions import Stage2Regions
from hacdbs_sim.sim.arm64.stage2 import Stage2
from hacdbs_sim.sim.guest.workload import Recordings, no_recordings, recording_of
from hacdbs_sim.sim.kvm.memslots import Memslots, RegionPlan
from hacdbs_sim.sim.kvm.region import Region, checked_region, view_of
from hacdbs_sim.sim.machine.checks import check_chunk_size, check_config, check_manual_protect
from hacdbs_sim.sim.machine.counters import Counters
from hacdbs_sim.sim.machine.dirty_log_calls import DirtyLogCalls, copied
from hacdbs_sim.sim.machine.estimates import (
    WORDS_COPIED,
    WORK_PER_GFN,
    work_of_accesses,
    work_of_adding,
    work_of_run,
)
from hacdbs_sim.sim.machine.guest_side import GuestSide
from hacdbs_sim.sim.machine.heat import read_heat
from hacdbs_sim.sim.machine.host_cpus import HostCpus
from hacdbs_sim.sim.machine.stage2_runs import read_stage2

T = TypeVar("T")


def _nobody_waits() -> None:
    """Do nothing: a named function, so that a machine can be pickled."""


class Machine:
    """One simulated KVM/arm64 virtual machine.

    Args:
        config: What it is made of.
        recordings: The traces that it may replay, by name.
        entered: Called once a get or clear has read the board of faults.

    Raises:
        InvalidArgumentError: A figure of the configuration that no VM can have (EINVAL).
    """

    def __init__(
        self,
        config: model.VmConfig,
        recordings: Recordings = no_recordings,
        entered: Callable[[], None] = _nobody_waits,
    ) -> None:
        check_config(config)
        self._config = config
        self._recordings = recordings
        self._slots = Memslots()
        self._cpus = HostCpus(config.cpus, built=config.features.hacdbs)
        self._faults = FaultBoard(
            config.seed,
            FaultBounds(config.cpus, self._end_gfn, entries_per_array(config.page_size)),
        )
        self._counters = Counters()
        self._footprint = model.Footprint(pages=0, state_bytes=0)
        self._capabilities_set = 0
        self._dirty_log = DirtyLogCalls(
            ClearConfig(
                config.page_size, config.features.dbm, config.features.hacdbs, config.kernel
            ),
            self._slots,
            self._cpus,
            self._faults,
            self._counters,
            entered,
        )
        self._guest_side = GuestSide(config, self._slots, self._counters, recordings)

    @property
    def capabilities(self) -> model.BackendInfo:
        """All of the model."""
        return _CAPABILITIES

    def perform(self, action: model.Action[T]) -> T:
        """Perform an action, whole or not at all.

        Raises:
            KvmError: What userspace sees; nothing changed but for the two cases that the kernel has
                (docs/kernel.md S.2): a MOVE refused by the architecture, and a failed copy to the
                user.
        """
        return cast("T", _PERFORM[type(action)](self, action))

    def query(self, query: model.Query[T]) -> T:
        """Answer a query.

        Raises:
            KvmError: What it names does not exist.
        """
        return cast("T", _QUERY[type(query)](self, query))

    def estimate(self, action: model.Action[Any]) -> model.Estimate:
        """Estimate an action on the machine as it is now; may raise as `perform` would."""
        after = self._footprint_with(action)
        return model.Estimate(
            work=self._work(action), pages=after.pages, state_bytes=after.state_bytes
        )

    def pieces(self) -> list[object]:
        """Return the memslots, so that the caller can free them one by one."""
        return list(self._slots.by_id())

    # Queries

    @property
    def config(self) -> model.VmConfig:
        """The configuration, with the two capabilities as they are now."""
        return self._config

    @property
    def footprint(self) -> model.Footprint:
        """What the machine's slots, workloads and page versions hold."""
        slots = self._footprint
        held = self._guest_side.state_bytes(slots.pages)
        if not held:
            return slots
        return model.Footprint(pages=slots.pages, state_bytes=slots.state_bytes + held)

    def generations(self, slot: int | None = None) -> model.Generations:
        """Return how often capabilities were set and memslots changed."""
        return model.Generations(
            capabilities=self._capabilities_set,
            memslots=self._slots.generation,
            slot=None
            if slot is None or slot not in self._slots
            else self._slots.get(slot).generation,
        )

    def stage2(self, gfn: int, count: int | None, limit: int) -> model.Stage2Page:
        """Return runs of equal leaves; to the end of the IPA space if `count` is None."""
        if not 0 <= gfn < self._end_gfn:
            raise errors.GfnBeyondIpaSpaceError.must(
                "gfn",
                f"be 0..{self._end_gfn - 1}, inside the IPA space",
                gfn,
                bound=self._end_gfn - 1,
            )
        end_gfn = self._end_gfn if count is None else min(gfn + count, self._end_gfn)
        return read_stage2(self._slots, gfn, end_gfn, limit)

    # Actions

    def _set_memslot(self, action: model.SetMemslot) -> model.ChangedMemslot:
        plan = self._plan(action)
        after = self._footprint_after(plan)
        hooks = self._region_hooks()
        slot = self._slots.set_region(plan, hooks)
        self._footprint = after
        if plan.change in {model.MemslotChange.CREATE, model.MemslotChange.DELETE}:
            self._guest_side.follow_memslots()
        self._counters.add_region(hooks)
        info = view_of(plan.new, None) if slot is None else slot.view()
        return model.ChangedMemslot(change=plan.change, **vars(info))

    def _region_hooks(self) -> Stage2Regions:
        return Stage2Regions(
            end_gfn=self._end_gfn,
            dbm=self._config.features.dbm,
            initially_set=self._config.initially_set,
            chunk_size_bytes=self._config.eager_split_chunk_size,
        )

    def _plan(self, action: model.SetMemslot) -> RegionPlan:
        return self._slots.plan(checked_region(action, self._config.page_size))

    def _update(self, action: model.UpdateVm) -> None:
        given = {name for name in action.one_of if getattr(action, name) is not None}
        if len(given) != 1:
            raise errors.InvalidArgumentError(
                f"exactly one of {', '.join(action.one_of)} must be given, not {len(given)}"
            )
        if (flags := action.manual_dirty_log_protect2) is not None:
            check_manual_protect(flags)
            self._enable(manual_dirty_log_protect2=flags)
        if (chunk_size_bytes := action.eager_split_chunk_size) is not None:
            self._set_chunk_size(chunk_size_bytes)

    def _set_chunk_size(self, chunk_size_bytes: int) -> None:
        if len(self._slots):
            raise errors.MemslotsPresentError(
                "eager_split_chunk_size must be set before the first memslot is made: "
                f"there are {len(self._slots)}",
                field="eager_split_chunk_size",
                bound=0,
                value=len(self._slots),
            )
        check_chunk_size(chunk_size_bytes, self._config.page_size)
        self._enable(eager_split_chunk_size=chunk_size_bytes)

    def _enable(self, **capability: Any) -> None:  # noqa: ANN401 - as the field's
        self._config = replace(self._config, **capability)
        self._capabilities_set += 1

    # Pieces of the above

    def _work(self, action: model.Action[Any]) -> int:  # noqa: PLR0911 - one case an action
        present = self._footprint.pages
        sweep = WORK_PER_ACTION + present // PAGES_PER_WORD
        match action:
            case (
                model.GuestWrite()
                | model.GuestRead()
                | model.HostWrite()
                | model.HostUnmap()
                | model.HostDiscard()
                | model.HintFree()
            ):
                return work_of_accesses(action.pages, present)
            case model.GuestWriteMemory():
                return work_of_accesses(action.pages(self._config.page_size), present)
            case model.GetDirtyLog() if self._config.protects_manually:
                slot = self._slots.get(action.slot) if action.slot in self._slots else None
                npages = 0 if slot is None else slot.region.npages
                return WORK_PER_ACTION + npages // PAGES_PER_WORD // WORDS_COPIED
            case model.ClearDirtyLog():
                ranges = action.pages.first.size if isinstance(action.pages, PageRanges) else 0
                return sweep + WORK_PER_GFN * ranges
            case model.SetMemslot():
                new_pages = action.memory_size // self._config.page_size
                return WORK_PER_ACTION + max(present, new_pages) // PAGES_PER_WORD
            case model.GetDirtyLog() | model.DeleteMemslot():
                return sweep
            case model.RunGuest():
                guest = self._guest_side.guest
                writes = guest.writes_of_run(action.duration_ns, action.throttle_percent)
                return work_of_run(writes, guest.workload_count)
            case model.AddWorkload():
                return work_of_adding(action)
            case _:
                return WORK_PER_ACTION

    @property
    def _end_gfn(self) -> int:
        return (1 << self._config.ipa_bits) // self._config.page_size

    def _footprint_with(self, action: model.Action[Any]) -> model.Footprint:
        """Return what the machine would hold after an action."""
        match action:
            case model.DeleteMemslot():
                return self._footprint_with(action.as_ioctl())
            case model.SetMemslot():
                plan = self._plan(action)
                if plan.change not in (model.MemslotChange.NONE, model.MemslotChange.DELETE):
                    self._region_hooks().prepare(plan.new)
                after = self._footprint_after(plan)
                held = self._guest_side.state_bytes(after.pages)
                return model.Footprint(pages=after.pages, state_bytes=after.state_bytes + held)
            case model.AddWorkload():
                now, recording = self.footprint, recording_of(action, self._recordings)
                added = 0 if recording is None else self._guest_side.trace_bytes(action, recording)
                return model.Footprint(pages=now.pages, state_bytes=now.state_bytes + added)
            case model.HostDiscard() | model.HintFree():
                now, added = self.footprint, self._guest_side.free_bytes(action.pages)
                return model.Footprint(pages=now.pages, state_bytes=now.state_bytes + added)
            case model.TrackVersions() | model.NeedVersions():
                slots = self._footprint
                held = self._guest_side.state_bytes(slots.pages, action)
                return model.Footprint(pages=slots.pages, state_bytes=slots.state_bytes + held)
            case _:
                return self.footprint

    def _footprint_after(self, plan: RegionPlan) -> model.Footprint:
        pages, state_bytes = self._footprint.pages, self._footprint.state_bytes
        if plan.old is not None:
            pages -= plan.old.region.npages
            state_bytes -= _state_bytes(plan.old.region, logs=plan.old.log is not None)
        if plan.change is not model.MemslotChange.DELETE:
            pages += plan.new.npages
            logs = plan.new.has(model.MemslotFlags.LOG_DIRTY_PAGES)
            state_bytes += _state_bytes(plan.new, logs=logs)
        return model.Footprint(pages=pages, state_bytes=state_bytes)


def _state_bytes(region: Region, *, logs: bool) -> int:
    planes = Stage2.state_bytes(region.npages, region.page_size)
    return planes + logs * 8 * words_for(region.npages)


Handler = Callable[[Machine, Any], object]

_PERFORM: Final[dict[type[model.Action[Any]], Handler]] = {
    model.GuestWrite: lambda m, a: m._guest_side.guest_write(a),
    model.GuestWriteMemory: lambda m, a: m._guest_side.guest_write_memory(a),
    model.GuestRead: lambda m, a: m._guest_side.guest_read(a),
    model.HostWrite: lambda m, a: m._guest_side.host_write(a),
    model.HostUnmap: lambda m, a: m._guest_side.host_unmap(a),
    model.HostDiscard: lambda m, a: m._guest_side.host_discard(a),
    model.HintFree: lambda m, a: m._guest_side.hint_free(a),
    model.GetDirtyLog: lambda m, a: m._dirty_log.get(a, m._config),
    model.ClearDirtyLog: lambda m, a: m._dirty_log.clear(a, m._config),
    model.SetMemslot: lambda m, a: m._set_memslot(a),
    model.DeleteMemslot: lambda m, a: m._set_memslot(a.as_ioctl()),
    model.SetCpu: lambda m, a: m._cpus.set_online(a.cpu, online=a.online),
    **{kind: lambda m, a: m._faults.arm(a) for kind in model.FAULTS.values()},
    model.DeleteFault: lambda m, a: m._faults.disarm(a.fault_id),
    model.DeleteFaults: lambda m, _: m._faults.disarm_all(),
    **{kind: lambda m, a: m._guest_side.add_workload(a) for kind in model.WORKLOADS},
    model.DeleteWorkload: lambda m, a: m._guest_side.guest.remove(a.workload_id),
    model.DeleteWorkloads: lambda m, _: m._guest_side.guest.remove_all(),
    model.AdvanceClock: lambda m, a: m._guest_side.guest.advance(a.duration_ns),
    model.RunGuest: lambda m, a: m._guest_side.run(a),
    model.TrackVersions: lambda m, a: m._guest_side.track_versions(enabled=a.enabled),
    model.NeedVersions: lambda m, a: m._guest_side.need_versions(needed=a.needed),
    model.UpdateVm: lambda m, a: m._update(a),
}

_QUERY: Final[dict[type[model.Query[Any]], Handler]] = {
    model.GetMemslot: lambda m, q: m._slots.get(q.slot).view(),
    model.ListMemslots: lambda m, _: tuple(slot.view() for slot in m._slots.by_id()),
    model.GetMemslotLife: lambda m, q: m._slots.life(q.slot),
    model.ListMemslotLives: lambda m, _: tuple(slot.life() for slot in m._slots.by_id()),
    model.PeekDirtyLog: lambda m, q: copied(q.slot, m._slots.logging(q.slot)[1]),
    model.GetCpu: lambda m, q: m._cpus.unit(q.cpu).view(),
    model.ListCpus: lambda m, _: m._cpus.views(),
    model.GetFault: lambda m, q: m._faults.view(q.fault_id),
    model.ListFaults: lambda m, _: m._faults.views(),
    model.CountFaultHits: lambda m, _: m._faults.hits(),
    model.GetWorkload: lambda m, q: m._guest_side.guest.view(q.workload_id),
    model.ListWorkloads: lambda m, _: m._guest_side.guest.views(),
    model.ListWorkloadSpecs: lambda m, _: m._guest_side.guest.specs(),
    model.GetClock: lambda m, _: m._guest_side.guest.clock.view(),
    model.CopyVersions: lambda m, q: m._guest_side.versions(q.slot, q.first_page, q.num_pages),
    model.GetPageVersions: lambda m, q: m._guest_side.slot_versions(q),
    model.GetLastVersion: lambda m, _: m._guest_side.last_version,
    model.HasFreePages: lambda m, _: m._guest_side.has_free_pages,
    model.GetFreePages: lambda m, q: m._guest_side.free_pages(q),
    model.GetWrittenPages: lambda m, q: m._guest_side.written_pages(q),
    model.GetStage2: lambda m, q: m.stage2(q.gfn, q.count, q.limit),
    model.GetHeat: lambda m, q: read_heat(m._slots.get(q.slot), q),
    model.GetConfig: lambda m, _: m.config,
    model.GetCounters: lambda m, _: m._counters.read(),
    model.GetFootprint: lambda m, _: m.footprint,
    model.GetGenerations: lambda m, q: m.generations(q.slot),
}

_CAPABILITIES: Final = model.BackendInfo(
    backend=model.BackendName.SIMULATED,
    ops=tuple(dict.fromkeys(kind.op for kind in (*_PERFORM, *_QUERY))),
)
