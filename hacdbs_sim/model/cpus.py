"""Host CPUs and their HACDBS units."""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from hacdbs_sim.model.base import Action, Model, Query
from hacdbs_sim.model.errors import KvmError, LastCpuError, NoSuchCpuError
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
    """HACDBSBR_EL2: where the unit's array is, and whether it runs.

    Attributes:
        raw: The register.
        baddr: BADDR, the array's address.
        en: EN.
        sz: SZ, log2 of the array's bytes less 12.
    """

    raw: Register
    baddr: Address
    en: Boolean
    sz: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class HacdbsconsInfo(Model):
    """HACDBSCONS_EL2: why the unit stopped, and at which entry.

    Attributes:
        raw: The register.
        err_reason: ERR_REASON.
        index: INDEX, the next entry to be read.
    """

    raw: Register
    err_reason: ErrReasonName
    index: Count


@dataclass(slots=True, kw_only=True)
class CpuInfo(Model):
    """A host CPU and its HACDBS unit.

    Attributes:
        cpu: Its number.
        online: Whether it is plugged in.
        status: The unit's status.
        hacdbsbr_el2: HACDBSBR_EL2.
        hacdbscons_el2: HACDBSCONS_EL2.
        interrupts: Interrupts that the unit raised.
        runs: Arrays that it was given.
        entries: Entries in them.
        cleaned: Entries that it cleaned.
    """

    cpu: Count
    online: Boolean
    status: UnitStatus
    hacdbsbr_el2: HacdbsbrInfo
    hacdbscons_el2: HacdbsconsInfo
    interrupts: Count
    runs: Count
    entries: Count
    cleaned: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class SetCpu(Action[CpuInfo]):
    """Plug a host CPU in or out; its HACDBS unit goes with it.

    Attributes:
        cpu: Its number.
        online: Whether it is plugged in.
    """

    op: ClassVar[str] = "set_cpu"
    refusals: ClassVar[tuple[type[KvmError], ...]] = (NoSuchCpuError, LastCpuError)

    cpu: Count
    online: Boolean


@dataclass(frozen=True, slots=True, kw_only=True)
class GetCpu(Query[CpuInfo]):
    """Show a host CPU and its unit.

    Attributes:
        cpu: Its number.
    """

    op: ClassVar[str] = "get_cpu"
    refusals: ClassVar[tuple[type[KvmError], ...]] = (NoSuchCpuError,)

    cpu: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class ListCpus(Query[tuple[CpuInfo, ...]]):
    """List the host CPUs, ascending by number."""

    op: ClassVar[str] = "list_cpus"
