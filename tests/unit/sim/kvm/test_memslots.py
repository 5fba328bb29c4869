"""KVM_SET_USER_MEMORY_REGION: checks in the kernel's order, changes, the bitmap's life."""

from typing import Any

import pytest

from hacdbs_sim.model import (
    ChangedMemslot,
    DeleteMemslot,
    Footprint,
    GetGenerations,
    GetMemslotLife,
    HostWrite,
    ListMemslotLives,
    MemslotChange,
    MemslotFlags,
    MemslotLife,
    SetMemslot,
    UpdateVm,
    VmConfig,
)
from hacdbs_sim.model.errors import KvmError
from tests.support.building import (
    GIB,
    LOG,
    MIB,
    READONLY,
    machine,
    ranges,
    read,
    states,
    write,
)
from tests.support.machine import Machine
from tests.unit.sim.read_back import dirty_pages

A = 0x4000_0000


def set_region(
    made: Machine, slot: int = 0, gpa: int = A, size: int = MIB, **rest: Any
) -> ChangedMemslot:
    return made.perform(SetMemslot(slot=slot, guest_phys_addr=gpa, memory_size=size, **rest))


def refusal(made: Machine, *args: Any, **rest: Any) -> tuple[str, str | None, str | None]:
    before = (made.memslots(), made.footprint)
    with pytest.raises(KvmError) as caught:
        set_region(made, *args, **rest)
    assert (made.memslots(), made.footprint) == before
    return caught.value.code, caught.value.errno, caught.value.field


def test_the_changes_are_named_as_the_kernel_names_them() -> None:
    made = machine()
    kept = {"userspace_addr": 0x7000_0000}

    changes = [
        set_region(made, **kept).change,
        set_region(made, **kept).change,
        set_region(made, flags=LOG, **kept).change,
        set_region(made, gpa=2 * A, flags=0, **kept).change,
        set_region(made, size=0, gpa=0).change,
    ]

    assert changes == [
        MemslotChange.CREATE,
        MemslotChange.NONE,
        MemslotChange.FLAGS_ONLY,
        MemslotChange.MOVE,
        MemslotChange.DELETE,
    ]
    assert made.memslots() == ()


def test_flags_have_the_kernels_values() -> None:
    assert {flag.name: int(flag) for flag in MemslotFlags} == {"LOG_DIRTY_PAGES": 1, "READONLY": 2}
    assert int(MemslotFlags.NONE) == 0
    assert machine(1, flags=0).memslot(0).flags is MemslotFlags.NONE


def test_a_view_has_addresses_in_bytes_and_frames() -> None:
    view = set_region(machine(), slot=7, flags=LOG | READONLY, size=MIB + 12288)

    assert (view.slot, view.guest_phys_addr, view.memory_size) == (7, A, MIB + 12288)
    assert (view.base_gfn, view.npages, view.dirty_count) == (A >> 12, 259, 0)
    assert (view.userspace_addr, view.backing, int(view.flags)) == (A, 4096, 3)


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"slot": 32767}, "slot"),
        ({"slot": -1}, "slot"),
        ({"flags": 4}, "flags"),
        ({"size": 4095}, "memory_size"),
        ({"size": 1 << 64}, "memory_size"),
        ({"gpa": A + 1}, "guest_phys_addr"),
        ({"userspace_addr": 1}, "userspace_addr"),
        ({"userspace_addr": 1 << 52}, "userspace_addr"),
        ({"gpa": (1 << 64) - MIB, "userspace_addr": 0}, "guest_phys_addr"),
        ({"size": 1 << 43, "userspace_addr": 0}, "memory_size"),
        ({"backing": 65536}, "backing"),
    ],
)
def test_an_argument_no_slot_can_have_is_einval(bad: dict[str, Any], field: str) -> None:
    assert refusal(machine(), **bad) == ("invalid_argument", "EINVAL", field)


def test_the_checks_come_in_the_kernels_order() -> None:
    """Each call breaks one rule less than the one before."""
    made = machine(256, base_gfn=(A >> 12) + 256)  # slot 0, just after A + 1 MiB
    wrong: dict[str, Any] = {
        "slot": 40000,
        "flags": 8,
        "size": 2 * MIB + 1,
        "gpa": (1 << 40) + 2,
        "userspace_addr": 3,
        "backing": 5,
    }
    mends: list[tuple[str, Any, str]] = [
        ("slot", 0, "slot"),
        ("flags", 0, "flags"),
        ("size", 2 * MIB, "memory_size"),
        ("gpa", 1 << 40, "guest_phys_addr"),
        ("userspace_addr", 1 << 40, "userspace_addr"),
        ("backing", 4096, "backing"),
    ]
    for name, good, field in mends:
        assert refusal(made, **wrong)[2] == field
        wrong[name] = good
    # Now slot 0 would change its address in userspace; as slot 1 it is beyond the IPA space.
    assert refusal(made, **wrong) == ("memslot_changed", "EINVAL", "userspace_addr")
    overlap = wrong | {"slot": 1, "gpa": A, "size": 2 * MIB}
    assert refusal(made, **overlap) == ("memslot_overlap", "EEXIST", "guest_phys_addr")
    assert refusal(made, **wrong | {"slot": 1}) == (
        "beyond_ipa_space",
        "EFAULT",
        "guest_phys_addr",
    )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"size": 2 * MIB}, "memory_size"),
        ({"userspace_addr": 0}, "userspace_addr"),
        ({"gpa": 2 * A}, "userspace_addr"),
        ({"flags": READONLY}, "flags"),
        ({"backing": 2 * MIB}, "backing"),
    ],
)
def test_a_change_that_a_present_slot_forbids_is_einval(change: dict[str, Any], field: str) -> None:
    made = machine()
    set_region(made)

    assert refusal(made, **change) == ("memslot_changed", "EINVAL", field)


def test_a_changed_size_comes_before_the_overlap() -> None:
    made = machine()
    set_region(made, slot=0)
    set_region(made, slot=1, gpa=A + MIB)

    assert refusal(made, slot=0, size=2 * MIB)[0] == "memslot_changed"


def test_delete_of_an_absent_slot_is_einval_after_the_argument_checks() -> None:
    made = machine()

    assert refusal(made, size=0) == ("no_such_memslot", "EINVAL", "slot")
    assert refusal(made, size=0, gpa=1)[2] == "guest_phys_addr"


def test_a_move_ignores_the_slots_own_old_range_and_unmaps_it() -> None:
    made = machine()
    set_region(made, flags=LOG, userspace_addr=A)
    write(made, (A >> 12, 10))

    set_region(made, gpa=A + 4096, flags=LOG, userspace_addr=A)

    assert states(made, (A >> 12) - 1, 300) == [((A >> 12) - 1, 300, None, "unmapped")]
    assert dirty_pages(made.peek_dirty_log(0)) == set(range(10))


def test_a_move_beyond_the_ipa_space_is_efault_with_the_slot_already_unmapped() -> None:
    made = machine(ipa_bits=32)
    set_region(made, flags=LOG, userspace_addr=A)
    write(made, (A >> 12, 10))

    assert refusal(made, gpa=(1 << 32) - 4096, flags=LOG, userspace_addr=A)[1] == "EFAULT"

    assert states(made, A >> 12, 256) == [(A >> 12, 256, None, "unmapped")]
    assert made.peek_dirty_log(0).dirty_count == 10


def test_slots_side_by_side_do_not_overlap() -> None:
    made = machine()

    set_region(made, slot=1, gpa=A)
    set_region(made, slot=2, gpa=A + MIB)
    set_region(made, slot=3, gpa=A - MIB)

    assert [view.slot for view in made.memslots()] == [1, 2, 3]
    for gpa, size in ((A + 4096, 4096), (A - MIB, 3 * MIB), (A - 4096, 8192)):
        assert refusal(made, slot=9, gpa=gpa, size=size)[1] == "EEXIST"


@pytest.mark.parametrize(
    ("caps", "dirty"), [(0, set()), (1, set()), (3, set(range(131)))], ids=["off", "on", "init"]
)
def test_a_new_bitmap_is_zero_or_exactly_npages_bits(caps: int, dirty: set[int]) -> None:
    made = machine(131, base_gfn=5, manual_dirty_log_protect2=caps)

    log = made.peek_dirty_log(0)
    assert log.bitmap is not None
    assert len(log.bitmap.words) == 3
    assert dirty_pages(log) == dirty


def test_a_bitmap_is_kept_while_logging_stays_and_lost_when_it_ends() -> None:
    made = machine(256)
    write(made, (3, 2))
    made.perform(UpdateVm(manual_dirty_log_protect2=3))

    set_region(made, gpa=0, flags=LOG)
    assert dirty_pages(made.peek_dirty_log(0)) == {3, 4}
    set_region(made, gpa=0)
    assert made.memslot(0).dirty_count is None
    set_region(made, gpa=0, flags=LOG)
    assert made.memslot(0).dirty_count == 256


def test_a_read_only_slot_logs_but_its_mappings_may_be_blocks() -> None:
    made = machine(512, flags=LOG | READONLY, backing=2 * MIB)

    read(made, (7, 1))
    made.perform(HostWrite(pages=ranges((7, 1))))

    assert states(made, 0, 512) == [(0, 512, 2, "read_only")]
    assert made.memslot(0).dirty_count == 0


def test_the_footprint_counts_planes_and_bitmap_within_six_bits_a_page() -> None:
    made = machine(1 << 18)
    plan = SetMemslot(slot=1, guest_phys_addr=A, memory_size=GIB, flags=LOG)

    after = made.estimate(plan)

    assert after.pages == 2 << 18
    made.perform(plan)
    assert made.footprint == Footprint(pages=after.pages, state_bytes=after.state_bytes)
    assert after.state_bytes * 8 <= 6 * after.pages
    assert made.estimate(DeleteMemslot(slot=1)).pages == 1 << 18
    made.perform(DeleteMemslot(slot=1))
    made.perform(DeleteMemslot(slot=0))
    assert made.footprint.state_bytes == 0


def test_the_footprint_after_a_refused_change_is_the_refusal_and_changes_nothing() -> None:
    made = machine(ipa_bits=32)
    set_region(made, flags=LOG, userspace_addr=A)
    write(made, (A >> 12, 10))

    for wrong in (
        SetMemslot(
            slot=0, guest_phys_addr=(1 << 32) - 4096, memory_size=MIB, userspace_addr=A, flags=LOG
        ),
        SetMemslot(slot=0, guest_phys_addr=A, memory_size=MIB, userspace_addr=A, flags=8),
        DeleteMemslot(slot=5),
    ):
        with pytest.raises(KvmError):
            made.estimate(wrong)

    assert states(made, A >> 12, 10) == [(A >> 12, 10, 3, "writable_dirty")]


def test_a_slot_of_a_tebibyte_takes_no_memory_before_it_is_used() -> None:
    made = Machine(VmConfig(ipa_bits=41))

    made.perform(SetMemslot(slot=0, guest_phys_addr=0, memory_size=1 << 40, flags=LOG))
    write(made, (123_456_789, 3))

    assert made.memslot(0).dirty_count == 3
    assert states(made, 123_456_788, 3) == [
        (123_456_788, 1, None, "unmapped"),
        (123_456_789, 2, 3, "writable_dirty"),
    ]


def test_the_highest_slot_id_is_32766() -> None:
    made = machine()

    set_region(made, slot=32766)

    assert made.memslot(32766).npages == 256


def test_slots_are_found_by_address() -> None:
    """Slots of one page and more, side by side and apart; ids against the order of addresses."""
    made = machine()
    spans = {7: (2, 1), 0: (3, 1), 5: (4, 3), 1: (9, 2), 2: (11, 1)}
    for slot, (first, count) in spans.items():
        made.perform(SetMemslot(slot=slot, guest_phys_addr=first * 4096, memory_size=count * 4096))

    for gfn in range(14):
        later = [(first, slot) for slot, (first, count) in spans.items() if first + count > gfn]
        found = made._slots.at_or_after(gfn)
        assert (found and found.region.slot) == (min(later)[1] if later else None)
        for end in range(gfn + 1, 15):
            met = [slot for first, slot in sorted(later) if first < end]
            assert [near.region.slot for near in made._slots.around(gfn, end)] == met


def test_slot_0_may_begin_where_another_ends() -> None:
    made = machine()
    set_region(made, slot=0, gpa=A)

    set_region(made, slot=1, gpa=A - MIB)

    assert [view.slot for view in made.memslots()] == [0, 1]


def test_pages_mapped_after_a_move_are_at_the_new_address() -> None:
    """The block boundaries too: at A + 4096 the slot's first page is in no whole block."""
    made = machine()
    kept = {"size": 4 * MIB, "userspace_addr": 0x7000_0000, "backing": 2 * MIB}
    set_region(made, gpa=2 * A, **kept)
    set_region(made, gpa=A + 2 * MIB, **kept)

    write(made, ((A + 2 * MIB) >> 12, 1))

    (run,) = made.stage2((A + 2 * MIB) >> 12, 512, 10).runs
    assert (run.level, run.descriptor & 0xFFFF_FFFF_F000) == (2, A + 2 * MIB)
    set_region(made, gpa=A + 4096, **kept)
    write(made, ((A + 4096) >> 12, 1))
    assert states(made, (A >> 12) + 1, 2) == [
        ((A >> 12) + 1, 1, 3, "writable_dirty"),
        ((A >> 12) + 2, 1, None, "unmapped"),
    ]


def test_generations_count_the_changes_of_memslots() -> None:
    made = machine()
    steps: list[tuple[dict[str, Any], int, int | None]] = [
        ({"slot": 0}, 1, 1),
        ({"slot": 1, "gpa": 2 * A}, 2, 1),
        ({"slot": 0}, 2, 1),  # changes nothing
        ({"slot": 1, "gpa": 2 * A, "flags": LOG}, 3, 1),
        ({"slot": 0, "flags": LOG}, 4, 4),
        ({"slot": 1, "size": 0, "gpa": 0}, 5, 4),
        ({"slot": 0, "size": 0, "gpa": 0}, 6, None),
        ({"slot": 0}, 7, 7),
    ]
    assert (made.generations(0).memslots, made.generations(0).slot) == (0, None)

    for region, memslots, slot_0 in steps:
        set_region(made, **region)

        assert (made.generations(0).memslots, made.generations(0).slot) == (memslots, slot_0)


def test_a_slot_has_one_life_from_its_creation_to_its_deletion_and_so_has_its_log() -> None:
    made = machine()

    def life() -> MemslotLife | None:
        return made.query(GetMemslotLife(slot=3))

    def lived(created: int, log: int | None, gpa: int = A) -> MemslotLife:
        return MemslotLife(slot=3, created=created, log=log, npages=MIB >> 12, base_gfn=gpa >> 12)

    assert life() is None
    set_region(made, 3)
    first = made.query(GetGenerations(slot=3)).slot or 0
    assert life() == lived(first, None)
    set_region(made, 3, flags=LOG)
    second = made.query(GetGenerations(slot=3)).slot or 0
    assert second > first
    assert life() == lived(first, second)
    set_region(made, 3, 2 * A, flags=LOG, userspace_addr=A)
    assert life() == lived(first, second, 2 * A)
    set_region(made, 3, 2 * A, userspace_addr=A)
    assert life() == lived(first, None, 2 * A)
    made.perform(DeleteMemslot(slot=3))
    assert life() is None
    set_region(made, 3, flags=LOG)
    again = made.query(GetGenerations(slot=3)).slot or 0
    assert again > second
    assert life() == lived(again, again)
    assert made.query(ListMemslotLives()) == (life(),)
