"""Who needs the dirty log of one machine: QEMU's global_dirty_tracking.

A migration and a measurement of the dirty rate may run beside each other. What was off before the first
of them is off again after the last, and the pages that one takes from a log are not lost to the other.
"""

from collections import Counter
from contextlib import suppress
from typing import Protocol

from hacdbs_sim import model
from hacdbs_sim.model.errors import KvmError
from hacdbs_sim.model.words import Words
from hacdbs_sim.vmm.history import Left, TransferHistory


class Sender(Protocol):
    """A migration that runs."""

    def add_pending(self, slot: int, words: Words) -> bool:
        """Have pages of a slot sent; return whether it does."""
        ...

    def left(self, life: model.MemslotLife) -> Left | None:
        """Return what it would leave of a slot now; None: it does not migrate the slot."""
        ...


class DirtyTracking:
    """The readers of one machine's logs, as far as they are the VMM's own.

    Args:
        history: What was taken from the logs and not delivered; None: nothing.

    Attributes:
        history: The same.
        sender: The migration that is to send what another reader takes; None: none runs.
        named_pages: How many pages gets have named, by slot (QEMU's total_dirty_pages).
        until_ns: When a measurement ends: no step of a migration passes it; None: none runs.
    """

    def __init__(self, history: TransferHistory | None = None) -> None:
        self.history = TransferHistory() if history is None else history
        self.sender: Sender | None = None
        self.named_pages: Counter[int] = Counter()
        self.until_ns: int | None = None
        self._logs: dict[tuple[int, int | None], int] = {}

    # Logs

    def hold_log(self, backend: model.Backend, life: model.MemslotLife) -> model.MemslotLife:
        """Have a slot log; where `holds_log` is true afterwards, `release_log` has to follow."""
        if life.log is None:
            self._set_logging(backend, life.slot, enabled=True)
            life = backend.query(model.GetMemslotLife(slot=life.slot)) or life
            self._logs[life.slot, life.log] = 0
        if self.holds_log(life):
            self._logs[life.slot, life.log] += 1
        return life

    def release_log(self, backend: model.Backend, life: model.MemslotLife) -> None:
        """Need a log no more; the last reader switches it off, if it is still the same."""
        key = life.slot, life.log
        self._logs[key] -= 1
        if self._logs[key] > 0:
            return
        del self._logs[key]
        now = backend.query(model.GetMemslotLife(slot=life.slot))
        if now is not None and now.log == life.log:
            with suppress(KvmError):
                self._set_logging(backend, life.slot, enabled=False)

    def holds_log(self, life: model.MemslotLife) -> bool:
        """Whether a slot's log was begun here: nobody but the VMM's own readers has it kept."""
        return (life.slot, life.log) in self._logs

    def _set_logging(self, backend: model.Backend, slot: int, *, enabled: bool) -> None:
        """Set a slot's flag, and nothing else of it."""
        view = backend.query(model.GetMemslot(slot=slot))
        logs = model.MemslotFlags.LOG_DIRTY_PAGES
        flags = int(view.flags | logs if enabled else view.flags & ~logs)
        backend.perform(view.with_flags(flags))

    # Pages

    def left(self, life: model.MemslotLife) -> Left | None:
        """Return what the migration that runs, or the last attempt, has not delivered of a slot."""
        left = None if self.sender is None else self.sender.left(life)
        return self.history.left(life) if left is None else left

    def count(self, outcome: model.DirtyLog) -> None:
        """Count the pages that a get named."""
        self.named_pages[outcome.slot] += model.known(outcome.dirty_count)

    def hand_over(
        self, backend: model.Backend, life: model.MemslotLife, taken: Words, before: int
    ) -> None:
        """Have pages sent that were taken from a slot's log: by this migration, or by the next one.

        `before` is how many calls had taken something before this reader's.
        """
        calls = calls_that_took(backend)
        self.history.counted(before, calls)
        if not taken.any() or (
            self.sender is not None and self.sender.add_pending(life.slot, taken)
        ):
            return
        if life.log is not None and not self.holds_log(life):
            self.history.took(life, taken, calls)


def calls_that_took(backend: model.Backend) -> int:
    """Count the calls that took something from a log, whosever they were: each calls the hook once."""
    counters = backend.query(model.GetCounters())
    return sum(counters[f"accelerator_{outcome.value}"] for outcome in model.AcceleratorOutcome)
