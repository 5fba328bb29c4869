"""A whole VM against the scalar model: any actions in any order, everything compared each time."""

from collections.abc import Callable
from typing import TypeAlias

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from app.sim.actions import (
    ArmFault,
    Bitmap,
    ClearDirtyLog,
    DisarmFault,
    GetDirtyLog,
    Gfns,
    GuestRead,
    GuestWrite,
    HostUnmap,
    HostWrite,
    MachineConfig,
    MemslotView,
    PageRanges,
    SetCpuOnline,
    SetEagerSplitChunkSize,
    SetManualProtect,
    SetMemoryRegion,
)
from tests.support.lockstep import Lockstep
from tests.support.strategies import (
    BASE_GFNS,
    SLOT_PAGES,
    batches,
    configs,
    faults,
    leaf_sizes,
    page_ranges,
    spans,
    user_bitmaps,
)

Access: TypeAlias = type[GuestWrite | GuestRead | HostWrite | HostUnmap]

SLOTS = st.integers(0, 2)
SELDOM = st.sampled_from([False] * 9 + [True])


class MachineAgainstModel(RuleBasedStateMachine):
    """Rules draw actions from what the model holds; illegal ones are drawn as well."""

    def __init__(self) -> None:
        super().__init__()
        self.both: Lockstep

    @initialize(config=configs(), data=st.data())
    def make(self, config: MachineConfig, data: st.DataObject) -> None:
        self.both = Lockstep(config)
        for slot in range(data.draw(st.integers(0, 2))):
            self.create(data, slot, data.draw(st.sampled_from([0, 1])))

    @property
    def config(self) -> MachineConfig:
        return self.both.model.config

    @property
    def memslots(self) -> tuple[MemslotView, ...]:
        return self.both.model.memslots()

    def logged(self) -> list[MemslotView]:
        return [slot for slot in self.memslots if slot.dirty_count is not None]

    def cpus(self) -> st.SearchStrategy[int | None]:
        return st.one_of(st.none(), st.none(), st.integers(0, self.config.cpus))

    @rule(data=st.data(), slot=SLOTS, flags=st.sampled_from([0, 1, 1, 1, 2, 3]))
    def create(self, data: st.DataObject, slot: int, flags: int) -> None:
        page_size = self.config.page_size
        gpa = data.draw(st.sampled_from(BASE_GFNS)) * page_size
        apart = data.draw(st.sampled_from([0, 0, 0, 0x2000 * page_size, page_size]))
        size = data.draw(st.sampled_from(SLOT_PAGES[page_size])) * page_size
        backing = data.draw(st.sampled_from(leaf_sizes(page_size)))
        self.both.perform(SetMemoryRegion(slot, gpa, size, gpa + apart, flags, backing))

    @precondition(lambda self: self.memslots)
    @rule(data=st.data(), flags=st.sampled_from([0, 1, 1, 2, 3]))
    def change_flags(self, data: st.DataObject, flags: int) -> None:
        self.change(data, lambda old: old.guest_phys_addr, flags)

    @precondition(lambda self: self.memslots)
    @rule(data=st.data(), flags=st.sampled_from([0, 1, 1]), beyond=SELDOM)
    def move(self, data: st.DataObject, flags: int, beyond: bool) -> None:
        page_size, end = self.config.page_size, 1 << self.config.ipa_bits
        gpa = end - page_size if beyond else data.draw(st.sampled_from(BASE_GFNS)) * page_size
        self.change(data, lambda _old: gpa, flags)

    def change(self, data: st.DataObject, gpa_of: Callable[[MemslotView], int], flags: int) -> None:
        old = data.draw(st.sampled_from(self.memslots))
        self.both.perform(
            SetMemoryRegion(
                old.slot, gpa_of(old), old.memory_size, old.userspace_addr, flags, old.backing
            )
        )

    @rule(slot=st.integers(0, 3), seldom=SELDOM)
    def delete(self, slot: int, seldom: bool) -> None:
        if seldom:
            self.both.perform(SetMemoryRegion(slot))

    @rule(
        action=st.sampled_from(
            [
                SetMemoryRegion(32767, 0, 1 << 20),
                SetMemoryRegion(-1, 0, 1 << 20),
                SetMemoryRegion(5, 0, 1 << 20, flags=4),
                SetMemoryRegion(5, 0, 100),
                SetMemoryRegion(5, 0, 1 << 64),
                SetMemoryRegion(5, 100, 1 << 20),
                SetMemoryRegion(5, 0, 1 << 20, userspace_addr=7),
                SetMemoryRegion(5, 0, 1 << 20, userspace_addr=(1 << 52) - (1 << 16)),
                SetMemoryRegion(5, (1 << 64) - (1 << 20), 1 << 20, userspace_addr=0),
                SetMemoryRegion(5, 0, 1 << 50, userspace_addr=0),
                SetMemoryRegion(5, 0, 1 << 20, backing=12345),
                SetMemoryRegion(5, 0, 0, backing=12345),
                SetMemoryRegion(5, 1 << 40, 1 << 20),
                SetManualProtect(2),
                SetManualProtect(4),
                SetEagerSplitChunkSize(8192),
                GetDirtyLog(40000),
                GetDirtyLog(9),
                GetDirtyLog(9, cpu=-1),
                ClearDirtyLog(40000, page_ranges()),
                ClearDirtyLog(9, page_ranges(), first_page=63),
                ClearDirtyLog(9, page_ranges()),
                SetCpuOnline(4, online=False),
                DisarmFault("f0"),
            ]
        )
    )
    def ask_the_impossible(
        self,
        action: SetMemoryRegion
        | SetManualProtect
        | SetEagerSplitChunkSize
        | GetDirtyLog
        | ClearDirtyLog
        | SetCpuOnline
        | DisarmFault,
    ) -> None:
        self.both.perform(action)

    @rule(data=st.data(), kind=st.sampled_from([GuestWrite, GuestWrite, GuestWrite, GuestRead]))
    def guest_access(self, data: st.DataObject, kind: type[GuestWrite | GuestRead]) -> None:
        vcpu = data.draw(st.sampled_from([0, 0, 0, self.config.vcpus]))
        self.both.perform(kind(data.draw(batches(self.memslots)), vcpu))

    @rule(data=st.data(), kind=st.sampled_from([HostWrite, HostUnmap]))
    def host_access(self, data: st.DataObject, kind: type[HostWrite | HostUnmap]) -> None:
        self.both.perform(kind(data.draw(batches(self.memslots))))

    @rule(
        data=st.data(),
        kind=st.sampled_from([GuestWrite, GuestRead, HostWrite, HostUnmap]),
        seldom=SELDOM,
    )
    def access_beyond(self, data: st.DataObject, kind: Access, seldom: bool) -> None:
        if seldom:
            end = (1 << self.config.ipa_bits) // self.config.page_size
            far: list[Gfns | PageRanges] = [page_ranges((end - 1, 1)), page_ranges((end - 1, 2))]
            self.both.perform(kind(data.draw(st.sampled_from(far))))

    @precondition(lambda self: self.memslots)
    @rule(data=st.data(), trace=st.booleans())
    def get(self, data: st.DataObject, trace: bool) -> None:
        slot = data.draw(st.sampled_from(self.logged() or self.memslots)).slot
        self.both.perform(GetDirtyLog(slot, data.draw(self.cpus()), trace))

    @precondition(lambda self: self.memslots)
    @rule(data=st.data(), trace=st.booleans())
    def clear_all(self, data: st.DataObject, trace: bool) -> None:
        slot = data.draw(st.sampled_from(self.logged() or self.memslots))
        pages = page_ranges((0, slot.npages))
        self.both.perform(ClearDirtyLog(slot.slot, pages, cpu=data.draw(self.cpus()), trace=trace))

    @precondition(lambda self: self.logged())
    @rule(data=st.data(), by_bitmap=st.booleans(), trace=st.booleans())
    def clear(self, data: st.DataObject, by_bitmap: bool, trace: bool) -> None:
        slot = data.draw(st.sampled_from(self.logged()))
        first = 64 * data.draw(st.integers(0, slot.npages // 64))
        left = slot.npages - first
        num = data.draw(
            st.one_of(st.just(left), st.integers(0, left // 64).map(lambda words: 64 * words))
        )
        pages: Bitmap | PageRanges
        if by_bitmap:
            pages = data.draw(user_bitmaps(-(-num // 64)))
        else:
            pages = page_ranges(data.draw(spans(first, max(num, 1))))
        cpu = data.draw(self.cpus())
        self.both.perform(ClearDirtyLog(slot.slot, pages, first, num, cpu, trace))

    @precondition(lambda self: self.logged())
    @rule(
        data=st.data(),
        first=st.sampled_from([0, 1, 64, 3008, 1 << 20]),
        num=st.sampled_from([None, 0, 1, 63, 64, 1 << 20]),
        words=st.integers(0, 2),
    )
    def clear_oddly(self, data: st.DataObject, first: int, num: int | None, words: int) -> None:
        slot = data.draw(st.sampled_from(self.logged())).slot
        pages = data.draw(user_bitmaps(words))
        self.both.perform(ClearDirtyLog(slot, pages, first, num))

    @rule(data=st.data(), online=st.booleans())
    def plug(self, data: st.DataObject, online: bool) -> None:
        self.both.perform(SetCpuOnline(data.draw(st.integers(0, self.config.cpus)), online))

    @rule(data=st.data())
    def arm(self, data: st.DataObject) -> None:
        self.both.perform(ArmFault(data.draw(faults(self.config))))

    @precondition(lambda self: self.both.model.faults())
    @rule(data=st.data(), seldom=SELDOM)
    def disarm(self, data: st.DataObject, seldom: bool) -> None:
        if seldom:
            fault = data.draw(st.sampled_from(self.both.model.faults()))
            self.both.perform(DisarmFault(fault.fault_id))

    @rule(flags=st.sampled_from([0, 1, 3]))
    def set_manual_protect(self, flags: int) -> None:
        self.both.perform(SetManualProtect(flags))

    @rule(data=st.data())
    def set_chunk(self, data: st.DataObject) -> None:
        sizes = [0, *leaf_sizes(self.config.page_size)]
        self.both.perform(SetEagerSplitChunkSize(data.draw(st.sampled_from(sizes))))


TestMachineAgainstModel = MachineAgainstModel.TestCase
