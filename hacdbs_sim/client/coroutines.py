"""The client for coroutines: `AsyncClient`, and the objects that it gives."""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from hacdbs_sim.client.answers import FaultInfo, VmInfo
from hacdbs_sim.client.binding import (
    AsyncHandle,
    AsyncRunner,
    bound_async,
    bound_list_async,
    root_async,
    root_list_async,
    scoping_async,
    then_async,
)
from hacdbs_sim.client.call import Call
from hacdbs_sim.client.connecting import (
    TIMEOUT_SECONDS,
    History,
    connection,
    token_of_environment,
)
from hacdbs_sim.client.errors import ClientError, NotFoundError
from hacdbs_sim.client.event_stream import root_watch_async, watch_events
from hacdbs_sim.client.in_process import ANY_HOST, IN_PROCESS_URL, LoopTransport, load_application
from hacdbs_sim.client.migrating import (
    AsyncComparison,
    AsyncMigration,
    begun_async,
    compared_async,
)
from hacdbs_sim.client.operations import events as of_events
from hacdbs_sim.client.operations import faults as of_faults
from hacdbs_sim.client.operations import guest as of_guest
from hacdbs_sim.client.operations import memory as of_memory
from hacdbs_sim.client.operations import migrations as of_migrations
from hacdbs_sim.client.operations import scenarios as of_scenarios
from hacdbs_sim.client.operations import service as of_service
from hacdbs_sim.client.operations import vms as of_vms
from hacdbs_sim.client.retrying import RETRIES, Exchange, Retrying
from hacdbs_sim.client.specs import CpuRef, SlotRef
from hacdbs_sim.client.waiting import READY_SECONDS, WAIT_SECONDS, Patience, is_not_ready

T = TypeVar("T")


class AsyncCpu(AsyncHandle[CpuRef]):
    """A host CPU of a VM, with its unit."""

    get = bound_async(of_vms.get_cpu)
    set = bound_async(of_vms.set_cpu)
    plug = bound_async(of_vms.plug)
    unplug = bound_async(of_vms.unplug)


class AsyncSlot(AsyncHandle[SlotRef]):
    """A memslot of a VM."""

    get = bound_async(of_memory.get_memslot)
    set = bound_async(of_memory.set_memslot)
    delete = bound_async(of_memory.delete_memslot)
    get_dirty_log = bound_async(of_memory.get_dirty_log)
    peek = bound_async(of_memory.peek_dirty_log)
    heat = bound_async(of_memory.get_heat)
    clear = bound_async(of_memory.clear_dirty_log)

    @property
    def number(self) -> int:
        """Value of the slot's number."""
        return self._ref.slot


class AsyncArmedFault:
    """A fault that is armed while a `with` block runs.

    Attributes:
        info: The fault as last seen: after the block, as it was when it was disarmed.
    """

    info: FaultInfo

    def __init__(self, client: AsyncRunner, vm_id: str, arm: Call[FaultInfo]) -> None:
        self.client = client
        self._vm_id = vm_id
        self._arm = arm

    @property
    def hits(self) -> int:
        """Value of how often it struck, as last seen."""
        return self.info.hits

    async def refresh(self) -> FaultInfo:
        """Look at the fault anew."""
        self.info = await self.client.run(of_faults.get_fault(self._vm_id, self.info.fault_id))
        return self.info

    async def __aenter__(self) -> Self:
        """Arm the fault."""
        self.info = await self.client.run(self._arm)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Look at the fault a last time and disarm it; one that has gone with its VM is disarmed."""
        try:
            try:
                await self.refresh()
            finally:
                await self.client.run(of_faults.delete_fault(self._vm_id, self.info.fault_id))
        except NotFoundError:
            pass
        except ClientError:
            if error is None:
                raise


class AsyncVm(AsyncHandle[str]):
    """A VM.

    Attributes:
        info: The answer that made it, with its ETag; None if this is a handle of an id.
    """

    info: VmInfo | None = None

    get = bound_async(of_vms.get_vm)
    update = bound_async(of_vms.update_vm)
    delete = bound_async(of_vms.delete_vm)
    stage2 = bound_list_async(of_vms.get_stage2)
    cpus = bound_list_async(of_vms.list_cpus)
    memslots = bound_list_async(of_memory.list_memslots)
    faults = bound_list_async(of_faults.list_faults)
    add_fault = bound_async(of_faults.add_fault)
    get_fault = bound_async(of_faults.get_fault)
    delete_fault = bound_async(of_faults.delete_fault)
    delete_faults = bound_async(of_faults.delete_faults)
    workloads = bound_list_async(of_guest.list_workloads)
    add_workload = bound_async(of_guest.add_workload)
    get_workload = bound_async(of_guest.get_workload)
    delete_workload = bound_async(of_guest.delete_workload)
    delete_workloads = bound_async(of_guest.delete_workloads)
    clock = bound_async(of_guest.get_clock)
    advance_clock = bound_async(of_guest.advance_clock)
    run_guest = bound_async(of_guest.run_guest)
    guest_write = bound_async(of_memory.guest_write)
    guest_read = bound_async(of_memory.guest_read)
    host_write = bound_async(of_memory.host_write)
    host_unmap = bound_async(of_memory.host_unmap)
    batch = bound_async(of_vms.run_batch)
    migrate = then_async(
        bound_async(of_migrations.start_migration), lambda vm, info: begun_async(vm.client, info)
    )

    @property
    def vm_id(self) -> str:
        """Value of the VM's id."""
        return self._ref

    def cpu(self, number: int) -> AsyncCpu:
        """Name a host CPU."""
        return AsyncCpu(self.client, CpuRef(self._ref, number))

    def slot(self, number: int) -> AsyncSlot:
        """Name a memslot, which need not be there."""
        return AsyncSlot(self.client, SlotRef(self._ref, number))

    fault = scoping_async(of_faults.add_fault, AsyncArmedFault)


def made_vm(client: AsyncRunner, info: VmInfo) -> AsyncVm:
    """Give the VM of an answer."""
    vm = AsyncVm(client, info.vm_id)
    vm.info = info
    return vm


class AsyncSession(AsyncHandle[str]):
    """A session; as a context manager, deleted with all its VMs at the end."""

    get = bound_async(of_service.get_session)
    delete = bound_async(of_service.delete_session)
    reset = bound_async(of_service.reset_session)
    put_scenario = bound_async(of_scenarios.put_scenario)
    scenario = bound_async(of_scenarios.get_scenario)
    delete_scenario = bound_async(of_scenarios.delete_scenario)
    vms = bound_list_async(of_vms.list_vms)
    create_vm = then_async(
        bound_async(of_vms.create_vm), lambda session, info: made_vm(session.client, info)
    )

    @property
    def session_id(self) -> str:
        """Value of the session's id."""
        return self._ref

    async def __aenter__(self) -> Self:
        """Use the session."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Delete the session; after a failure, as far as the service still answers."""
        try:
            await self.delete()
        except ClientError:
            if error is None:
                raise


class AsyncClient:
    """A client of the service, for coroutines; without exception what `Client` has.

    Args:
        url: Where the service is; HACDBS_URL, or port 8000 of this machine, if absent.
        token: The bearer token; HACDBS_TOKEN if absent.
        timeout: Seconds to wait for a connection, or for the next part of an answer.
        retries: Requests after the first, where no answer came.

    Attributes:
        http: httpx's own client, for requests that this one would not make.
        history: The last requests that were sent.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        timeout: float = TIMEOUT_SECONDS,
        retries: int = RETRIES,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        token = token_of_environment() if token is None else token
        self.http = httpx.AsyncClient(**connection(url, token, timeout), transport=transport)
        self.history = History()
        self._retrying = Retrying(retries)

    @classmethod
    def in_process(cls, **settings: Any) -> Self:  # noqa: ANN401 - each setting has its type
        """Run the service in this process, on the caller's event loop, without a socket.

        Args:
            settings: The service's settings, as `max_vms=5`; else those of the environment.
        """
        application = load_application({**ANY_HOST, **settings})
        return cls(
            IN_PROCESS_URL, token=application.token or "", transport=LoopTransport(application)
        )

    async def __aenter__(self) -> Self:
        """Use the client; in process, start the service."""
        await self.http.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the client."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close connections; in process, stop the service."""
        await self.http.aclose()

    async def run(self, call: Call[T]) -> T:
        """Make a call, with retries."""
        exchange = Exchange(call, self._retrying)
        while True:
            try:
                answer = await self.http.request(**call.arguments())
            except httpx.RequestError as error:
                self.history.lost(call, error)
                await asyncio.sleep(exchange.lost(error))
                continue
            self.history.answered(answer)
            pause = exchange.answered(answer)
            if pause is None:
                return exchange.decode(answer)
            await asyncio.sleep(pause)

    index = root_async(of_service.get_index)
    livez = root_async(of_service.get_livez)
    readyz = root_async(of_service.get_readyz)
    version = root_async(of_service.get_version)
    metrics = root_async(of_service.get_metrics)
    capabilities = root_async(of_service.get_capabilities)
    fault_types = root_async(of_service.list_fault_types)
    cost_model = root_async(of_guest.get_cost_model)
    problem = root_async(of_service.get_problem)
    create_session = then_async(
        root_async(of_service.create_session),
        lambda client, info: AsyncSession(client, info.session_id),
    )
    sessions = root_list_async(of_service.list_sessions)
    scenarios = root_list_async(of_scenarios.list_scenarios)
    shipped_scenario = root_async(of_scenarios.get_shipped_scenario)
    create_vm = then_async(root_async(of_vms.create_vm), made_vm)
    vms = root_list_async(of_vms.list_vms)
    migrate = then_async(root_async(of_migrations.start_migration), begun_async)
    migrations = root_list_async(of_migrations.list_migrations)
    migration_presets = root_list_async(of_migrations.list_migration_presets)
    compare = then_async(root_async(of_migrations.start_comparison), compared_async)
    comparisons = root_list_async(of_migrations.list_comparisons)
    list_events = root_async(of_events.list_events)
    watch_events = root_watch_async(watch_events)

    def session(self, session_id: str = of_vms.DEFAULT_SESSION) -> AsyncSession:
        """Name a session, which need not be there."""
        return AsyncSession(self, session_id)

    def vm(self, vm_id: str) -> AsyncVm:
        """Name a VM, which need not be there."""
        return AsyncVm(self, vm_id)

    def migration(self, migration_id: str) -> AsyncMigration:
        """Name a migration, which need not be there."""
        return AsyncMigration(self, migration_id)

    def comparison(self, comparison_id: str) -> AsyncComparison:
        """Name a comparison, which need not be there."""
        return AsyncComparison(self, comparison_id)

    async def wait_ready(self, timeout: float = READY_SECONDS) -> None:  # noqa: ASYNC109 - as Client
        """Wait until the service takes work.

        Raises:
            WaitTimeoutError: It did not in time.
        """
        patience = Patience(timeout, "service that is ready")
        while True:
            try:
                await self.readyz()
            except ClientError as error:
                if not is_not_ready(error):
                    raise
                await asyncio.sleep(patience.pause(error))
            else:
                return

    async def wait_until(
        self,
        predicate: Callable[[], Awaitable[T]],
        timeout: float = WAIT_SECONDS,  # noqa: ASYNC109 - as Client
        *,
        what: str = "true answer of the predicate",
    ) -> T:
        """Call a predicate until what it gives is true, and give that.

        Raises:
            WaitTimeoutError: It was not in time; the message says what there is none of.
        """
        patience = Patience(timeout, what)
        while not (found := await predicate()):  # noqa: ASYNC110 - the service sets no event
            await asyncio.sleep(patience.pause())
        return found
