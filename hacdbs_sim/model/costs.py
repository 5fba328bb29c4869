"""What counted events cost in virtual time: every knob an integer of picoseconds.

Defaults come from published figures where there are some (docs/kernel.md E.3, by the number of the
row); a knob without one is marked as an assumption. HACDBS has none at all: no silicon that has it
has been measured in the open. Costs are sums of counts times knobs, rounded down to nanoseconds once.
"""

from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Final

from hacdbs_sim.model.accesses import AccessOutcome
from hacdbs_sim.model.base import Model, Request, known
from hacdbs_sim.model.dirty_log import AcceleratorOutcome, AcceleratorReport, DirtyLog
from hacdbs_sim.model.kinds import Boolean, Count, whole
from hacdbs_sim.model.units import PAGES_PER_WORD

MAX_COST_PS: Final = 10**12
"""One second: more than any single event costs."""

CostPs = Annotated[int, whole(0, MAX_COST_PS)]
PS_PER_NS: Final = 1000


def _knob(default: int, source: str) -> Any:  # noqa: ANN401 - a field, as `dataclasses.field` is
    """Declare a knob; a source that names no row of E.3 makes it an assumption."""
    return field(default=default, metadata={"source": source})


@dataclass(frozen=True, slots=True, kw_only=True)
class CostModel(Request):
    """The knobs, in picoseconds an event."""

    translation_fault_ps: CostPs = _knob(
        2_480_000,
        "E.3 #6: 0.65 s for the 262,144 pages of 1 GiB touched by 1 vCPU, lazy splits in it",
    )
    permission_fault_ps: CostPs = _knob(
        260_000, "E.3 #16: 260 ns of a vCPU for each page that is dirtied again"
    )
    lazy_split_ps: CostPs = _knob(
        0, "a lazy split is part of the faults that E.3 #6 measured; more for a slower allocator"
    )
    mmio_exit_ps: CostPs = _knob(2_000_000, "an exit to userspace and back; no figure in E.3")
    ioctl_ps: CostPs = _knob(300_000, "entry, locks and exit of an ioctl; no figure in E.3")
    copy_word_ps: CostPs = _knob(1_780, "E.3 #10: 0.7 ms to get the log of 96 GiB, 393,216 words")
    scan_word_ps: CostPs = _knob(500, "one word of a bitmap read and found empty")
    software_page_ps: CostPs = _knob(
        19_400,
        "E.3 #1: 650 ms to write-protect the 33,554,432 pages of 128 GiB; the band is 13-75 ns",
    )
    software_word_ps: CostPs = _knob(
        0, "a walk from the root for each word is part of E.3 #1; more where dirty pages lie apart"
    )
    block_split_ps: CostPs = _knob(
        31_700_000,
        "E.3 #2: 2.468 s to split the 77,824 blocks of 152 GiB, a table of 512 pages each",
    )
    tlb_flush_ps: CostPs = _knob(2_000_000, "TLBI of a whole VMID and its DSB; no figure in E.3")
    hook_ps: CostPs = _knob(
        500_000, "HACDBS: no figure exists. The array's page and the checks of one call of the hook"
    )
    run_ps: CostPs = _knob(
        2_000_000, "HACDBS: no figure exists. Registers, barriers and the interrupt of one run"
    )
    entry_fill_ps: CostPs = _knob(
        1_500, "HACDBS: no figure exists. The CPU turns one bit into one entry of the array"
    )
    entry_clean_ps: CostPs = _knob(
        5_000, "HACDBS: no figure exists. The unit reads an entry, walks and makes the page clean"
    )
    enable_page_ps: CostPs = _knob(
        19_400, "E.3 #1: 650 ms to write-protect 128 GiB when a slot begins to log"
    )
    enable_initially_set_page_ps: CostPs = _knob(
        54, "E.3 #1: 1.8 ms to begin to log 128 GiB with the bits initially set"
    )

    def access_ps(self, accesses: AccessOutcome) -> int:
        """Return what accesses cost the vCPUs that made them: picoseconds of one vCPU."""
        return (
            known(accesses.translation_faults) * self.translation_fault_ps
            + known(accesses.permission_faults) * self.permission_fault_ps
            + known(accesses.block_splits) * self.lazy_split_ps
            + accesses.mmio_exits * self.mmio_exit_ps
        )

    def dirty_log_ns(self, done: DirtyLog) -> int:
        """Return how long a get or a clear takes, in nanoseconds: it copies a bitmap out, or in.

        Only where the hook was called is the log itself gone through.
        """
        words = -(-done.num_pages // PAGES_PER_WORD)
        cost_ps = self.ioctl_ps + words * self.copy_word_ps
        cost_ps += known(done.flush_tlb) * self.tlb_flush_ps
        if done.accelerator is not None:
            cost_ps += words * self.scan_word_ps + self._hook_ps(done.accelerator)
        software = known(done.software)
        cost_ps += software.words * self.software_word_ps + software.pages * self.software_page_ps
        cost_ps += software.blocks_split * self.block_split_ps
        return cost_ps // PS_PER_NS

    def enable_logging_ns(self, npages: int, *, initially_set: bool, blocks_split: int = 0) -> int:
        """Return how long it takes until a slot logs, in nanoseconds."""
        page_ps = self.enable_initially_set_page_ps if initially_set else self.enable_page_ps
        split_ps = blocks_split * self.block_split_ps
        return (self.ioctl_ps + npages * page_ps + split_ps) // PS_PER_NS

    def _hook_ps(self, hook: AcceleratorReport) -> int:
        if hook.outcome is AcceleratorOutcome.DECLINED:
            return 0
        return (
            self.hook_ps
            + hook.batches * self.run_ps
            + hook.entries * self.entry_fill_ps
            + hook.cleaned * self.entry_clean_ps
            + hook.blocks_split * self.block_split_ps
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob(Model):
    """A knob of the cost model."""

    name: str
    """Its field."""
    unit: str
    """Its unit."""
    default: Count
    """Its default."""
    assumption: Boolean
    """Whether no published figure supports it."""
    source: str
    """Where the default comes from."""


def _knobs() -> tuple[Knob, ...]:
    defaults = CostModel()
    return tuple(
        Knob(
            name=knob.name,
            unit="ps",
            default=getattr(defaults, knob.name),
            assumption=not knob.metadata["source"].startswith("E.3 #"),
            source=knob.metadata["source"],
        )
        for knob in fields(CostModel)
    )


KNOBS: Final = _knobs()
