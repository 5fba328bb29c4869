"""A client of the service: `Client` for threads, `AsyncClient` for coroutines.

Both have a method for each operation, return values of `hacdbs_sim.model`, retry what may be
retried, and raise refusals as exceptions.
`Client.in_process()` needs no service, `serve_in_thread()` runs one. docs/client.md shows them.
"""

from hacdbs_sim.client._async.client import AsyncClient as AsyncClient
from hacdbs_sim.client._async.faults import AsyncArmedFault as AsyncArmedFault
from hacdbs_sim.client._async.memory import AsyncSlot as AsyncSlot
from hacdbs_sim.client._async.migrations import AsyncComparison as AsyncComparison
from hacdbs_sim.client._async.migrations import AsyncMigration as AsyncMigration
from hacdbs_sim.client._async.session import AsyncSession as AsyncSession
from hacdbs_sim.client._async.vm import AsyncCopy as AsyncCopy
from hacdbs_sim.client._async.vm import AsyncVm as AsyncVm
from hacdbs_sim.client._sync.client import Client as Client
from hacdbs_sim.client._sync.faults import ArmedFault as ArmedFault
from hacdbs_sim.client._sync.memory import Slot as Slot
from hacdbs_sim.client._sync.migrations import Comparison as Comparison
from hacdbs_sim.client._sync.migrations import Migration as Migration
from hacdbs_sim.client._sync.session import Session as Session
from hacdbs_sim.client._sync.vm import Copy as Copy
from hacdbs_sim.client._sync.vm import Vm as Vm
from hacdbs_sim.client.connecting import Sent as Sent
from hacdbs_sim.client.connecting import open_http as open_http
from hacdbs_sim.client.errors import BadRequestError as BadRequestError
from hacdbs_sim.client.errors import ClientError as ClientError
from hacdbs_sim.client.errors import ConflictError as ConflictError
from hacdbs_sim.client.errors import InvalidRequestError as InvalidRequestError
from hacdbs_sim.client.errors import NotAllowedError as NotAllowedError
from hacdbs_sim.client.errors import NotFoundError as NotFoundError
from hacdbs_sim.client.errors import PreconditionFailedError as PreconditionFailedError
from hacdbs_sim.client.errors import ProblemError as ProblemError
from hacdbs_sim.client.errors import ServiceDefectError as ServiceDefectError
from hacdbs_sim.client.errors import ServiceRestartedError as ServiceRestartedError
from hacdbs_sim.client.errors import TransportError as TransportError
from hacdbs_sim.client.errors import UnexpectedResponseError as UnexpectedResponseError
from hacdbs_sim.client.errors import WaitTimeoutError as WaitTimeoutError
from hacdbs_sim.client.pages import LogWindow as LogWindow
from hacdbs_sim.client.results import FetchedLog as FetchedLog
from hacdbs_sim.client.results import FetchedMemslot as FetchedMemslot
from hacdbs_sim.client.results import FetchedMemslotChange as FetchedMemslotChange
from hacdbs_sim.client.results import FetchedVm as FetchedVm
from hacdbs_sim.client.serving import Service as Service
from hacdbs_sim.client.serving import serve_in_thread as serve_in_thread
