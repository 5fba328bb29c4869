"""Each refusal names the field, its bound and the value, and has one sentence with all three."""

from typing import Any

import pytest

from hacdbs_sim.model import (
    Bitmap,
    ClearDirtyLog,
    GetDirtyLog,
    GuestWrite,
    PageSet,
    SetMemslot,
    VmConfig,
)
from hacdbs_sim.model.errors import KvmError
from tests.support.building import LOG, MIB, READONLY, bitmap, gfns, machine, ranges
from tests.support.machine import Machine

A = 0x4000_0000
NOTHING: Any = ranges()


def refused(made: Machine, action: Any) -> tuple[str | None, object, object, str]:
    with pytest.raises(KvmError) as caught:
        made.perform(action)
    error = caught.value
    assert str(error) == error.detail
    return error.field, error.bound, error.value, error.detail


@pytest.mark.parametrize(
    ("region", "field", "bound", "value", "detail"),
    [
        ({"slot": 32767}, "slot", 32766, 32767, "slot must be 0..32766, not 32767"),
        ({"slot": -1}, "slot", 32766, -1, "slot must be 0..32766, not -1"),
        (
            {"flags": 12},
            "flags",
            3,
            12,
            "flags must be made of LOG_DIRTY_PAGES (1) and READONLY (2), not 0xc",
        ),
        (
            {"memory_size": 4097},
            "memory_size",
            4096,
            "0x1001",
            "memory_size must be a multiple of the page size, 4096, below 2**64, not 0x1001",
        ),
        (
            {"memory_size": 1 << 64},
            "memory_size",
            4096,
            "0x10000000000000000",
            (
                "memory_size must be a multiple of the page size, 4096, below 2**64, "
                "not 0x10000000000000000"
            ),
        ),
        (
            {"guest_phys_addr": 2},
            "guest_phys_addr",
            4096,
            "0x2",
            "guest_phys_addr must be a multiple of the page size, 4096, below 2**64, not 0x2",
        ),
        (
            {"guest_phys_addr": -4096},
            "guest_phys_addr",
            4096,
            "-0x1000",
            "guest_phys_addr must be a multiple of the page size, 4096, below 2**64, not -0x1000",
        ),
        (
            {"userspace_addr": 0x801},
            "userspace_addr",
            4096,
            "0x801",
            "userspace_addr must be a multiple of the page size, 4096, below 2**64, not 0x801",
        ),
        (
            {"userspace_addr": (1 << 52) - 4096, "memory_size": 8192},
            "userspace_addr",
            "0x10000000000000",
            "0xffffffffff000",
            "userspace_addr + memory_size must be at most 0x10000000000000, not 0x10000000001000",
        ),
        (
            {"guest_phys_addr": (1 << 64) - 4096, "userspace_addr": 0, "memory_size": 4096},
            "guest_phys_addr",
            "2**64",
            "0xfffffffffffff000",
            "guest_phys_addr + memory_size must be below 2**64, not 0x10000000000000000",
        ),
        (
            {"memory_size": 1 << 43, "userspace_addr": 0},
            "memory_size",
            ((1 << 31) - 1) * 4096,
            1 << 43,
            "memory_size must be at most 2147483647 pages, not 2147483648",
        ),
        (
            {"backing": 8192},
            "backing",
            1 << 30,
            8192,
            "backing must be one of 4096, 2097152, 1073741824 for pages of 4096 bytes, not 8192",
        ),
        (
            {"memory_size": 0},
            "slot",
            None,
            5,
            "slot 5 does not exist, so it cannot be deleted",
        ),
        (
            {"guest_phys_addr": A + MIB, "memory_size": 2 * MIB},
            "guest_phys_addr",
            "outside slot 0",
            "0x40100000",
            (
                "guest_phys_addr must keep clear of slot 0, which has 0x40200000 to 0x40300000, "
                "not 0x40100000 with size 0x200000"
            ),
        ),
        (
            {"guest_phys_addr": (1 << 40) - 4096, "memory_size": 8192},
            "guest_phys_addr",
            "0x10000000000",
            "0xfffffff000",
            (
                "guest_phys_addr + memory_size must be at most 0x10000000000, the end of the IPA "
                "space, not 0x10000001000"
            ),
        ),
        (
            {"slot": 0, "guest_phys_addr": A + 2 * MIB, "memory_size": 2 * MIB, "flags": 1},
            "memory_size",
            "0x100000",
            "0x200000",
            "memory_size of slot 0 must stay 0x100000, not 0x200000: delete the slot first",
        ),
        (
            {"slot": 0, "guest_phys_addr": A + 2 * MIB, "flags": LOG | READONLY},
            "flags",
            1,
            3,
            "flags of slot 0 must keep READONLY as it is: delete the slot first",
        ),
    ],
)
def test_a_region_is_refused_by_field_bound_and_value(
    region: dict[str, Any], field: str, bound: object, value: object, detail: str
) -> None:
    made = machine()
    made.perform(SetMemslot(slot=0, guest_phys_addr=A + 2 * MIB, memory_size=MIB, flags=LOG))
    given = {"slot": 5, "guest_phys_addr": A, "memory_size": MIB} | region

    assert refused(made, SetMemslot(**given)) == (field, bound, value, detail)


@pytest.mark.parametrize(
    "region",
    [
        {"slot": 0},
        {"slot": 32766},
        {"guest_phys_addr": (1 << 40) - MIB},
        {"userspace_addr": (1 << 52) - MIB},
        {"userspace_addr": 0},
        {"flags": LOG | READONLY},
        {"backing": 1 << 30},
    ],
)
def test_a_region_at_the_edge_is_taken(region: dict[str, Any]) -> None:
    made = machine()

    made.perform(SetMemslot(**({"slot": 1, "guest_phys_addr": A, "memory_size": MIB} | region)))

    assert len(made.memslots()) == 1


def test_the_largest_slot_has_one_page_less_than_2_to_the_31() -> None:
    made = Machine(VmConfig(ipa_bits=48))

    made.perform(SetMemslot(slot=0, guest_phys_addr=0, memory_size=((1 << 31) - 1) * 4096))

    assert made.memslot(0).npages == (1 << 31) - 1


def test_a_query_of_an_absent_slot_names_it() -> None:
    with pytest.raises(KvmError) as caught:
        machine().memslot(9)

    assert (caught.value.field, caught.value.value) == ("slot", 9)
    assert caught.value.detail == "slot 9 does not exist"


@pytest.mark.parametrize(
    ("action", "field", "bound", "value", "detail"),
    [
        (GetDirtyLog(slot=40000), "slot", 32766, 40000, "slot must be 0..32766, not 40000"),
        (GetDirtyLog(slot=5), "slot", None, 5, "slot 5 does not exist"),
        (
            GetDirtyLog(slot=1),
            "slot",
            None,
            1,
            "slot 1 has no dirty log: LOG_DIRTY_PAGES is not set on it",
        ),
        (
            ClearDirtyLog(slot=0, pages=NOTHING, first_page=33),
            "first_page",
            64,
            33,
            "first_page must be a multiple of 64, not 33",
        ),
        (
            ClearDirtyLog(slot=0, pages=NOTHING, first_page=192),
            "first_page",
            130,
            192,
            "first_page must be at most 130, the slot's npages, not 192",
        ),
        (
            ClearDirtyLog(slot=0, pages=NOTHING, first_page=64, num_pages=67),
            "num_pages",
            66,
            67,
            "num_pages must be at most 66, up to the slot's end, not 67",
        ),
        (
            ClearDirtyLog(slot=0, pages=NOTHING, first_page=64, num_pages=65),
            "num_pages",
            64,
            65,
            "num_pages must be a multiple of 64, or 66 to reach the slot's end, not 65",
        ),
        (
            ClearDirtyLog(slot=0, pages=bitmap(64, set())),
            "bitmap",
            24,
            8,
            "bitmap must be 24 bytes for 130 pages, not 8",
        ),
        (
            ClearDirtyLog(slot=0, pages=bitmap(256, set()), first_page=64, num_pages=64),
            "bitmap",
            8,
            32,
            "bitmap must be 8 bytes for 64 pages, not 32",
        ),
        (
            ClearDirtyLog(slot=0, pages=ranges((64, 3), (128, 3), (0, 1)), first_page=64),
            "page_ranges",
            "64..129",
            "[128, 3]",
            "page_ranges must lie in pages 64..129 of the slot, not [128, 3]",
        ),
        (
            ClearDirtyLog(slot=0, pages=ranges((0, 65), (0, 64)), num_pages=64),
            "page_ranges",
            "0..63",
            "[0, 65]",
            "page_ranges must lie in pages 0..63 of the slot, not [0, 65]",
        ),
        (
            ClearDirtyLog(slot=0, pages=ranges((63, 1)), first_page=64),
            "page_ranges",
            "64..129",
            "[63, 1]",
            "page_ranges must lie in pages 64..129 of the slot, not [63, 1]",
        ),
        (
            ClearDirtyLog(slot=0, pages=ranges((131, 2**64 - 1))),
            "page_ranges",
            "0..129",
            "[131, 18446744073709551615]",
            "page_ranges must lie in pages 0..129 of the slot, not [131, 18446744073709551615]",
        ),
        (
            ClearDirtyLog(slot=0, pages=ranges((0, 1)), num_pages=0),
            "page_ranges",
            "none",
            "[0, 1]",
            "page_ranges must be empty, as the window is, not [0, 1]",
        ),
    ],
)
def test_a_dirty_log_call_is_refused_by_field_bound_and_value(
    action: GetDirtyLog | ClearDirtyLog, field: str, bound: object, value: object, detail: str
) -> None:
    made = machine(130)
    made.perform(SetMemslot(slot=1, guest_phys_addr=MIB, memory_size=MIB))

    assert refused(made, action) == (field, bound, value, detail)


@pytest.mark.parametrize(
    ("pages", "first_page", "num_pages"),
    [
        (ranges((64, 66)), 64, 66),  # a ragged end that is the slot's own
        (ranges((64, 64)), 64, 64),
        (ranges((128, 2)), 128, None),
        (ranges((129, 1)), 64, None),
        (ranges((127, 1), (64, 2)), 64, 64),
        (ranges((0, 130)), 0, 130),
        (Bitmap(bitmap(66, {65}).words), 64, 66),
        (NOTHING, 0, 0),
    ],
)
def test_a_window_at_the_edge_is_taken(pages: Any, first_page: int, num_pages: int | None) -> None:
    outcome = machine(130).perform(
        ClearDirtyLog(slot=0, pages=pages, first_page=first_page, num_pages=num_pages)
    )

    assert outcome.num_pages == (130 - first_page if num_pages is None else num_pages)


END = 1 << 20
"""End of the IPA space in pages, at 32 bits."""


@pytest.mark.parametrize(
    ("batch", "field", "value"),
    [
        (gfns(3, END), "gfns", END),
        (gfns(END + 5, END + 9, 2**64 - 1), "gfns", 2**64 - 1),
        (ranges((END, 5)), "gfn_ranges", END),
        (ranges((END - 1, 5)), "gfn_ranges", END + 3),
        (ranges((3, 1), (END - 2, 3)), "gfn_ranges", END),
        (ranges((1, 2**64 - 1)), "gfn_ranges", 2**64 - 1),
        (ranges((0, END + 1), (1, END - 1)), "gfn_ranges", END),
    ],
)
def test_a_batch_beyond_the_ipa_space_is_refused_by_field_bound_and_value(
    batch: PageSet, field: str, value: int
) -> None:
    assert refused(machine(64, ipa_bits=32), GuestWrite(pages=batch)) == (
        field,
        END - 1,
        value,
        f"{field} must stay below gfn {END}, the end of the IPA space, not {value}",
    )


@pytest.mark.parametrize(
    ("batch", "pages"), [(gfns(END - 1), 1), (ranges((END - 1, 1)), 1), (ranges((0, END)), END)]
)
def test_a_batch_may_reach_the_end_of_the_ipa_space(batch: PageSet, pages: int) -> None:
    made = machine(64, base_gfn=END - 64, ipa_bits=32)

    outcome = made.perform(GuestWrite(pages=batch))

    assert outcome.pages == pages
    assert outcome.newly_dirty == min(pages, 64)
