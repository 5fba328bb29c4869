"""Named bit fields of a 64-bit value, written as the Arm ARM writes them: [hi:lo], inclusive."""

from dataclasses import dataclass


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
        """Shift a field's value into place (FIELD_PREP); ValueError if it does not fit."""
        if field < 0 or field >> self.width:
            raise ValueError(
                f"[{self.hi}:{self.lo}] must be 0..{(1 << self.width) - 1}, not {field}"
            )
        return field << self.lo
