"""One host CPU's HACDBS unit: walks an array of 64-bit HDBSS entries, one entry at a time.

Entries: [55:12] IPA, [3:1] TTWL (signed), [0] valid; HACDBSCONS_EL2: [63:62] ERR_REASON, [18:0]
INDEX (docs/kernel.md D, where the rules for each entry are too).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from hacdbs_sim.model import (
    CpuInfo,
    ErrReasonName,
    HacdbsbrInfo,
    HacdbsconsInfo,
    LeafState,
    UnitStatus,
)
from tests.support.scalar_stage2 import ScalarStage2

IPA_MASK: Final = ((1 << 56) - 1) & ~((1 << 12) - 1)
STOP_TTWL: Final = -4
REASONS: Final = ("NOF", "STRUCTF", "IPAF", "IPAHACF")
ENABLE: Final = 1 << 11

Strike: TypeAlias = Callable[[int, int], str | None]
"""Asked with (index, gfn) at each entry that is sound: a reason to stop there, or None."""


def encode_entry(ipa: int, ttwl: int) -> int:
    return (ipa & IPA_MASK) | (ttwl & 0b111) << 1 | 1


def decode_entry(entry: int) -> tuple[bool, int, int]:
    """Return (valid, TTWL, IPA)."""
    ttwl = entry >> 1 & 0b111
    return bool(entry & 1), ttwl - 8 if ttwl & 0b100 else ttwl, entry & IPA_MASK


@dataclass(slots=True)
class ScalarUnit:
    """A unit, its registers and its counters."""

    cpu: int
    built: bool
    online: bool = True
    hacdbsbr: int = 0
    hacdbscons: int = 0
    interrupts: int = 0
    runs: int = 0
    entries: int = 0
    cleaned: int = 0

    @property
    def status(self) -> UnitStatus:
        return UnitStatus.IDLE if self.built and self.online else UnitStatus.OFF

    def run(self, array: list[int], stage2: ScalarStage2, strike: Strike) -> tuple[str, int]:
        """Process a whole array; return the reason and the INDEX at which the unit ended."""
        self.hacdbsbr = ENABLE | (len(array) * 8).bit_length() - 13
        self.hacdbscons = 0
        index = 0
        reason = "NOF"
        while index < len(array):
            stop = _process(array[index], index, stage2, strike)
            if stop is not None:
                reason = stop
                break
            index += 1
        self.hacdbscons = REASONS.index(reason) << 62 | index
        self.hacdbsbr = 0
        return reason, index

    def view(self) -> CpuInfo:
        return CpuInfo(
            cpu=self.cpu,
            online=self.online,
            status=self.status,
            hacdbsbr_el2=HacdbsbrInfo(
                raw=self.hacdbsbr,
                baddr=self.hacdbsbr & IPA_MASK,
                en=bool(self.hacdbsbr & ENABLE),
                sz=self.hacdbsbr & 0b1111,
            ),
            hacdbscons_el2=HacdbsconsInfo(
                raw=self.hacdbscons,
                err_reason=ErrReasonName(REASONS[self.hacdbscons >> 62]),
                index=self.hacdbscons & (1 << 19) - 1,
            ),
            interrupts=self.interrupts,
            runs=self.runs,
            entries=self.entries,
            cleaned=self.cleaned,
        )


def _process(entry: int, index: int, stage2: ScalarStage2, strike: Strike) -> str | None:
    valid, ttwl, ipa = decode_entry(entry)
    if not valid:
        return None
    if ttwl not in {-1, 0, 1, 2, 3}:
        return "IPAHACF"
    gfn = ipa // stage2.page_size
    leaf = stage2.leaf_of(gfn)
    if leaf is None:
        return "IPAF"
    clean_or_dirty = {LeafState.WRITABLE_CLEAN, LeafState.WRITABLE_DIRTY}
    if leaf[0] != ttwl or stage2.leaves[leaf] not in clean_or_dirty:
        return "IPAHACF"
    struck = strike(index, gfn)
    if struck is None:
        stage2.leaves[leaf] = LeafState.WRITABLE_CLEAN
    return struck
