"""A VM of the host's KVM as a `Backend`: the model's actions by real ioctls and a real guest.

What the kernel does not report is null in outcomes (`unknown_fields`), and what cannot be done is
refused with `not_supported_by_backend`; nothing is made up. The caller performs one action at a time,
as for every backend; queries may come beside it.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from hacdbs_sim import model
from hacdbs_sim.host_kvm import device, guest, refusals, slots
from hacdbs_sim.host_kvm.memory import HUGE_PAGE_SIZE, PAGE_SIZE, GuestMemory
from hacdbs_sim.host_kvm.slots import HeldSlot
from hacdbs_sim.model import errors
from hacdbs_sim.model.base import WORK_PER_ACTION
from hacdbs_sim.model.page_checks import check_gfns, user_words
from hacdbs_sim.model.pages import Gfns, PageSet
from hacdbs_sim.model.units import MAX_CPUS, PAGES_PER_WORD
from hacdbs_sim.model.words import popcount, words_for

T = TypeVar("T")

MAX_ACCESSES: Final = 1 << 22
"""Pages that one call accesses: each may be an exit to userspace."""

WORK_PER_PAGE: Final = 64
"""What an access costs next to a word of a bitmap: a fault, and perhaps an exit."""

END_GFN: Final = guest.BASE // PAGE_SIZE
MAX_NUM_PAGES: Final = (1 << 32) - 1
"""What `num_pages` of struct kvm_clear_dirty_log can hold."""

UNKNOWN_ACCESS_FIELDS: Final = (
    "newly_dirty",
    "translation_faults",
    "permission_faults",
    "block_splits",
    "blocks_mapped",
)
UNKNOWN_LOG_FIELDS: Final = (
    "dirty_count",
    "remaining_count",
    "accelerator",
    "software",
    "flush_tlb",
)

_COUNTERS: Final = (
    "guest_writes",
    "guest_reads",
    "host_writes",
    "host_unmaps",
    "mmio_exits",
    "dirty_log_gets",
    "dirty_log_clears",
)


class HostKvmBackend:
    """One VM of the host's KVM.

    Args:
        config: What it is made of; only `manual_dirty_log_protect2` may differ from the default.

    Raises:
        BackendUnavailableError: This machine has no KVM that can be used here.
        NotSupportedByBackendError: A field of the configuration that real KVM has not.
    """

    def __init__(self, config: model.VmConfig) -> None:
        check_config(config)
        if (why := device.why_unusable()) is not None:
            raise errors.BackendUnavailableError(
                f"host_kvm cannot be used here: {why}", field="backend"
            )
        self._config = replace(
            config,
            ipa_bits=guest.ADDRESS_BITS,
            cpus=min(os.cpu_count() or 1, MAX_CPUS),
            features=model.Features(dbm=False, hacdbs=False),
            manual_dirty_log_protect2=0,
        )
        self._slots: dict[int, HeldSlot] = {}
        self._generation = 0
        self._capabilities_set = 0
        self._counts = dict.fromkeys(_COUNTERS, 0)
        with refusals.running_guest():
            kvm = device.Kvm()
            try:
                self._vm = device.KvmVm(kvm)
            finally:
                kvm.close()
        if config.manual_dirty_log_protect2:
            try:
                self._protect_manually(config.manual_dirty_log_protect2)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Destroy the VM and free its memory; no action may come afterwards."""
        self._vm.close()
        for held in self._slots.values():
            held.memory.close()
        self._slots = {}

    @property
    def capabilities(self) -> model.BackendInfo:
        """What real KVM can do here."""
        return _CAPABILITIES

    def perform(self, action: model.Action[T]) -> T:
        """Do what an action says, by the kernel.

        Raises:
            KvmError: What the kernel refuses, or what this backend cannot do.
        """
        return cast("T", _handler(_PERFORM, action)(self, action))

    def query(self, query: model.Query[T]) -> T:
        """Return what this backend knows of the VM.

        Raises:
            KvmError: There is no such thing, or the backend cannot know it.
        """
        return cast("T", _handler(_QUERY, query)(self, query))

    def estimate(self, action: model.Action[Any]) -> model.Estimate:
        """Estimate an action on the VM as it is now.

        Raises:
            KvmError: The action is refused, whatever the limits are.
        """
        _handler(_PERFORM, action)
        now = self._footprint()
        work = WORK_PER_ACTION
        match action:
            case model.SetMemslot():
                now = self._footprint_with(action)
                work += action.memory_size // PAGE_SIZE // PAGES_PER_WORD
            case model.DeleteMemslot():
                now = self._footprint_with(action.as_ioctl())
            case model.GetDirtyLog() | model.ClearDirtyLog():
                work += self._npages(action.slot) // PAGES_PER_WORD
            case model.GuestWrite() | model.GuestRead() | model.HostWrite() | model.HostUnmap():
                work += WORK_PER_PAGE * min(_count(action.pages), MAX_ACCESSES)
            case model.GuestWriteMemory():
                work += WORK_PER_PAGE * min(_count(action.pages(PAGE_SIZE)), MAX_ACCESSES)
            case _:
                pass
        return model.Estimate(work=work, pages=now.pages, state_bytes=now.state_bytes)

    # Memslots

    def _set_memslot(self, action: model.SetMemslot) -> model.ChangedMemslot:
        region = slots.region_of(action)
        slots.check_place(region, self._vm.control_slot)
        held = self._slots.get(region.slot)
        if held is not None:
            slots.check_same_backing(held, region)
        memory = self._memory_for(region, held)
        try:
            with refusals.asking_kernel(
                refusals.SET_MEMSLOT, "slot", region.slot, _cause(region, held)
            ):
                self._vm.set_user_memory_region(
                    region.slot,
                    region.flags,
                    region.guest_phys_addr,
                    region.memory_size,
                    slots.address_of(region, held, memory),
                )
        except BaseException:
            if memory is not None:
                memory.close()
            raise
        return self._accept(region, held, memory)

    def _memory_for(self, region: model.MemslotInfo, held: HeldSlot | None) -> GuestMemory | None:
        """Make memory for a new slot; None where it has some, or the kernel refuses it anyway."""
        if held is not None or not region.memory_size or slots.is_refused_by_any_kernel(region):
            return None
        with refusals.asking_kernel(refusals.SET_MEMSLOT, "memory_size", region.memory_size):
            return GuestMemory(
                region.memory_size,
                huge=region.backing > PAGE_SIZE,
                skew=region.userspace_addr % HUGE_PAGE_SIZE,
            )

    def _accept(
        self, region: model.MemslotInfo, held: HeldSlot | None, memory: GuestMemory | None
    ) -> model.ChangedMemslot:
        change = _change(region, held)
        if change is not model.MemslotChange.NONE:
            self._generation += 1
        if change is model.MemslotChange.DELETE:
            assert held is not None, "the kernel deletes only what is there"
            del self._slots[region.slot]
            held.memory.close()
        else:
            if held is not None:
                memory = held.memory
            assert memory is not None, "the kernel takes no slot without memory"
            self._slots[region.slot] = HeldSlot(region, memory, self._generation)
        return model.ChangedMemslot(change=change, **vars(region))

    # The dirty log

    def _get_dirty_log(self, action: model.GetDirtyLog) -> model.DirtyLog:
        _check_call(action)
        npages = self._npages(action.slot)
        words = np.zeros(words_for(npages), np.uint64)
        with refusals.asking_kernel(refusals.GET_LOG, "slot", action.slot):
            self._vm.get_dirty_log(action.slot, words)
        self._counts["dirty_log_gets"] += 1
        return model.DirtyLog(
            slot=action.slot,
            first_page=0,
            num_pages=npages,
            dirty_count=popcount(words),
            remaining_count=None,
            bitmap=model.Bitmap(words),
            software=None,
            flush_tlb=None,
        )

    def _clear_dirty_log(self, action: model.ClearDirtyLog) -> model.DirtyLog:
        _check_call(action)
        npages, num_pages = self._npages(action.slot), action.num_pages
        if num_pages is None:
            num_pages = max(npages - action.first_page, 0)
        if num_pages > MAX_NUM_PAGES or action.first_page >= 1 << 64:
            raise errors.InvalidArgumentError.must(
                "num_pages", f"be at most {MAX_NUM_PAGES}", num_pages, bound=MAX_NUM_PAGES
            )
        held = self._slots.get(action.slot)
        is_logging = held is not None and held.region.flags & model.MemslotFlags.LOG_DIRTY_PAGES
        is_refused = not is_logging or action.first_page + num_pages > npages
        # The kernel reads the bitmap only once it has accepted slot and window, so a call that it
        # refuses needs none; one that it accepts must have every word.
        words = np.zeros(1, np.uint64)
        if not is_refused:
            words = _user_words(action, num_pages)
        cause: refusals.Einval = errors.WindowOutsideMemslotError
        if action.first_page % PAGES_PER_WORD or action.slot not in self._slots:
            cause = errors.InvalidArgumentError
        with refusals.asking_kernel(refusals.CLEAR_LOG, "slot", action.slot, cause):
            self._vm.clear_dirty_log(action.slot, action.first_page, num_pages, words)
        self._counts["dirty_log_clears"] += 1
        return model.DirtyLog(
            slot=action.slot,
            first_page=action.first_page,
            num_pages=num_pages,
            **dict.fromkeys(UNKNOWN_LOG_FIELDS, None),
        )

    # Accesses

    def _touch(
        self, kind: guest.Touch, vcpu: int, pages: PageSet, field: str = "gfn_ranges"
    ) -> model.AccessOutcome:
        if vcpu:
            raise errors.NoSuchVcpuError.absent("vcpu", vcpu, count=1, what="vCPU")
        gfns = _gfns_of(pages, field)
        with refusals.running_guest():
            exits = self._vm.touch(kind, gfns)
        counter = "guest_writes" if kind is guest.Touch.WRITE else "guest_reads"
        return self._outcome(counter, len(gfns), exits)

    def _host_write(self, action: model.HostWrite) -> model.AccessOutcome:
        gfns = _gfns_of(action.pages)
        with refusals.running_guest():
            for gfn in gfns.tolist():
                self._vm.write_as_host(gfn)
        taken = np.zeros(len(gfns), np.bool_)
        for held in self._slots.values():
            if not held.region.flags & model.MemslotFlags.READONLY:
                taken |= _inside(gfns, held)
        return self._outcome("host_writes", len(gfns), int(np.count_nonzero(~taken)))

    def _host_unmap(self, action: model.HostUnmap) -> model.AccessOutcome:
        """Return the memory behind pages to the kernel, whose MMU notifier has KVM unmap them."""
        gfns = _gfns_of(action.pages)
        for held in self._slots.values():
            for gfn in gfns[_inside(gfns, held)].tolist():
                held.memory.discard((gfn - held.region.base_gfn) * PAGE_SIZE)
        return self._outcome("host_unmaps", len(gfns), 0)

    def _outcome(self, counter: str, pages: int, mmio_exits: int) -> model.AccessOutcome:
        self._counts[counter] += pages
        self._counts["mmio_exits"] += mmio_exits
        return model.AccessOutcome(
            pages=pages, mmio_exits=mmio_exits, **dict.fromkeys(UNKNOWN_ACCESS_FIELDS, None)
        )

    # The VM

    def _update(self, action: model.UpdateVm) -> None:
        if action.eager_split_chunk_size is not None:
            raise refusals.unknown_argument(
                "eager_split_chunk_size",
                action.eager_split_chunk_size,
                "KVM_CAP_ARM_EAGER_SPLIT_CHUNK_SIZE is arm64's",
            )
        if action.manual_dirty_log_protect2 is None:
            raise errors.InvalidArgumentError(
                f"exactly one of {', '.join(action.one_of)} must be given"
            )
        self._protect_manually(action.manual_dirty_log_protect2)
        self._capabilities_set += 1

    def _protect_manually(self, flags: int) -> None:
        with refusals.asking_kernel(refusals.ENABLE_CAP, "manual_dirty_log_protect2", flags):
            self._vm.enable_cap(device.CAP_MANUAL_DIRTY_LOG_PROTECT2, flags)
        self._config = replace(self._config, manual_dirty_log_protect2=flags)

    # Queries

    def _memslot(self, slot: int) -> model.MemslotInfo:
        held = self._slots.get(slot)
        if held is None:
            raise errors.NoSuchMemslotError(f"there is no slot {slot}", field="slot", value=slot)
        return replace(held.region)

    def _memslots(self) -> tuple[model.MemslotInfo, ...]:
        held = self._slots.copy()
        return tuple(replace(held[slot].region) for slot in sorted(held))

    def _npages(self, slot: int) -> int:
        held = self._slots.get(slot)
        return 0 if held is None else held.region.npages

    def _footprint(self) -> model.Footprint:
        return self._footprint_of(held.region for held in self._slots.copy().values())

    def _footprint_with(self, action: model.SetMemslot) -> model.Footprint:
        region = slots.region_of(action)
        held = self._slots.get(region.slot)
        if slots.is_refused_by_any_kernel(region) or (
            held is not None and region.memory_size not in (0, held.region.memory_size)
        ):
            raise errors.InvalidArgumentError("the kernel refuses this memslot", field="slot")
        slots.check_place(region, self._vm.control_slot)
        others = [each.region for slot, each in self._slots.items() if slot != region.slot]
        return self._footprint_of([*others, region])

    def _footprint_of(self, regions: Iterable[model.MemslotInfo]) -> model.Footprint:
        size_bytes = sum(region.memory_size for region in regions)
        return model.Footprint(
            pages=size_bytes // PAGE_SIZE, state_bytes=size_bytes + self._vm.control.size_bytes
        )

    def _generations(self, slot: int | None) -> model.Generations:
        held = None if slot is None else self._slots.get(slot)
        return model.Generations(
            capabilities=self._capabilities_set,
            memslots=self._generation,
            slot=None if held is None else held.generation,
        )


def check_config(config: model.VmConfig) -> None:
    """Refuse fields of a configuration that a VM of real KVM on x86-64 does not have."""
    usual = model.VmConfig().settings()
    for name, value in config.settings().items():
        if name != "manual_dirty_log_protect2" and value != usual[name]:
            raise errors.NotSupportedByBackendError(
                f"{name} must be left out for the backend {model.BackendName.HOST_KVM}: "
                "it is what the host has",
                field=name,
            )


def _cause(region: model.MemslotInfo, held: HeldSlot | None) -> refusals.Einval:
    """Return what EINVAL most likely stands for."""
    if slots.is_refused_by_any_kernel(region) or region.flags & ~model.MemslotFlags(3):
        return errors.InvalidArgumentError
    if held is not None:
        return errors.MemslotChangedError
    return errors.InvalidArgumentError if region.memory_size else errors.NoSuchMemslotError


def _change(region: model.MemslotInfo, held: HeldSlot | None) -> model.MemslotChange:
    if not region.memory_size:
        return model.MemslotChange.DELETE
    if held is None:
        return model.MemslotChange.CREATE
    if region.guest_phys_addr != held.region.guest_phys_addr:
        return model.MemslotChange.MOVE
    if region.flags != held.region.flags:
        return model.MemslotChange.FLAGS_ONLY
    return model.MemslotChange.NONE


def _check_call(action: model.GetDirtyLog | model.ClearDirtyLog) -> None:
    if action.cpu is not None:
        raise refusals.unknown_argument("cpu", action.cpu, "the host's kernel chooses the CPU")
    if action.trace:
        raise refusals.unknown_argument("trace", action.trace, "there is no unit to trace")


def _user_words(action: model.ClearDirtyLog, num_pages: int) -> NDArray[np.uint64]:
    pages = action.pages.words if isinstance(action.pages, model.Bitmap) else action.pages
    words = user_words(pages, action.first_page, num_pages)
    if words is None:  # every page
        words = np.full(words_for(num_pages), np.iinfo(np.uint64).max, np.uint64)
    return np.ascontiguousarray(words, np.uint64)


def _count(pages: PageSet) -> int:
    if isinstance(pages, Gfns):
        return len(pages)
    # As floats: counts that add up beyond 64 bits stay large
    return int(pages.count.sum(dtype=np.float64))


def _gfns_of(pages: PageSet, field: str = "gfn_ranges") -> NDArray[np.uint64]:
    """Return an access's frames one by one, in its order; refuse what the guest cannot map."""
    check_gfns(pages, END_GFN, field)
    if (count := _count(pages)) > MAX_ACCESSES:
        raise errors.NotSupportedByBackendError(
            f"one call accesses at most {MAX_ACCESSES} pages on host_kvm, not {count}",
            bound=MAX_ACCESSES,
            value=count,
        )
    if isinstance(pages, Gfns):
        return pages.gfns
    starts = np.cumsum(pages.count) - pages.count
    steps = np.arange(count, dtype=np.uint64) - np.repeat(starts, pages.count.astype(np.int64))
    return np.repeat(pages.first, pages.count.astype(np.int64)) + steps


def _inside(gfns: NDArray[np.uint64], held: HeldSlot) -> NDArray[np.bool_]:
    base_gfn = held.region.base_gfn
    return (gfns >= base_gfn) & (gfns < base_gfn + held.region.npages)


Handler = Callable[[HostKvmBackend, Any], object]

_PERFORM: Final[dict[type[model.Action[Any]], Handler]] = {
    model.GuestWrite: lambda b, a: b._touch(guest.Touch.WRITE, a.vcpu, a.pages),
    model.GuestWriteMemory: lambda b, a: b._touch(
        guest.Touch.WRITE, a.vcpu, a.pages(PAGE_SIZE), "gpa_ranges"
    ),
    model.GuestRead: lambda b, a: b._touch(guest.Touch.READ, a.vcpu, a.pages),
    model.HostWrite: lambda b, a: b._host_write(a),
    model.HostUnmap: lambda b, a: b._host_unmap(a),
    model.GetDirtyLog: lambda b, a: b._get_dirty_log(a),
    model.ClearDirtyLog: lambda b, a: b._clear_dirty_log(a),
    model.SetMemslot: lambda b, a: b._set_memslot(a),
    model.DeleteMemslot: lambda b, a: b._set_memslot(a.as_ioctl()),
    model.UpdateVm: lambda b, a: b._update(a),
}

_QUERY: Final[dict[type[model.Query[Any]], Handler]] = {
    model.GetMemslot: lambda b, q: b._memslot(q.slot),
    model.ListMemslots: lambda b, _: b._memslots(),
    model.ListFaults: lambda _b, _q: (),
    model.CountFaultHits: lambda _b, _q: {},
    model.ListWorkloads: lambda _b, _q: (),
    model.GetClock: lambda _b, _q: model.Clock(),
    model.GetConfig: lambda b, _: b._config,
    model.GetCounters: lambda b, _: dict(b._counts),
    model.GetFootprint: lambda b, _: b._footprint(),
    model.GetGenerations: lambda b, q: b._generations(q.slot),
}


def _handler(table: dict[type[Any], Handler], operation: model.Operation[Any]) -> Handler:
    handler = table.get(type(operation))
    if handler is None:
        raise refusals.not_supported(operation)
    return handler


_CAPABILITIES: Final = model.BackendInfo(
    backend=model.BackendName.HOST_KVM,
    ops=tuple(dict.fromkeys(kind.op for kind in (*_PERFORM, *_QUERY))),
    unknown_fields=(*UNKNOWN_ACCESS_FIELDS, *UNKNOWN_LOG_FIELDS),
)
