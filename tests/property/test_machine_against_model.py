"""A whole VM against the scalar model: any actions in any order, everything compared each time."""

from collections.abc import Callable
from typing import Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from app.sim.actions import (
    Action,
    ArmFault,
    Bitmap,
    ClearDirtyLog,
    DisarmFault,
    GetDirtyLog,
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

SLOTS = st.integers(0, 2)
SELDOM = st.sampled_from([False] * 9 + [True])


IMPOSSIBLE: Final[list[Action]] = [
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
"""What is refused whatever the machine holds."""


class MachineAgainstModel(RuleBasedStateMachine):
    """Rules draw actions from what the model holds; illegal ones are drawn as well."""

    def __init__(self) -> None:
        super().__init__()
        self.both: Lockstep

    @initialize(config=configs(), data=st.data())
    def make(self, config: MachineConfig, data: st.DataObject) -> None:
        self.both = Lockstep(config)
        for slot in range(data.draw(st.integers(1, 2))):
            self.create(data, slot, data.draw(st.sampled_from([0, 1, 1])))

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

    @rule(data=st.data(), kind=st.sampled_from([GuestWrite, GuestWrite, GuestWrite, GuestRead]))
    def guest_access(self, data: st.DataObject, kind: type[GuestWrite | GuestRead]) -> None:
        vcpu = data.draw(st.sampled_from([0, 0, 0, self.config.vcpus]))
        self.both.perform(kind(data.draw(batches(self.memslots)), vcpu))

    @rule(data=st.data(), kind=st.sampled_from([HostWrite, HostUnmap]))
    def host_access(self, data: st.DataObject, kind: type[HostWrite | HostUnmap]) -> None:
        self.both.perform(kind(data.draw(batches(self.memslots))))

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
    @rule(data=st.data(), by_clear=st.booleans())
    def write_all_and_clean(self, data: st.DataObject, by_clear: bool) -> None:
        """Fill several arrays with entries that the unit can clean, most of the time."""
        slot = data.draw(st.sampled_from(self.logged()))
        start = data.draw(st.integers(0, min(70, slot.npages - 1)))
        count = slot.npages - start
        self.both.perform(GuestWrite(page_ranges((slot.base_gfn + start, count))))
        if by_clear:
            self.both.perform(ClearDirtyLog(slot.slot, page_ranges((start, count))))
        else:
            self.both.perform(GetDirtyLog(slot.slot))

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

    @rule(data=st.data(), online=st.booleans())
    def plug(self, data: st.DataObject, online: bool) -> None:
        self.both.perform(SetCpuOnline(data.draw(st.integers(0, self.config.cpus)), online))

    @rule(data=st.data())
    def arm(self, data: st.DataObject) -> None:
        """Arm a fault; a fourth takes the place of one, lest no unit ever runs to its end."""
        armed = self.both.model.faults()
        if len(armed) >= 3:
            self.both.perform(DisarmFault(data.draw(st.sampled_from(armed)).fault_id))
        self.both.perform(ArmFault(data.draw(faults(self.config))))

    @rule(flags=st.sampled_from([0, 1, 3]))
    def set_manual_protect(self, flags: int) -> None:
        self.both.perform(SetManualProtect(flags))

    @rule(data=st.data())
    def ask_seldom(self, data: st.DataObject) -> None:
        """What should not take many of the steps: refusals, and what empties the machine."""
        page_size = self.config.page_size
        end = (1 << self.config.ipa_bits) // page_size
        beyond = st.builds(
            lambda kind, count: kind(page_ranges((end - 1, count))),
            st.sampled_from([GuestWrite, GuestRead, HostWrite, HostUnmap]),
            st.integers(1, 2),
        )
        odd_clear = st.builds(
            ClearDirtyLog,
            slot=st.sampled_from([slot.slot for slot in self.logged()] or [0]),
            pages=st.integers(0, 2).flatmap(user_bitmaps),
            first_page=st.sampled_from([0, 1, 64, 3008, 1 << 20]),
            num_pages=st.sampled_from([None, 0, 1, 63, 64, 1 << 20]),
        )
        delete = st.builds(SetMemoryRegion, SLOTS)
        chunk = st.builds(SetEagerSplitChunkSize, st.sampled_from([0, *leaf_sizes(page_size)]))
        impossible = st.sampled_from(IMPOSSIBLE)
        kinds: list[st.SearchStrategy[Action]] = [impossible, odd_clear, beyond, delete, chunk]
        self.both.perform(data.draw(st.one_of(kinds)))


TestMachineAgainstModel = MachineAgainstModel.TestCase
