"""KVM_SET_USER_MEMORY_REGION: checks in the kernel's order, changes, the bitmap's life."""

from typing import Any

import pytest

from app.sim.actions import (
    HostWrite,
    MachineConfig,
    MemslotChange,
    SetManualProtect,
    SetMemoryRegion,
)
from app.sim.base.errors import KvmError
from app.sim.machine import Machine
from tests.support.building import (
    GIB,
    LOG,
    MIB,
    READONLY,
    machine,
    pages_of,
    ranges,
    read,
    states,
    write,
)

A = 0x4000_0000


def set_region(made: Machine, slot: int = 0, gpa: int = A, size: int = MIB, **rest: Any) -> Any:
    return made.perform(SetMemoryRegion(slot, gpa, size, **rest))


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


def test_a_view_tells_addresses_in_bytes_and_frames() -> None:
    view = set_region(machine(), slot=7, flags=LOG | READONLY, size=MIB + 12288).memslot

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
def test_what_a_present_slot_must_keep_is_einval(change: dict[str, Any], field: str) -> None:
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
    assert pages_of(made.peek_dirty_log(0).bitmap) == set(range(10))


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

    words = made.peek_dirty_log(0).bitmap
    assert words is not None
    assert len(words) == 3
    assert pages_of(words) == dirty


def test_a_bitmap_is_kept_while_logging_stays_and_lost_when_it_ends() -> None:
    made = machine(256)
    write(made, (3, 2))
    made.perform(SetManualProtect(3))

    set_region(made, gpa=0, flags=LOG)
    assert pages_of(made.peek_dirty_log(0).bitmap) == {3, 4}
    set_region(made, gpa=0)
    assert made.memslot(0).dirty_count is None
    set_region(made, gpa=0, flags=LOG)
    assert made.memslot(0).dirty_count == 256


def test_a_read_only_slot_logs_but_its_mappings_may_be_blocks() -> None:
    made = machine(512, flags=LOG | READONLY, backing=2 * MIB)

    read(made, (7, 1))
    made.perform(HostWrite(ranges((7, 1))))

    assert states(made, 0, 512) == [(0, 512, 2, "read_only")]
    assert made.memslot(0).dirty_count == 0


def test_the_footprint_counts_planes_and_bitmap_within_six_bits_a_page() -> None:
    made = machine(1 << 18)
    plan = SetMemoryRegion(1, A, GIB, flags=LOG)

    after = made.footprint_after(plan)

    assert after.pages == 2 << 18
    made.perform(plan)
    assert made.footprint == after
    assert after.state_bytes * 8 <= 6 * after.pages
    assert made.footprint_after(SetMemoryRegion(1)).pages == 1 << 18
    made.perform(SetMemoryRegion(1))
    made.perform(SetMemoryRegion(0))
    assert made.footprint.state_bytes == 0


def test_the_footprint_after_a_refused_change_is_the_refusal_and_changes_nothing() -> None:
    made = machine(ipa_bits=32)
    set_region(made, flags=LOG, userspace_addr=A)
    write(made, (A >> 12, 10))

    for wrong in (
        SetMemoryRegion(0, (1 << 32) - 4096, MIB, A, LOG),
        SetMemoryRegion(0, A, MIB, A, 8),
        SetMemoryRegion(5),
    ):
        with pytest.raises(KvmError):
            made.footprint_after(wrong)

    assert states(made, A >> 12, 10) == [(A >> 12, 10, 3, "writable_dirty")]


def test_a_slot_of_a_tebibyte_takes_no_memory_before_it_is_used() -> None:
    made = Machine(MachineConfig(ipa_bits=41))

    made.perform(SetMemoryRegion(0, 0, 1 << 40, flags=LOG))
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
