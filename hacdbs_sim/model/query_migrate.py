"""QMP's query-migrate: names, units (milliseconds, bytes, megabits a second) and keys are QEMU's."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Final

from hacdbs_sim.model.base import Model
from hacdbs_sim.model.kinds import Count, Omitted


class MigrationStatus(StrEnum):
    """QMP's MigrationStatus, as far as pre-copy and post-copy have them."""

    NONE = "none"
    SETUP = "setup"
    ACTIVE = "active"
    PRE_SWITCHOVER = "pre-switchover"
    DEVICE = "device"
    POSTCOPY_ACTIVE = "postcopy-active"
    POSTCOPY_PAUSED = "postcopy-paused"
    POSTCOPY_RECOVER = "postcopy-recover"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing comes after it."""
        return self in _FINAL

    @property
    def is_postcopy(self) -> bool:
        """Whether the guest runs at the destination, and pages are missing there."""
        return self in _POSTCOPY


_FINAL: Final = frozenset(
    {MigrationStatus.COMPLETED, MigrationStatus.FAILED, MigrationStatus.CANCELLED}
)
_POSTCOPY: Final = frozenset(
    {
        MigrationStatus.POSTCOPY_ACTIVE,
        MigrationStatus.POSTCOPY_PAUSED,
        MigrationStatus.POSTCOPY_RECOVER,
    }
)


def kebab(name: str) -> str:
    """Return QMP's spelling of a name."""
    return name.replace("_", "-")


class QmpModel(Model):
    """A class whose fields are spelled as in QMP, with hyphens."""

    __slots__ = ()
    __pydantic_config__: ClassVar[dict[str, Any]] = {
        **Model.__pydantic_config__,
        "alias_generator": kebab,
        "serialize_by_alias": True,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class QmpRam(QmpModel):
    """QMP's MigrationStats: bytes, pages, and rates a second."""

    transferred: Count
    """Bytes on the wire, headers and device state included."""
    remaining: Count
    """Bytes that have to be sent; 0 once completed."""
    total: Count
    """Bytes of the migrated memory."""
    duplicate: Count
    """Zero pages."""
    normal: Count
    """Pages sent with their content."""
    normal_bytes: Count
    """The same in bytes."""
    dirty_pages_rate: Count
    """Pages dirtied a second, measured by gets a second apart; 0 once completed."""
    mbps: float
    """Of the last window; once completed, of the whole."""
    dirty_sync_count: Count
    """How often the log was taken: the number of the pass, from 1."""
    dirty_sync_missed_zero_copy: Count = 0
    page_size: Count
    pages_per_second: Count
    """Of the last window."""
    multifd_bytes: Count = 0
    precopy_bytes: Count
    """Bytes of pages while the guest ran at the source."""
    downtime_bytes: Count
    """Bytes of pages while it was paused."""
    postcopy_bytes: Count
    """Bytes of pages while it ran at the destination."""
    postcopy_requests: Count
    """Faults of the destination's guest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryMigrate(QmpModel):
    """QMP's MigrationInfo, as query-migrate returns it; a key that does not apply is left out."""

    status: Omitted[MigrationStatus] = None
    """QMP's MigrationStatus."""
    total_time: Omitted[Count] = None
    """Milliseconds since it began."""
    setup_time: Omitted[Count] = None
    """Milliseconds of the setup."""
    downtime: Omitted[Count] = None
    """Milliseconds that the guest was paused, from completion or post-copy on."""
    expected_downtime: Omitted[Count] = None
    """Milliseconds that the rest would take, before completion and post-copy."""
    cpu_throttle_percentage: Omitted[Count] = None
    """The throttling, while there is one."""
    error_desc: Omitted[str] = None
    """Why it failed."""
    ram: Omitted[QmpRam] = None
    """Statistics of the memory."""
