"""Gets and clears of a machine's dirty log: the generic code, the hook and the copy to the user."""

from collections.abc import Callable
from dataclasses import dataclass

from hacdbs_sim import model
from hacdbs_sim.model.errors import CopyToUserError
from hacdbs_sim.model.page_checks import check_first_page, check_window, user_words
from hacdbs_sim.sim.arm64.dirty_bit import AcceleratedClear, ClearConfig
from hacdbs_sim.sim.arm64.faults import FaultBoard, FaultCall, Found
from hacdbs_sim.sim.arm64.regions import stage2_of
from hacdbs_sim.sim.kvm import dirty_log
from hacdbs_sim.sim.kvm.dirty_bitmap import DirtyBitmap
from hacdbs_sim.sim.kvm.memslots import Memslot, Memslots
from hacdbs_sim.sim.kvm.region import check_slot_id
from hacdbs_sim.sim.machine.counters import Counters
from hacdbs_sim.sim.machine.host_cpus import HostCpus


@dataclass(slots=True, eq=False)
class DirtyLogCalls:
    """KVM_GET_DIRTY_LOG and KVM_CLEAR_DIRTY_LOG on what a machine is made of."""

    clear_config: ClearConfig
    slots: Memslots
    cpus: HostCpus
    faults: FaultBoard
    counters: Counters
    entered: Callable[[], None]
    """Called once a call has read the board of faults."""

    def get(self, action: model.GetDirtyLog, config: model.VmConfig) -> model.DirtyLog:
        """Take the log of a slot (docs/kernel.md A.2)."""
        armed = self._enter()
        self.cpus.check(action.cpu)
        slot, log = self.slots.logging(action.slot)
        if config.protects_manually:
            # A pure copy: no hook, no turn, no fault but that of the copy itself.
            faults = FaultCall(model.LogOp.GET, action.slot, action.cpu, armed)
            self._copy_to_user(faults)
            self.counters.add_copy()
            return copied(action.slot, log)
        cleaner, faults = self._cleaner(armed, model.LogOp.GET, slot, action, config)
        snapshot, cleaned = dirty_log.get_dirty_log(log, cleaner)
        cleaner.finish()
        self.counters.add_cleaning("dirty_log_gets", cleaned)
        self._copy_to_user(faults)
        return model.DirtyLog(
            slot=action.slot,
            first_page=0,
            num_pages=log.npages,
            bitmap=model.Bitmap(snapshot),
            dirty_count=cleaned.pages,
            remaining_count=log.count,
            accelerator=cleaned.accelerator,
            software=cleaned.software,
            flush_tlb=cleaned.flush_tlb,
        )

    def clear(self, action: model.ClearDirtyLog, config: model.VmConfig) -> model.DirtyLog:
        """Clear a window of the log of a slot (docs/kernel.md A.3)."""
        armed = self._enter()
        self.cpus.check(action.cpu)
        check_slot_id(action.slot)
        check_first_page(action.first_page)
        slot, log = self.slots.logging(action.slot)
        num_pages = check_window(action.first_page, action.num_pages, log.npages)
        pages = action.pages.words if isinstance(action.pages, model.Bitmap) else action.pages
        user = user_words(pages, action.first_page, num_pages)
        cleaner, _ = self._cleaner(armed, model.LogOp.CLEAR, slot, action, config)
        cleaned = dirty_log.clear_dirty_log(log, action.first_page, num_pages, user, cleaner)
        cleaner.finish()
        self.counters.add_cleaning("dirty_log_clears", cleaned)
        return model.DirtyLog(
            slot=action.slot,
            first_page=action.first_page,
            num_pages=num_pages,
            bitmap=None,
            dirty_count=cleaned.pages,
            remaining_count=log.count,
            accelerator=cleaned.accelerator,
            software=cleaned.software,
            flush_tlb=cleaned.flush_tlb,
        )

    def _enter(self) -> Found:
        """Read the board of faults: what is armed from now on is for the next call."""
        armed = self.faults.armed()
        self.entered()
        return armed

    def _cleaner(
        self,
        armed: Found,
        op: model.LogOp,
        slot: Memslot,
        action: model.GetDirtyLog | model.ClearDirtyLog,
        config: model.VmConfig,
    ) -> tuple[AcceleratedClear, FaultCall]:
        """Begin a call of the hook: a CPU, the faults for it, the architecture's side."""
        unit = self.cpus.for_hook(action.cpu)
        faults = FaultCall(op, action.slot, unit.cpu, armed)
        cleaner = AcceleratedClear(
            self.clear_config,
            stage2_of(slot),
            slot.region.base_gfn,
            unit,
            faults,
            chunk_size_bytes=config.eager_split_chunk_size,
            splits_lazily=config.initially_set,
            trace=action.trace,
        )
        return cleaner, faults

    @staticmethod
    def _copy_to_user(faults: FaultCall) -> None:
        if faults.strikes(model.FaultType.COPY_TO_USER):
            raise CopyToUserError(
                "the copy of the dirty bitmap to userspace failed, as an armed copy_to_user fault "
                "asked; without manual protect its bits are gone"
            )


def copied(slot: int, log: DirtyBitmap) -> model.DirtyLog:
    """Copy a log as it is: a peek, or a get with manual protect."""
    return model.DirtyLog(
        slot=slot,
        first_page=0,
        num_pages=log.npages,
        bitmap=model.Bitmap(log.words.copy()),
        dirty_count=log.count,
        remaining_count=log.count,
    )
