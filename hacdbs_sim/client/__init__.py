"""A client of the service: `Client` for threads, `AsyncClient` for coroutines.

Both have a method for each operation, return values of `hacdbs_sim.model`, retry what may be
retried, and raise refusals as exceptions.
`Client.in_process()` needs no service, `serve_in_thread()` runs one. docs/client.md shows them.
"""

from hacdbs_sim.client._async.client import AsyncClient
from hacdbs_sim.client._async.faults import AsyncArmedFault
from hacdbs_sim.client._async.memory import AsyncSlot
from hacdbs_sim.client._async.migrations import AsyncComparison, AsyncMigration
from hacdbs_sim.client._async.session import AsyncSession
from hacdbs_sim.client._async.vm import AsyncCopy, AsyncVm
from hacdbs_sim.client._sync.client import Client
from hacdbs_sim.client._sync.faults import ArmedFault
from hacdbs_sim.client._sync.memory import Slot
from hacdbs_sim.client._sync.migrations import Comparison, Migration
from hacdbs_sim.client._sync.session import Session
from hacdbs_sim.client._sync.vm import Copy, Vm
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
    UnexpectedResponseError,
    WaitTimeoutError,
)
from hacdbs_sim.client.pages import LogWindow
from hacdbs_sim.client.results import FetchedLog, FetchedMemslot, FetchedMemslotChange, FetchedVm
from hacdbs_sim.client.serving import Service, serve_in_thread

__all__ = [
    "ArmedFault",
    "AsyncArmedFault",
    "AsyncClient",
    "AsyncComparison",
    "AsyncCopy",
    "AsyncMigration",
    "AsyncSession",
    "AsyncSlot",
    "AsyncVm",
    "BadRequestError",
    "Client",
    "ClientError",
    "Comparison",
    "ConflictError",
    "Copy",
    "FetchedLog",
    "FetchedMemslot",
    "FetchedMemslotChange",
    "FetchedVm",
    "InvalidRequestError",
    "LogWindow",
    "Migration",
    "NotAllowedError",
    "NotFoundError",
    "PreconditionFailedError",
    "ProblemError",
    "Sent",
    "Service",
    "ServiceDefectError",
    "Session",
    "Slot",
    "TransportError",
    "UnexpectedResponseError",
    "Vm",
    "WaitTimeoutError",
    "open_http",
    "serve_in_thread",
]
