"""Named bit fields of a 64-bit value, written as the Arm ARM writes them: [hi:lo], inclusive."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Bits:
    """The field [hi:lo] of a 64-bit register, descriptor or entry.

    >>> Bits(3, 1).prep(3), Bits(3, 1).get(0b0110), hex(Bits(55, 12).mask)
    (6, 3, '0xfffffffffff000')
    """

    hi: int
    lo: int

    @property
    def width(self) -> int:
        """The field's width in bits."""
        return self.hi - self.lo + 1

    @property
    def mask(self) -> int:
        """The field's mask, in place (GENMASK)."""
        return ((1 << self.width) - 1) << self.lo

    def get(self, value: int) -> int:
        """Extract the field, shifted down (FIELD_GET)."""
        return (value & self.mask) >> self.lo

    def prep(self, field: int) -> int:
        """Shift a field's value into place (FIELD_PREP).

        Raises:
            ValueError: the value does not fit.
        """
        if field < 0 or field >> self.width:
            raise ValueError(
                f"[{self.hi}:{self.lo}] must be 0..{(1 << self.width) - 1}, not {field}"
            )
        return field << self.lo

    def get_each(self, values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Extract the field of every element, shifted down: uint64[k] to uint64[k]."""
        return (values & np.uint64(self.mask)) >> np.uint64(self.lo)

    def prep_each(self, fields: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Shift every element into place: uint64[k] to uint64[k].

        Raises:
            ValueError: an element does not fit.
        """
        if self.width < 64 and bool((fields >> np.uint64(self.width)).any()):
            raise ValueError(
                f"[{self.hi}:{self.lo}] must be 0..{(1 << self.width) - 1} in each element"
            )
        return fields << np.uint64(self.lo)
