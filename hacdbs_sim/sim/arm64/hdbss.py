"""HDBSS entries: what the HACDBS unit reads, one 64-bit entry a page to clean.

    63      56 55                                 12 11 10       4 3    1 0
    +---------+-------------------------------------+--+----------+------+-+
    |  RES0   |              IPA                    |NS|   RES0   | TTWL |V|
    +---------+-------------------------------------+--+----------+------+-+

V is Valid: an entry without it is skipped. TTWL is the walk level of the leaf, a signed 3-bit number;
-4, -3 and -2 are not levels, so an entry with one stops the unit (Arm ARM DDI 0487, table D8-93;
docs/kernel.md D). The kernel ends a short array by such a stop entry.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hacdbs_sim.sim.base.bits import Bits

VALID: Final = Bits(0, 0)
TTWL: Final = Bits(3, 1)
IPA: Final = Bits(55, 12)

TTWL_RESERVED: Final = -4
"""HDBSS_ENTRY_TTWL_RESV: the level of a stop entry."""


@dataclass(frozen=True, slots=True)
class HdbssEntry:
    """One entry, decoded. `ipa` in bytes, a multiple of 4096; `ttwl` -4..3."""

    valid: bool
    ttwl: int
    ipa: int

    def encode(self) -> int:
        """Pack the entry.

        Raises:
            ValueError: the IPA is not one of a page below 2**56, or TTWL does not fit.
        """
        if self.ipa & ~IPA.mask:
            raise ValueError(f"ipa must be a multiple of 4096 below 2**56, not {self.ipa:#x}")
        if not -4 <= self.ttwl <= 3:
            raise ValueError(f"ttwl must be -4..3, not {self.ttwl}")
        return self.ipa | TTWL.prep(self.ttwl & 7) | VALID.prep(self.valid)

    @classmethod
    def decode(cls, raw: int) -> "HdbssEntry":
        """Unpack an entry; RES0 bits are ignored."""
        return cls(bool(VALID.get(raw)), _signed_level(TTWL.get(raw)), raw & IPA.mask)


STOP_ENTRY: Final = HdbssEntry(valid=True, ttwl=TTWL_RESERVED, ipa=0)
"""Ends an array that is not full: no level is -4, so the unit stops there by IPAHACF."""


def encode_entries(ipas: NDArray[np.uint64], ttwl: int) -> NDArray[np.uint64]:
    """Pack valid entries of one level: uint64[k] byte addresses to uint64[k] entries.

    Raises:
        ValueError: an IPA is not one of a page below 2**56, or TTWL does not fit.
    """
    low = HdbssEntry(valid=True, ttwl=ttwl, ipa=0).encode()
    if bool((ipas & ~np.uint64(IPA.mask)).any()):
        raise ValueError("ipa must be a multiple of 4096 below 2**56 in each element")
    return ipas | np.uint64(low)


def decode_entries(
    raw: NDArray[np.uint64],
) -> tuple[NDArray[np.bool_], NDArray[np.int8], NDArray[np.uint64]]:
    """Unpack entries, uint64[k]: valid bool[k], ttwl int8[k] (-4..3), ipa uint64[k] in bytes."""
    level = TTWL.get_each(raw).astype(np.int8)
    return (
        VALID.get_each(raw) != 0,
        np.where(level > 3, level - 8, level).astype(np.int8),
        raw & np.uint64(IPA.mask),
    )


def _signed_level(field: int) -> int:
    return field - 8 if field > 3 else field
