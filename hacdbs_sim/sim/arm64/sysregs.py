"""HACDBSBR_EL2 and HACDBSCONS_EL2 (Arm ARM DDI 0487, D24.2.58 and D24.2.59; docs/kernel.md D).

HACDBSBR_EL2    [55:12] BADDR  [11] EN  [3:0] SZ: 0..9 is 4 KiB..2 MiB
HACDBSCONS_EL2  [63:62] ERR_REASON      [18:0] INDEX: the next entry to be read
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from hacdbs_sim.sim.base.bits import Bits

BADDR: Final = Bits(55, 12)
EN: Final = Bits(11, 11)
SZ: Final = Bits(3, 0)
ERR_REASON: Final = Bits(63, 62)
INDEX: Final = Bits(18, 0)

MAX_SZ: Final = 9


class ErrReason(IntEnum):
    """HACDBSCONS_EL2.ERR_REASON."""

    NOF = 0
    STRUCTF = 1
    IPAF = 2
    IPAHACF = 3


@dataclass(frozen=True, slots=True)
class Hacdbsbr:
    """HACDBSBR_EL2: where the array is (`baddr` in bytes, aligned to its size), EN and SZ."""

    baddr: int = 0
    en: bool = False
    sz: int = 0

    @property
    def entries(self) -> int:
        """The array's length in entries."""
        return (1 << self.sz + 12) // 8

    def encode(self) -> int:
        """Pack the register (ValueError for a reserved SZ, or a BADDR not aligned to it)."""
        if not 0 <= self.sz <= MAX_SZ:
            raise ValueError(f"sz must be 0..{MAX_SZ}, not {self.sz}")
        if self.baddr & ~BADDR.mask or self.baddr % (1 << self.sz + 12):
            raise ValueError(f"baddr must be a multiple of the array's size, not {self.baddr:#x}")
        return self.baddr | EN.prep(self.en) | SZ.prep(self.sz)

    @classmethod
    def decode(cls, raw: int) -> "Hacdbsbr":
        """Unpack the register; RES0 bits are ignored."""
        return cls(raw & BADDR.mask, bool(EN.get(raw)), SZ.get(raw))


@dataclass(frozen=True, slots=True)
class Hacdbscons:
    """HACDBSCONS_EL2: why the unit stopped, and the next entry to be read."""

    err_reason: ErrReason = ErrReason.NOF
    index: int = 0

    def encode(self) -> int:
        """Pack the register (ValueError if INDEX does not fit)."""
        return ERR_REASON.prep(self.err_reason) | INDEX.prep(self.index)

    @classmethod
    def decode(cls, raw: int) -> "Hacdbscons":
        """Unpack the register; RES0 bits are ignored."""
        return cls(ErrReason(ERR_REASON.get(raw)), INDEX.get(raw))
