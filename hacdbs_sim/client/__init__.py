"""A client of the service: `Client` for threads, `AsyncClient` for coroutines.

Both have a method for each operation, retry what may be retried, and raise refusals as exceptions.
`Client.in_process()` needs no service, `serve_in_thread()` runs one. docs/client.md shows them.
"""

from hacdbs_sim.client._async.client import AsyncClient
from hacdbs_sim.client._async.faults import AsyncArmedFault
from hacdbs_sim.client._async.memory import AsyncSlot
from hacdbs_sim.client._async.migrations import AsyncComparison, AsyncMigration
from hacdbs_sim.client._async.session import AsyncSession
from hacdbs_sim.client._async.vm import AsyncVm
from hacdbs_sim.client._sync.client import Client
from hacdbs_sim.client._sync.faults import ArmedFault
from hacdbs_sim.client._sync.memory import Slot
from hacdbs_sim.client._sync.migrations import Comparison, Migration
from hacdbs_sim.client._sync.session import Session
from hacdbs_sim.client._sync.vm import Vm
from hacdbs_sim.client.answers import (
    Access,
    BatchResult,
    CpuInfo,
    Event,
    Events,
    FaultInfo,
    Heat,
    MemslotChange,
    MemslotInfo,
    SessionInfo,
    Stage2Run,
    VmInfo,
)
from hacdbs_sim.client.cleaning import Accelerator, CleaningReport
from hacdbs_sim.client.connecting import Sent, open_http
from hacdbs_sim.client.errors import (
    BadRequestError,
    ClientError,
    ConflictError,
    InvalidRequestError,
    NotAllowedError,
    NotFoundError,
    PreconditionFailedError,
    ProblemError,
    ServiceDefectError,
    TransportError,
    UnexpectedAnswerError,
    WaitTimeoutError,
)
from hacdbs_sim.client.outcomes import Mismatch, ScenarioOutcome, ScenarioStep, ShippedScenario
from hacdbs_sim.client.pages import DirtyLog, LogWindow
from hacdbs_sim.client.reports import ComparisonInfo, MigrationInfo
from hacdbs_sim.client.serving import Service, serve_in_thread
from hacdbs_sim.client.specs import FaultSpec, FeaturesSpec, MemslotSpec, WhenSpec, WorkloadSpec

__all__ = [
    "Accelerator",
    "Access",
    "ArmedFault",
    "AsyncArmedFault",
    "AsyncClient",
    "AsyncComparison",
    "AsyncMigration",
    "AsyncSession",
    "AsyncSlot",
    "AsyncVm",
    "BadRequestError",
    "BatchResult",
    "CleaningReport",
    "Client",
    "ClientError",
    "Comparison",
    "ComparisonInfo",
    "ConflictError",
    "CpuInfo",
    "DirtyLog",
    "Event",
    "Events",
    "FaultInfo",
    "FaultSpec",
    "FeaturesSpec",
    "Heat",
    "InvalidRequestError",
    "LogWindow",
    "MemslotChange",
    "MemslotInfo",
    "MemslotSpec",
    "Migration",
    "MigrationInfo",
    "Mismatch",
    "NotAllowedError",
    "NotFoundError",
    "PreconditionFailedError",
    "ProblemError",
    "ScenarioOutcome",
    "ScenarioStep",
    "Sent",
    "Service",
    "ServiceDefectError",
    "Session",
    "SessionInfo",
    "ShippedScenario",
    "Slot",
    "Stage2Run",
    "TransportError",
    "UnexpectedAnswerError",
    "Vm",
    "VmInfo",
    "WaitTimeoutError",
    "WhenSpec",
    "WorkloadSpec",
    "open_http",
    "serve_in_thread",
]
