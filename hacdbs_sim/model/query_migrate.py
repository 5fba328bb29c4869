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
    """QMP's MigrationStats: bytes, pages, and rates a second.

    Attributes:
        transferred: Bytes on the wire, headers and device state included.
        remaining: Bytes that have to be sent; 0 once completed.
        total: Bytes of the migrated memory.
        duplicate: Zero pages.
        normal: Pages sent with their content.
        normal_bytes: The same in bytes.
        dirty_pages_rate: Pages dirtied a second, measured by gets a second apart; 0 once completed.
        mbps: Of the last window; once completed, of the whole.
        dirty_sync_count: How often the log was taken: the number of the pass, from 1.
        pages_per_second: Of the last window.
        precopy_bytes: Bytes of pages while the guest ran at the source.
        downtime_bytes: Bytes of pages while it was paused.
        postcopy_bytes: Bytes of pages while it ran at the destination.
        postcopy_requests: Faults of the destination's guest.
    """

    transferred: Count
    remaining: Count
    total: Count
    duplicate: Count
    normal: Count
    normal_bytes: Count
    dirty_pages_rate: Count
    mbps: float
    dirty_sync_count: Count
    dirty_sync_missed_zero_copy: Count = 0
    page_size: Count
    pages_per_second: Count
    multifd_bytes: Count = 0
    precopy_bytes: Count
    downtime_bytes: Count
    postcopy_bytes: Count
    postcopy_requests: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryMigrate(QmpModel):
    """QMP's MigrationInfo, as query-migrate returns it; a key that does not apply is left out.

    Attributes:
        status: QMP's MigrationStatus.
        total_time: Milliseconds since it began.
        setup_time: Milliseconds of the setup.
        downtime: Milliseconds that the guest was paused, from completion or post-copy on.
        expected_downtime: Milliseconds that the rest would take, before completion and post-copy.
        cpu_throttle_percentage: The throttling, while there is one.
        error_desc: Why it failed.
        ram: Statistics of the memory.
    """

    status: Omitted[MigrationStatus] = None
    total_time: Omitted[Count] = None
    setup_time: Omitted[Count] = None
    downtime: Omitted[Count] = None
    expected_downtime: Omitted[Count] = None
    cpu_throttle_percentage: Omitted[Count] = None
    error_desc: Omitted[str] = None
    ram: Omitted[QmpRam] = None
