"""What the destination of a migration has in truth, apart from the engine's own bookkeeping.

The oracle counts the writes to each page of each memslot by itself, notes as of which write a page is
whenever the engine reads it, and forgets what the engine says was lost on the link. At the end it knows
which pages differ, whatever the log, the page versions and the layout say.
"""

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from hacdbs_sim import model as a
from hacdbs_sim.model import MigrationStatus, Reason
from hacdbs_sim.model.errors import KvmError
from hacdbs_sim.model.pages import flags_of
from hacdbs_sim.model.words import Words
from hacdbs_sim.vmm import LiveMigration, Report, TransferHistory
from hacdbs_sim.vmm.source import Piece, SourceSlot
from tests.support.machine import Machine

Life: TypeAlias = tuple[int, int]
"""A slot's number, and the generation in which it was made."""

Pages: TypeAlias = NDArray[np.int64]
_NOTHING = -1


def lives_of(machine: Machine) -> dict[Life, a.MemslotLife]:
    return {(life.slot, life.created): life for life in machine.query(a.ListMemslotLives())}


class Truth:
    """The content of each page of a machine, as the number of its last write."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.destination: dict[Life, Pages] = {}
        self.first_attempted: set[Life] | None = None
        self.versions_ended = 0
        self._content: dict[Life, Pages] = {}
        self._given_up: dict[Life, NDArray[np.bool_]] = {}
        self._writes = 0
        side = machine._guest_side
        write, give_up = side._write, side._give_up

        def noted_write(writer: a.Writer, pages: Any) -> a.AccessOutcome:
            outcome = write(writer, pages)
            self._touch(pages, is_write=True)
            return outcome

        def noted_give_up(pages: Any) -> None:
            give_up(pages)
            self._touch(pages, is_write=False)

        follow_tracking = side._follow_tracking

        def noted_tracking() -> None:
            was_tracked = side._versions is not None
            follow_tracking()
            self.versions_ended += was_tracked and side._versions is None

        side._follow_tracking = noted_tracking  # type: ignore[method-assign]
        side._write = noted_write  # type: ignore[method-assign]
        side._give_up = noted_give_up  # type: ignore[method-assign]

    def _touch(self, pages: Any, *, is_write: bool) -> None:
        self._writes += 1
        gfns = (
            pages.gfns.tolist()
            if isinstance(pages, a.Gfns)
            else [
                gfn
                for first, count in zip(pages.first.tolist(), pages.count.tolist(), strict=True)
                for gfn in range(first, first + count)
            ]
        )
        for key, life in lives_of(self.machine).items():
            inside = [gfn - life.base_gfn for gfn in gfns]
            at = [page for page in inside if 0 <= page < life.npages]
            if is_write:
                self.content(key)[at] = self._writes
            self.given_up(key)[at] = not is_write

    def content(self, key: Life) -> Pages:
        life = lives_of(self.machine).get(key)
        if key not in self._content:
            assert life is not None, "a slot is there when its content is first needed"
            self._content[key] = np.zeros(life.npages, np.int64)
        return self._content[key]

    def given_up(self, key: Life) -> NDArray[np.bool_]:
        if key not in self._given_up:
            self._given_up[key] = np.zeros(len(self.content(key)), np.bool_)
        return self._given_up[key]

    def received(self, key: Life) -> Pages:
        if key not in self.destination:
            self.destination[key] = np.full(len(self.content(key)), _NOTHING)
        return self.destination[key]

    def has_base(self, slots: set[int]) -> None:
        """Let the destination have what the log does not name, of slots that it knows nothing of."""
        for key in lives_of(self.machine):
            if key[0] not in slots:
                continue
            is_new = self.first_attempted is not None and key not in self.first_attempted
            if key not in self.destination and not is_new:
                log = self.machine.query(a.PeekDirtyLog(slot=key[0])).bitmap
                assert log is not None, "a peek has a bitmap"
                base = self.content(key).copy()
                base[flags_of(log.words, len(base))] = _NOTHING
                self.destination[key] = base


@dataclass
class Judged:
    """What is true of a migration that has ended.

    Attributes:
        slots: The selected slots that were there when it counted.
        lost: Pages that differ, are needed, and of which the migration did not know.
    """

    slots: set[int] = field(default_factory=set)
    lost: int = 0


class Watched(LiveMigration):
    """A migration whose reads are noted, and which is judged at its end."""

    def __init__(self, truth: Truth, spec: a.MigrationSpec, history: TransferHistory) -> None:
        self._truth: Truth | None = None
        super().__init__(truth.machine, spec, history)
        self._truth = truth
        self.selects_named = spec.slots
        self._at_stop: dict[Life, tuple[Pages, NDArray[np.bool_]]] | None = None
        self._known: dict[Life, NDArray[np.bool_]] = {}
        if not spec.full_first_pass:
            truth.has_base({slot.view.slot for slot in self._source.slots})
        began_with = set(self._lives())
        ended_before = truth.versions_ended
        self.ends_versions = False
        source, stream = self._source, self._stream
        read, lose, end = source._read, stream.lose_in_flight, source.end

        def noted_read(slot: SourceSlot, first: int, taken: Words, pages: int) -> Piece:
            piece = read(slot, first, taken, pages)
            self._note(piece, is_lost=False)
            return piece

        def noted_loss() -> list[Piece]:
            lost = lose()
            for piece in lost:
                self._note(piece, is_lost=True)
            return lost

        def noted_end(*, is_complete: bool, is_received: bool) -> None:
            self.ends_versions = truth.versions_ended > ended_before
            if truth.first_attempted is None:
                truth.first_attempted = began_with
            for slot in source.slots:
                if (key := (slot.life.slot, slot.life.created)) in self._lives():
                    truth.received(key)
            if not is_complete:
                self._known = {key: self._known_of(key) for key in self._lives()}
            end(is_complete=is_complete, is_received=is_received)

        source._read = noted_read  # type: ignore[method-assign]
        source.end = noted_end  # type: ignore[method-assign]
        stream.lose_in_flight = noted_loss  # type: ignore[method-assign]

    @override
    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "status" and value is MigrationStatus.POSTCOPY_ACTIVE and not self._at_stop:
            truth, postcopy = self._truth, self._postcopy
            assert truth is not None, "it runs"
            assert postcopy is not None, "post-copy has begun"
            self._at_stop = {
                key: (truth.content(key).copy(), truth.given_up(key).copy())
                for key in self._lives()
            }
            for slot in self._source.slots:
                received = truth.received((slot.life.slot, slot.life.created))
                dropped = flags_of(postcopy._missing[slot.life.slot], len(received))
                received[dropped] = _NOTHING

    def _lives(self) -> dict[Life, a.MemslotLife]:
        assert self._truth is not None, "it runs"
        return lives_of(self._truth.machine)

    def _note(self, piece: Piece, *, is_lost: bool) -> None:
        truth = self._truth
        assert truth is not None, "it runs"
        key = (piece.slot.life.slot, piece.slot.life.created)
        pages = piece.first_word * 64 + np.flatnonzero(flags_of(piece.words, len(piece.words) * 64))
        if is_lost:
            truth.destination[key][pages] = _NOTHING
        elif key in self._lives():  # else what is read is of no use to anybody
            content = truth.content(key) if self._at_stop is None else self._at_stop[key][0]
            truth.received(key)[pages] = content[pages]

    def _known_of(self, key: Life) -> NDArray[np.bool_]:
        """Return the pages that are known to have to be sent: pending, or in the log."""
        assert self._truth is not None, "it runs"
        npages = len(self._truth.content(key))
        known = np.zeros(npages, np.bool_)
        for slot in self._source.slots:
            if (slot.life.slot, slot.life.created) == key:
                known |= flags_of(slot.pending, npages)
                if self._postcopy is not None:
                    known |= flags_of(self._postcopy._missing[key[0]], npages)
        if self._postcopy is None:
            try:
                log = self._truth.machine.query(a.PeekDirtyLog(slot=key[0])).bitmap
            except KvmError:
                log = None
            if log is not None:
                known |= flags_of(log.words, npages)
        return known

    def judge(self, report: Report) -> Judged:
        """Compare the destination with the source as it was when that counted."""
        truth = self._truth
        assert truth is not None, "it runs"
        judged = Judged()
        at_stop = self._at_stop
        if at_stop is None:
            at_stop = {key: (truth.content(key), truth.given_up(key)) for key in self._lives()}
        for key, (content, given_up) in at_stop.items():
            if self.selects_named is not None and key[0] not in self.selects_named:
                continue
            judged.slots.add(key[0])
            nothing = np.full(len(content), _NOTHING)
            differs = (truth.destination.get(key, nothing) != content) & ~given_up
            if report.status is not MigrationStatus.COMPLETED:
                differs &= ~self._known.get(key, np.zeros(len(content), np.bool_))
            judged.lost += int(np.count_nonzero(differs))
        if report.reason is Reason.DESTINATION_DIED:
            truth.destination.clear()
        return judged
