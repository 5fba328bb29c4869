"""Host CPUs and their HACDBS units."""

from dataclasses import dataclass
from enum import StrEnum

from hacdbs_sim.model.base import Action, Model, Query
from hacdbs_sim.model.errors import LastCpuError, NoSuchCpuError
from hacdbs_sim.model.kinds import Address, Boolean, Count, Register


class UnitStatus(StrEnum):
    """enum hacdbs_status of the patch."""

    OFF = "OFF"
    IDLE = "IDLE"
    RUNNING = "RUNNING"
    ERROR = "ERROR"


class ErrReasonName(StrEnum):
    """HACDBSCONS_EL2.ERR_REASON."""

    NOF = "NOF"
    STRUCTF = "STRUCTF"
    IPAF = "IPAF"
    IPAHACF = "IPAHACF"


@dataclass(frozen=True, slots=True, kw_only=True)
class HacdbsbrInfo(Model):
    """HACDBSBR_EL2: where the unit's array is, and whether it runs."""

    raw: Register
    """The register."""
    baddr: Address
    """BADDR, the array's address."""
    en: Boolean
    """EN."""
    sz: Count
    """SZ, log2 of the array's bytes less 12."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HacdbsconsInfo(Model):
    """HACDBSCONS_EL2: why the unit stopped, and at which entry."""

    raw: Register
    """The register."""
    err_reason: ErrReasonName
    """ERR_REASON."""
    index: Count
    """INDEX, the next entry to be read."""


@dataclass(slots=True, kw_only=True)
class CpuInfo(Model):
    """A host CPU and its HACDBS unit."""

    cpu: Count
    """Its number."""
    online: Boolean
    """Whether it is plugged in."""
    status: UnitStatus
    """The unit's status."""
    hacdbsbr_el2: HacdbsbrInfo
    """HACDBSBR_EL2."""
    hacdbscons_el2: HacdbsconsInfo
    """HACDBSCONS_EL2."""
    interrupts: Count
    """Interrupts that the unit raised."""
    runs: Count
    """Arrays that it was given."""
    entries: Count
    """Entries in them."""
    cleaned: Count
    """Entries that it cleaned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetCpu(Action[CpuInfo]):
    """Plug a host CPU in or out; its HACDBS unit goes with it."""

    refusals = (NoSuchCpuError, LastCpuError)

    cpu: Count
    """Its number."""
    online: Boolean
    """Whether it is plugged in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetCpu(Query[CpuInfo]):
    """Show a host CPU and its unit."""

    refusals = (NoSuchCpuError,)

    cpu: Count
    """Its number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListCpus(Query[tuple[CpuInfo, ...]]):
    """List the host CPUs, ascending by number."""
