"""Lists in pages: the items, and the token of the next page; an empty token ends the list."""

from dataclasses import dataclass

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


@dataclass(frozen=True, kw_only=True)
class Page(Model):
    """A page of a list.

    Attributes:
        next_page_token: Where the next page begins; empty at the end.
    """

    next_page_token: str = ""


@dataclass(frozen=True, kw_only=True)
class SessionList(Page):
    """Sessions, by id."""

    sessions: tuple[SessionInfo, ...]


@dataclass(frozen=True, kw_only=True)
class VmList(Page):
    """VMs, by session and number."""

    vms: tuple[VmInfo, ...]


@dataclass(frozen=True, kw_only=True)
class MemslotList(Page):
    """Memslots, by slot number."""

    memslots: tuple[MemslotInfo, ...]


@dataclass(frozen=True, kw_only=True)
class CpuList(Page):
    """Host CPUs, by number."""

    cpus: tuple[CpuInfo, ...]


@dataclass(frozen=True, kw_only=True)
class CopyList(Page):
    """Copies of a VM's memory, by number."""

    copies: tuple[CopyInfo, ...]


@dataclass(frozen=True, kw_only=True)
class FaultList(Page):
    """Armed faults, in the order of arming."""

    faults: tuple[FaultInfo, ...]


@dataclass(frozen=True, kw_only=True)
class FaultTypeList(Model):
    """All types of fault."""

    fault_types: tuple[FaultTypeInfo, ...]


@dataclass(frozen=True, kw_only=True)
class WorkloadList(Page):
    """Workloads, in the order in which they were added."""

    workloads: tuple[WorkloadInfo, ...]


@dataclass(frozen=True, kw_only=True)
class Stage2List(Page):
    """Runs of pages equal in level and state, by gfn."""

    runs: tuple[Stage2Run, ...]


@dataclass(frozen=True, kw_only=True)
class MigrationList(Page):
    """Migrations, by session and number."""

    migrations: tuple[MigrationBrief, ...]


@dataclass(frozen=True, kw_only=True)
class PresetList(Page):
    """Presets, by name."""

    presets: tuple[Preset, ...]


@dataclass(frozen=True, kw_only=True)
class ComparisonList(Page):
    """Comparisons, by session and number."""

    comparisons: tuple[ComparisonBrief, ...]


@dataclass(frozen=True, kw_only=True)
class ScenarioList(Page):
    """The builtin scenarios, by name."""

    scenarios: tuple[BuiltinScenario, ...]
