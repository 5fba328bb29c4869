"""Stage-2 leaves: their states and their 64-bit descriptors.

    63      55 54 53 52 51 50 48 47            12 11 10 9  8 7  6 5     2 1 0
    +---------+-----+--+--+-----+----------------+--+--+----+----+-------+-+-+
    |         | XN  |C |D |     | output address |  |AF| SH |S2AP|MemAttr|T|V|
    +---------+-----+--+--+-----+----------------+--+--+----+----+-------+-+-+

D is DBM, C Contiguous (never set here), T page (1) or block (0). Direct permissions come from DBM
and S2AP[1] (docs/kernel.md B.5; Arm ARM DDI 0487, D8.3 and D8.4).
"""

from enum import IntEnum
from typing import Final

from hacdbs_sim.model import LeafState
from hacdbs_sim.model.units import PAGE_LEVEL
from hacdbs_sim.sim.base.bits import Bits

VALID: Final = Bits(0, 0)
TYPE: Final = Bits(1, 1)
MEM_ATTR: Final = Bits(5, 2)
S2AP: Final = Bits(7, 6)
SH: Final = Bits(9, 8)
AF: Final = Bits(10, 10)
OUTPUT_ADDRESS: Final = Bits(47, 12)
DBM: Final = Bits(51, 51)

NORMAL_WRITE_BACK: Final = 0b1111
INNER_SHAREABLE: Final = 0b11
S2AP_READ: Final = 0b01
S2AP_WRITE: Final = 0b10


class Leaf(IntEnum):
    """The bits of a leaf's byte, one for each plane; 0 is unmapped.

    Bits for ints and arrays of bytes. An IntFlag would make a flag of each result: 0.6 us instead of
    0.03, and a write fault tests three.
    """

    NONE = 0
    MAPPED = 1
    WRITABLE = 2
    """S2AP[1]."""
    DBM = 4


READ_ONLY: Final = Leaf.MAPPED
READ_WRITE: Final = Leaf.MAPPED | Leaf.WRITABLE
WRITABLE_CLEAN: Final = Leaf.MAPPED | Leaf.DBM
WRITABLE_DIRTY: Final = Leaf.MAPPED | Leaf.WRITABLE | Leaf.DBM


STATES: Final[dict[int, LeafState]] = {
    Leaf.NONE: LeafState.UNMAPPED,
    READ_ONLY: LeafState.READ_ONLY,
    READ_WRITE: LeafState.READ_WRITE,
    WRITABLE_CLEAN: LeafState.WRITABLE_CLEAN,
    WRITABLE_DIRTY: LeafState.WRITABLE_DIRTY,
}


def leaf_descriptor(leaf: int, level: int, ipa: int) -> int:
    """Return the descriptor of a leaf with these `Leaf` bits, MAPPED among them.

    Normal write-back memory, AF 1, output address = IPA.
    """
    return (
        VALID.prep(1)
        | TYPE.prep(level == PAGE_LEVEL)
        | MEM_ATTR.prep(NORMAL_WRITE_BACK)
        | S2AP.prep(S2AP_READ | (S2AP_WRITE if leaf & Leaf.WRITABLE else 0))
        | SH.prep(INNER_SHAREABLE)
        | AF.prep(1)
        | (ipa & OUTPUT_ADDRESS.mask)
        | DBM.prep(1 if leaf & Leaf.DBM else 0)
    )
