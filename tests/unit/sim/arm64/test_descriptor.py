"""Stage-2 leaf descriptors bit by bit (Arm ARM DDI 0487, D8.3; docs/kernel.md B.5)."""

import pytest

from hacdbs_sim.sim.arm64 import descriptor
from hacdbs_sim.sim.arm64.descriptor import (
    READ_ONLY,
    READ_WRITE,
    STATES,
    WRITABLE_CLEAN,
    WRITABLE_DIRTY,
    Leaf,
    leaf_descriptor,
)

AF, SH, NORMAL, VALID = 1 << 10, 0b11 << 8, 0b1111 << 2, 1
DBM, S2AP_WRITE, S2AP_READ, PAGE = 1 << 51, 1 << 7, 1 << 6, 1 << 1
COMMON = AF | SH | NORMAL | VALID | S2AP_READ


@pytest.mark.parametrize(
    ("leaf", "bits"),
    [
        (READ_ONLY, 0),
        (READ_WRITE, S2AP_WRITE),
        (WRITABLE_CLEAN, DBM),
        (WRITABLE_DIRTY, DBM | S2AP_WRITE),
    ],
)
@pytest.mark.parametrize(("level", "kind"), [(1, 0), (2, 0), (3, PAGE)])
def test_permissions_and_level_have_their_bits(
    leaf: Leaf, bits: int, level: int, kind: int
) -> None:
    assert leaf_descriptor(leaf, level, 0x4000_0000) == COMMON | bits | kind | 0x4000_0000


def test_fields_cover_their_bits_in_the_manual() -> None:
    assert (descriptor.VALID.mask, descriptor.TYPE.mask) == (VALID, PAGE)
    assert (descriptor.MEM_ATTR.mask, descriptor.SH.mask, descriptor.AF.mask) == (NORMAL, SH, AF)
    assert (descriptor.S2AP.mask, descriptor.DBM.mask) == (S2AP_READ | S2AP_WRITE, DBM)
    assert descriptor.OUTPUT_ADDRESS.mask == 0xFFFF_FFFF_F000


@pytest.mark.parametrize("bit", [12, 13, 39, 46, 47])
def test_the_output_address_is_the_ipa_up_to_bit_47(bit: int) -> None:
    assert leaf_descriptor(READ_ONLY, 3, 1 << bit) == COMMON | PAGE | 1 << bit


def test_each_state_has_the_name_of_its_permissions() -> None:
    assert {leaf: state.value for leaf, state in STATES.items()} == {
        0: "unmapped",
        1: "read_only",
        3: "read_write",
        5: "writable_clean",
        7: "writable_dirty",
    }
