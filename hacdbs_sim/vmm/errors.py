"""Refusals of the VMM, beside those of the simulated KVM."""

from hacdbs_sim.model import Refused
from hacdbs_sim.model.errors import KvmError


class InvalidMigrationError(KvmError):
    """A migration that could not run on this VM as it is: a slot that is absent or does not log."""

    title = "The migration cannot run on this VM"


class InvalidMigrationStateError(KvmError):
    """A command that the migration cannot follow in its phase, or without what it needs."""

    title = "The migration cannot do this now"


class LayoutChangedError(KvmError):
    """A migrated memslot appeared, went, moved, was made again or stopped logging on the way."""

    code = "memory_layout_changed"
    title = "The memory layout changed during the migration"


class VersionsEndedError(KvmError):
    """The versions of pages are not tracked any more."""

    title = "The versions of pages are not tracked any more"


class LinkFailedError(KvmError):
    """The connection to the destination broke."""

    title = "The connection to the destination broke"


class DestinationDiedError(KvmError):
    """The destination's process ended."""

    title = "The destination died"


class GuestLostError(KvmError):
    """The migration was ended in post-copy, where neither side has all of the guest."""

    title = "The guest is lost"


class InvalidDirtyRateError(KvmError):
    """A measurement that this VM cannot make, or that does not take what is given."""

    title = "The dirty rate cannot be measured so"


class DirtyRateMeasuringError(KvmError):
    """The dirty rate is being measured: one measurement at a time."""

    title = "The dirty rate is being measured"


def refused_of(refusal: KvmError) -> Refused:
    """Return the report of a refusal."""
    errno = None if refusal.errno is None else refusal.errno.value
    return Refused(code=refusal.code, errno=errno, detail=refusal.detail)
