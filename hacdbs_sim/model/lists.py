"""Lists in pages: the items, and the token of the next page; an empty token ends the list."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from hacdbs_sim.model.base import Model
from hacdbs_sim.model.comparisons import ComparisonBrief
from hacdbs_sim.model.copies import CopyInfo
from hacdbs_sim.model.cpus import CpuInfo
from hacdbs_sim.model.faults import FaultInfo, FaultTypeInfo
from hacdbs_sim.model.memslots import MemslotInfo
from hacdbs_sim.model.migration_reports import MigrationBrief
from hacdbs_sim.model.migrations import Preset
from hacdbs_sim.model.scenarios import BuiltinScenario
from hacdbs_sim.model.sessions import SessionInfo
from hacdbs_sim.model.stage2 import Stage2Run
from hacdbs_sim.model.vms import VmInfo
from hacdbs_sim.model.workloads import WorkloadInfo

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Page(Model, Generic[T]):
    """A page of a list."""

    next_page_token: str = ""
    """Where the next page begins; empty at the end."""

    @property
    def items(self) -> tuple[T, ...]:
        """The items, which each list has under a name of its own."""
        (items,) = (each for name, each in vars(self).items() if name != "next_page_token")
        return tuple(items)


@dataclass(frozen=True, kw_only=True)
class SessionList(Page[SessionInfo]):
    """Sessions, by id."""

    sessions: tuple[SessionInfo, ...]


@dataclass(frozen=True, kw_only=True)
class VmList(Page[VmInfo]):
    """VMs, by session and number."""

    vms: tuple[VmInfo, ...]


@dataclass(frozen=True, kw_only=True)
class MemslotList(Page[MemslotInfo]):
    """Memslots, by slot number."""

    memslots: tuple[MemslotInfo, ...]


@dataclass(frozen=True, kw_only=True)
class CpuList(Page[CpuInfo]):
    """Host CPUs, by number."""

    cpus: tuple[CpuInfo, ...]


@dataclass(frozen=True, kw_only=True)
class CopyList(Page[CopyInfo]):
    """Copies of a VM's memory, by number."""

    copies: tuple[CopyInfo, ...]


@dataclass(frozen=True, kw_only=True)
class FaultList(Page[FaultInfo]):
    """Armed faults, in the order of arming."""

    faults: tuple[FaultInfo, ...]


@dataclass(frozen=True, kw_only=True)
class FaultTypeList(Model):
    """All types of fault."""

    fault_types: tuple[FaultTypeInfo, ...]


@dataclass(frozen=True, kw_only=True)
class WorkloadList(Page[WorkloadInfo]):
    """Workloads, in the order in which they were added."""

    workloads: tuple[WorkloadInfo, ...]


@dataclass(frozen=True, kw_only=True)
class Stage2List(Page[Stage2Run]):
    """Runs of pages equal in level and state, by gfn."""

    runs: tuple[Stage2Run, ...]


@dataclass(frozen=True, kw_only=True)
class MigrationList(Page[MigrationBrief]):
    """Migrations, by session and number."""

    migrations: tuple[MigrationBrief, ...]


@dataclass(frozen=True, kw_only=True)
class PresetList(Page[Preset]):
    """Presets, by name."""

    presets: tuple[Preset, ...]


@dataclass(frozen=True, kw_only=True)
class ComparisonList(Page[ComparisonBrief]):
    """Comparisons, by session and number."""

    comparisons: tuple[ComparisonBrief, ...]


@dataclass(frozen=True, kw_only=True)
class ScenarioList(Page[BuiltinScenario]):
    """The builtin scenarios, by name."""

    scenarios: tuple[BuiltinScenario, ...]
