"""How a get or a clear of the dirty log was done, as frozen values."""

from hacdbs_sim.client.answers import Answer


class EntryError(Answer):
    """Where the unit stopped, and why."""

    reason: str
    batch: int
    index: int
    gfn: int | None


class Run(Answer):
    """One run of the unit."""

    size: int
    cleaned: int
    first_gfn: int
    last_gfn: int
    ttwl: int


class Accelerator(Answer):
    """What the architecture's hook did before the software; `trace` only where asked for."""

    cpu: int
    outcome: str
    errno: str | None
    batches: int
    entries: int
    cleaned: int
    requeued: int
    blocks_split: int
    error: EntryError | None
    trace: list[Run] | None = None
    trace_omitted: int | None = None


class Software(Answer):
    """What software cleaning did."""

    ran: bool
    words: int
    pages: int
    write_protected: int
    blocks_split: int


class CleaningReport(Answer):
    """How the pages of a get or a clear were cleaned; a look or a copy has no accelerator.

    None is what the VM's backend cannot know (`unknown_fields`).
    """

    slot: int
    first_page: int
    num_pages: int
    dirty_count: int | None
    remaining_count: int | None
    accelerator: Accelerator | None
    software: Software | None
    flush_tlb: bool | None

    @property
    def cleaned_by_hardware(self) -> int:
        """Pages that the unit cleaned."""
        return 0 if self.accelerator is None else self.accelerator.cleaned

    @property
    def cleaned_by_software(self) -> int:
        """Pages that software cleaned."""
        return 0 if self.software is None else self.software.pages

    @property
    def requeued(self) -> int:
        """Pages that went back to the bitmap when the unit stopped early."""
        return 0 if self.accelerator is None else self.accelerator.requeued
