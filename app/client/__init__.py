"""A client of the service: `Client` for threads, `AsyncClient` for coroutines.

Both make every operation, retry what may be retried, and raise problem documents as exceptions.
`Client.in_process()` needs no service, `serve_in_thread()` runs one. docs/client.md shows them.
"""

from app.client.answers import (
    Accelerator,
    Access,
    BatchResult,
    CleaningReport,
    CpuInfo,
    FaultInfo,
    MemslotChange,
    MemslotInfo,
    SessionInfo,
    Stage2Run,
    VmInfo,
)
from app.client.blocking import ArmedFault, Client, Cpu, Session, Slot, Vm
from app.client.connecting import Sent, open_http
from app.client.coroutines import (
    AsyncArmedFault,
    AsyncClient,
    AsyncCpu,
    AsyncSession,
    AsyncSlot,
    AsyncVm,
)
from app.client.errors import (
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
from app.client.pages import DirtyLog, LogWindow
from app.client.serving import Service, serve_in_thread
from app.client.specs import FaultSpec, FeaturesSpec, MemslotSpec, WhenSpec

__all__ = [
    "Accelerator",
    "Access",
    "ArmedFault",
    "AsyncArmedFault",
    "AsyncClient",
    "AsyncCpu",
    "AsyncSession",
    "AsyncSlot",
    "AsyncVm",
    "BadRequestError",
    "BatchResult",
    "CleaningReport",
    "Client",
    "ClientError",
    "ConflictError",
    "Cpu",
    "CpuInfo",
    "DirtyLog",
    "FaultInfo",
    "FaultSpec",
    "FeaturesSpec",
    "InvalidRequestError",
    "LogWindow",
    "MemslotChange",
    "MemslotInfo",
    "MemslotSpec",
    "NotAllowedError",
    "NotFoundError",
    "PreconditionFailedError",
    "ProblemError",
    "Sent",
    "Service",
    "ServiceDefectError",
    "Session",
    "SessionInfo",
    "Slot",
    "Stage2Run",
    "TransportError",
    "UnexpectedAnswerError",
    "Vm",
    "VmInfo",
    "WaitTimeoutError",
    "WhenSpec",
    "open_http",
    "serve_in_thread",
]
