"""One simulated VM: joins generic KVM to the arm64 hook and performs actions.

`Machine.perform` is the only way to change a machine; everything else here is a look, without side
effect. A machine has no thread, clock or lock: one caller at a time performs actions, but arming
and disarming faults, and every look but `peek_dirty_log`, `stage2` and `heat`, may come in
between, because a call in flight read the fault board when it began and slots are replaced, never
half changed.
"""

from dataclasses import replace
from typing import assert_never, overload

from hacdbs_sim.sim import actions as a
from hacdbs_sim.sim.arm64.dirty_bit import ClearConfig
from hacdbs_sim.sim.arm64.faults import FaultBoard, FaultBounds
from hacdbs_sim.sim.arm64.regions import Stage2Regions
from hacdbs_sim.sim.arm64.stage2 import Stage2
from hacdbs_sim.sim.base.errors import (
    GfnBeyondIpaSpaceError,
    MemslotsPresentError,
)
from hacdbs_sim.sim.base.units import (
    entries_per_array,
)
from hacdbs_sim.sim.base.words import words_for
from hacdbs_sim.sim.guest.versions import Versions
from hacdbs_sim.sim.kvm.memslots import MemslotChange, Memslots, RegionPlan
from hacdbs_sim.sim.kvm.region import (
    MemslotFlags,
    Region,
    checked_region,
    view_of,
)
from hacdbs_sim.sim.machine.checks import (
    check_chunk_size,
    check_config,
    check_manual_protect,
)
from hacdbs_sim.sim.machine.counters import Counters
from hacdbs_sim.sim.machine.dirty_log_calls import DirtyLogCalls, copied
from hacdbs_sim.sim.machine.guest_side import GuestSide
from hacdbs_sim.sim.machine.heat import Heat, look_at_heat
from hacdbs_sim.sim.machine.host_cpus import HostCpus
from hacdbs_sim.sim.machine.stage2_look import look_at_stage2


class Machine:
    """One simulated KVM/arm64 virtual machine.

    Raises:
        InvalidArgumentError: a figure of the configuration that no VM can have (EINVAL).
    """

    def __init__(self, config: a.MachineConfig) -> None:
        check_config(config)
        self._config = config
        self._slots = Memslots()
        self._cpus = HostCpus(config.cpus, built=config.hacdbs)
        self._faults = FaultBoard(
            config.seed,
            FaultBounds(config.cpus, self._end_gfn, entries_per_array(config.page_size)),
        )
        self._counters = Counters()
        self._footprint = a.Footprint(pages=0, state_bytes=0)
        self._capabilities_set = 0
        self._dirty_log = DirtyLogCalls(
            ClearConfig(config.page_size, config.dbm, config.hacdbs, config.kernel),
            self._slots,
            self._cpus,
            self._faults,
            self._counters,
        )
        self._guest_side = GuestSide(config, self._slots, self._counters)

    @overload
    def perform(self, action: a.SetMemoryRegion) -> a.MemslotOutcome: ...
    @overload
    def perform(
        self, action: a.GuestWrite | a.GuestRead | a.HostWrite | a.HostUnmap
    ) -> a.AccessOutcome: ...
    @overload
    def perform(self, action: a.GetDirtyLog | a.ClearDirtyLog) -> a.DirtyLogOutcome: ...
    @overload
    def perform(self, action: a.SetCpuOnline) -> a.UnitView: ...
    @overload
    def perform(self, action: a.ArmFault | a.DisarmFault) -> a.FaultView: ...
    @overload
    def perform(self, action: a.AddWorkload | a.RemoveWorkload) -> a.WorkloadView: ...
    @overload
    def perform(self, action: a.AdvanceClock) -> a.ClockView: ...
    @overload
    def perform(self, action: a.RunGuest) -> a.GuestRun: ...
    @overload
    def perform(
        self, action: a.SetManualProtect | a.SetEagerSplitChunkSize | a.TrackVersions
    ) -> None: ...
    def perform(self, action: a.Action) -> object:  # noqa: C901, PLR0911, PLR0912 - one case an action
        """Do what an action says, whole or not at all.

        Raises:
            KvmError: what userspace would see; nothing changed but for the two cases that the kernel
                has (design.md 3.2): a MOVE refused by the architecture, and a failed copy to the
                user.
        """
        match action:
            case a.SetMemoryRegion():
                return self._set_memory_region(action)
            case a.GuestWrite() | a.GuestRead() | a.HostWrite() | a.HostUnmap():
                return self._guest_side.access(action)
            case a.GetDirtyLog():
                return self._dirty_log.get(action, self._config)
            case a.ClearDirtyLog():
                return self._dirty_log.clear(action, self._config)
            case a.SetCpuOnline():
                return self._cpus.set_online(action.cpu, online=action.online)
            case a.ArmFault():
                return self._faults.arm(action.spec)
            case a.DisarmFault():
                return self._faults.disarm(action.fault_id)
            case a.SetManualProtect():
                check_manual_protect(action.flags)
                self._enable(manual_dirty_log_protect2=action.flags)
                return None
            case a.SetEagerSplitChunkSize():
                self._set_chunk_size(action.chunk_size_bytes)
                return None
            case a.AddWorkload():
                return self._guest_side.add_workload(action.spec)
            case a.RemoveWorkload():
                return self._guest_side.guest.remove(action.workload_id)
            case a.AdvanceClock():
                return self._guest_side.guest.advance(action.duration_ns)
            case a.RunGuest():
                return self._guest_side.run(action)
            case a.TrackVersions():
                self._guest_side.track_versions(enabled=action.enabled)
                return None
            case _:
                assert_never(action)

    # Looks

    @property
    def config(self) -> a.MachineConfig:
        """Value of the configuration, with the two capabilities as they are now."""
        return self._config

    @property
    def pages(self) -> int:
        """Value of how many pages all slots have together."""
        return self._footprint.pages

    @property
    def footprint(self) -> a.Footprint:
        """Value of what the machine's slots, workloads and page versions hold."""
        slots = self._footprint
        held = self._guest_side.state_bytes(slots.pages)
        return a.Footprint(slots.pages, slots.state_bytes + held) if held else slots

    def footprint_after(
        self, action: a.SetMemoryRegion | a.AddWorkload | a.TrackVersions
    ) -> a.Footprint:
        """Tell what the machine would hold after a change; may raise as `perform` would."""
        if isinstance(action, a.AddWorkload):
            now = self.footprint
            return a.Footprint(now.pages, now.state_bytes + action.spec.state_bytes)
        if isinstance(action, a.TrackVersions):
            now = self._footprint
            held = self._guest_side.state_bytes(now.pages, tracked=action.enabled)
            return a.Footprint(now.pages, now.state_bytes + held)
        plan = self._plan(action)
        if plan.change not in (MemslotChange.NONE, MemslotChange.DELETE):
            self._region_hooks().prepare(plan.new)
        after = self._footprint_after(plan)
        held = self._guest_side.state_bytes(after.pages)
        return a.Footprint(after.pages, after.state_bytes + held)

    @property
    def generation(self) -> tuple[int, int]:
        """Value of how often capabilities were set and memslots changed: equal, nothing has."""
        return self._capabilities_set, self._slots.generation

    def memslot_generation(self, slot: int) -> int | None:
        """Give the memslots' generation in which a slot became what it is; None if absent."""
        return self._slots.get(slot).generation if slot in self._slots else None

    def memslot(self, slot: int) -> a.MemslotView:
        """Look at a slot.

        Raises:
            NoSuchMemslotError: it is absent.
        """
        return self._slots.get(slot).view()

    def memslots(self) -> tuple[a.MemslotView, ...]:
        """Look at all slots, ascending by id."""
        return tuple(slot.view() for slot in self._slots.by_id())

    def cpu(self, cpu: int) -> a.UnitView:
        """Look at a host CPU and its unit.

        Raises:
            NoSuchCpuError: the host has no such CPU.
        """
        return self._cpus.unit(cpu).view()

    def cpus(self) -> tuple[a.UnitView, ...]:
        """Look at all host CPUs."""
        return self._cpus.views()

    def fault(self, fault_id: str) -> a.FaultView:
        """Look at an armed fault.

        Raises:
            NoSuchFaultError: none has that id.
        """
        return self._faults.view(fault_id)

    def faults(self) -> tuple[a.FaultView, ...]:
        """Look at all armed faults, oldest first."""
        return self._faults.views()

    def fault_hits(self) -> dict[a.FaultType, int]:
        """Give the hits of faults so far by type, those of faults since disarmed included."""
        return self._faults.hits()

    def counters(self) -> dict[str, int]:
        """Give what has been counted since the VM was made (`COUNTERS`)."""
        return self._counters.read()

    def clock(self) -> a.ClockView:
        """Look at the clock."""
        return self._guest_side.guest.clock.view()

    def writes_of_run(self, action: a.RunGuest) -> int:
        """Count the writes that a run makes at most: those it makes if nothing stalls it."""
        return self._guest_side.guest.writes_of_run(action.duration_ns, action.throttle_percent)

    def workload(self, workload_id: str) -> a.WorkloadView:
        """Look at a workload.

        Raises:
            NoSuchWorkloadError: none has that id.
        """
        return self._guest_side.guest.view(workload_id)

    def workloads(self) -> tuple[a.WorkloadView, ...]:
        """Look at all workloads, oldest first."""
        return self._guest_side.guest.views()

    def versions(
        self, slot: int, first_page: int = 0, num_pages: int | None = None
    ) -> Versions | None:
        """Copy the versions of a slot's pages, uint32[n]; None unless TrackVersions is on.

        A page's version is the number of the batch of writes that last touched it, counted over the
        machine since tracking began, modulo 2**32; 0 is none.

        Raises:
            NoSuchMemslotError: the slot is absent.
        """
        return self._guest_side.versions(slot, first_page, num_pages)

    @property
    def last_version(self) -> int | None:
        """Value of the greatest version that a page can have; None unless TrackVersions is on.

        A page read now has the content of its version; it is stale once its version is greater.
        """
        return self._guest_side.last_version

    def peek_dirty_log(self, slot: int) -> a.DirtyLogOutcome:
        """Copy a slot's dirty bitmap without any side effect.

        Raises:
            InvalidArgumentError: no slot can have that id (EINVAL).
            NoDirtyLogError: the slot is absent or does not log (ENOENT).
        """
        _, log = self._slots.logging(slot)
        return copied(slot, log)

    def stage2(self, gfn: int, count: int, limit: int) -> a.Stage2Page:
        """Look at the leaves of a range of guest frames, as runs equal in level and state.

        Args:
            gfn: First frame.
            count: Frames; the range is cut at the end of the IPA space.
            limit: At most so many runs.

        Raises:
            GfnBeyondIpaSpaceError: `gfn` is not in the IPA space.
        """
        if not 0 <= gfn < self._end_gfn:
            raise GfnBeyondIpaSpaceError(
                f"gfn must be 0..{self._end_gfn - 1}, inside the IPA space, not {gfn}",
                field="gfn",
                bound=self._end_gfn - 1,
                value=gfn,
            )
        return look_at_stage2(self._slots, gfn, min(gfn + count, self._end_gfn), limit)

    def heat(self, slot: int, bins: int) -> Heat:
        """Look at a slot as at most so many bins of pages, 1..`MAX_BINS`.

        Raises:
            NoSuchMemslotError: it is absent.
        """
        return look_at_heat(self._slots.get(slot), bins)

    # Actions

    def _set_memory_region(self, action: a.SetMemoryRegion) -> a.MemslotOutcome:
        plan = self._plan(action)
        after = self._footprint_after(plan)
        hooks = self._region_hooks()
        slot = self._slots.set_region(plan, hooks)
        self._footprint = after
        self._guest_side.follow_memslots()
        self._counters.add_region(hooks)
        view = view_of(plan.new, None) if slot is None else slot.view()
        return a.MemslotOutcome(plan.change, view)

    def _region_hooks(self) -> Stage2Regions:
        return Stage2Regions(
            end_gfn=self._end_gfn,
            dbm=self._config.dbm,
            initially_set=self._config.initially_set,
            chunk_size_bytes=self._config.eager_split_chunk_size,
        )

    def _plan(self, action: a.SetMemoryRegion) -> RegionPlan:
        page_size = self._config.page_size
        region = checked_region(
            action.slot,
            flags=action.flags,
            guest_phys_addr=action.guest_phys_addr,
            memory_size=action.memory_size,
            userspace_addr=(
                action.guest_phys_addr if action.userspace_addr is None else action.userspace_addr
            ),
            backing=page_size if action.backing is None else action.backing,
            page_size=page_size,
        )
        return self._slots.plan(region)

    def _set_chunk_size(self, chunk_size_bytes: int) -> None:
        if len(self._slots):
            raise MemslotsPresentError(
                "eager_split_chunk_size must be set before the first memslot is made: "
                f"there are {len(self._slots)}",
                field="eager_split_chunk_size",
                bound=0,
                value=len(self._slots),
            )
        check_chunk_size(chunk_size_bytes, self._config.page_size)
        self._enable(eager_split_chunk_size=chunk_size_bytes)

    def _enable(self, **capability: int) -> None:
        self._config = replace(self._config, **capability)  # type: ignore[arg-type]
        self._capabilities_set += 1

    # Pieces of the above

    @property
    def _end_gfn(self) -> int:
        return (1 << self._config.ipa_bits) // self._config.page_size

    def _footprint_after(self, plan: RegionPlan) -> a.Footprint:
        was, will = a.Footprint(0, 0), a.Footprint(0, 0)
        if plan.old is not None:
            was = _footprint_of(plan.old.region, logs=plan.old.log is not None)
        if plan.change is not MemslotChange.DELETE:
            will = _footprint_of(plan.new, logs=plan.new.has(MemslotFlags.LOG_DIRTY_PAGES))
        return a.Footprint(
            self._footprint.pages - was.pages + will.pages,
            self._footprint.state_bytes - was.state_bytes + will.state_bytes,
        )


def _footprint_of(region: Region, *, logs: bool) -> a.Footprint:
    state_bytes = Stage2.state_bytes(region.npages, region.page_size)
    return a.Footprint(region.npages, state_bytes + logs * 8 * words_for(region.npages))
