"""The client for threads: `Client`, and the objects that it gives."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from hacdbs_sim.client.answers import FaultInfo, VmInfo
from hacdbs_sim.client.binding import (
    Handle,
    Runner,
    bound,
    bound_list,
    root,
    root_list,
    scoping,
    then,
)
from hacdbs_sim.client.call import Call
from hacdbs_sim.client.connecting import (
    TIMEOUT_SECONDS,
    History,
    connection,
    token_of_environment,
)
from hacdbs_sim.client.errors import ClientError, NotFoundError
from hacdbs_sim.client.event_stream import root_watch, watch_events
from hacdbs_sim.client.in_process import ANY_HOST, IN_PROCESS_URL, ThreadTransport, load_application
from hacdbs_sim.client.migrating import (
    Comparison,
    Migration,
    begun,
    compared,
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


class Cpu(Handle[CpuRef]):
    """A host CPU of a VM, with its unit."""

    get = bound(of_vms.get_cpu)
    set = bound(of_vms.set_cpu)
    plug = bound(of_vms.plug)
    unplug = bound(of_vms.unplug)


class Slot(Handle[SlotRef]):
    """A memslot of a VM."""

    get = bound(of_memory.get_memslot)
    set = bound(of_memory.set_memslot)
    delete = bound(of_memory.delete_memslot)
    get_dirty_log = bound(of_memory.get_dirty_log)
    peek = bound(of_memory.peek_dirty_log)
    heat = bound(of_memory.get_heat)
    clear = bound(of_memory.clear_dirty_log)

    @property
    def number(self) -> int:
        """Value of the slot's number."""
        return self._ref.slot


class ArmedFault:
    """A fault that is armed while a `with` block runs.

    Attributes:
        info: The fault as last seen: after the block, as it was when it was disarmed.
    """

    info: FaultInfo

    def __init__(self, client: Runner, vm_id: str, arm: Call[FaultInfo]) -> None:
        self.client = client
        self._vm_id = vm_id
        self._arm = arm

    @property
    def hits(self) -> int:
        """Value of how often it struck, as last seen."""
        return self.info.hits

    def refresh(self) -> FaultInfo:
        """Look at the fault anew."""
        self.info = self.client.run(of_faults.get_fault(self._vm_id, self.info.fault_id))
        return self.info

    def __enter__(self) -> Self:
        """Arm the fault."""
        self.info = self.client.run(self._arm)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Look at the fault a last time and disarm it; one that has gone with its VM is disarmed."""
        try:
            try:
                self.refresh()
            finally:
                self.client.run(of_faults.delete_fault(self._vm_id, self.info.fault_id))
        except NotFoundError:
            pass
        except ClientError:
            if error is None:
                raise


class Vm(Handle[str]):
    """A VM.

    Attributes:
        info: The answer that made it, with its ETag; None if this is a handle of an id.
    """

    info: VmInfo | None = None

    get = bound(of_vms.get_vm)
    update = bound(of_vms.update_vm)
    delete = bound(of_vms.delete_vm)
    stage2 = bound_list(of_vms.get_stage2)
    cpus = bound_list(of_vms.list_cpus)
    memslots = bound_list(of_memory.list_memslots)
    faults = bound_list(of_faults.list_faults)
    add_fault = bound(of_faults.add_fault)
    get_fault = bound(of_faults.get_fault)
    delete_fault = bound(of_faults.delete_fault)
    delete_faults = bound(of_faults.delete_faults)
    workloads = bound_list(of_guest.list_workloads)
    add_workload = bound(of_guest.add_workload)
    get_workload = bound(of_guest.get_workload)
    delete_workload = bound(of_guest.delete_workload)
    delete_workloads = bound(of_guest.delete_workloads)
    clock = bound(of_guest.get_clock)
    advance_clock = bound(of_guest.advance_clock)
    run_guest = bound(of_guest.run_guest)
    guest_write = bound(of_memory.guest_write)
    guest_read = bound(of_memory.guest_read)
    host_write = bound(of_memory.host_write)
    host_unmap = bound(of_memory.host_unmap)
    batch = bound(of_vms.run_batch)
    migrate = then(bound(of_migrations.start_migration), lambda vm, info: begun(vm.client, info))

    @property
    def vm_id(self) -> str:
        """Value of the VM's id."""
        return self._ref

    def cpu(self, number: int) -> Cpu:
        """Name a host CPU."""
        return Cpu(self.client, CpuRef(self._ref, number))

    def slot(self, number: int) -> Slot:
        """Name a memslot, which need not be there."""
        return Slot(self.client, SlotRef(self._ref, number))

    fault = scoping(of_faults.add_fault, ArmedFault)


def made_vm(client: Runner, info: VmInfo) -> Vm:
    """Give the VM of an answer."""
    vm = Vm(client, info.vm_id)
    vm.info = info
    return vm


class Session(Handle[str]):
    """A session; as a context manager, deleted with all its VMs at the end."""

    get = bound(of_service.get_session)
    delete = bound(of_service.delete_session)
    reset = bound(of_service.reset_session)
    put_scenario = bound(of_scenarios.put_scenario)
    scenario = bound(of_scenarios.get_scenario)
    delete_scenario = bound(of_scenarios.delete_scenario)
    vms = bound_list(of_vms.list_vms)
    create_vm = then(bound(of_vms.create_vm), lambda session, info: made_vm(session.client, info))

    @property
    def session_id(self) -> str:
        """Value of the session's id."""
        return self._ref

    def __enter__(self) -> Self:
        """Use the session."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Delete the session; after a failure, as far as the service still answers."""
        try:
            self.delete()
        except ClientError:
            if error is None:
                raise


class Client:
    """A client of the service. Threads may share one.

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
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        token = token_of_environment() if token is None else token
        self.http = httpx.Client(**connection(url, token, timeout), transport=transport)
        self.history = History()
        self._retrying = Retrying(retries)

    @classmethod
    def in_process(cls, **settings: Any) -> Self:  # noqa: ANN401 - each setting has its type
        """Run the service in this process, on an event loop in a thread, without a socket.

        Args:
            settings: The service's settings, as `max_vms=5`; else those of the environment.
        """
        application = load_application({**ANY_HOST, **settings})
        return cls(
            IN_PROCESS_URL, token=application.token or "", transport=ThreadTransport(application)
        )

    def __enter__(self) -> Self:
        """Use the client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the client."""
        self.close()

    def close(self) -> None:
        """Close connections; in process, stop the service."""
        self.http.close()

    def run(self, call: Call[T]) -> T:
        """Make a call, with retries."""
        exchange = Exchange(call, self._retrying)
        while True:
            try:
                answer = self.http.request(**call.arguments())
            except httpx.RequestError as error:
                self.history.lost(call, error)
                time.sleep(exchange.lost(error))
                continue
            self.history.answered(answer)
            pause = exchange.answered(answer)
            if pause is None:
                return exchange.decode(answer)
            time.sleep(pause)

    index = root(of_service.get_index)
    livez = root(of_service.get_livez)
    readyz = root(of_service.get_readyz)
    version = root(of_service.get_version)
    metrics = root(of_service.get_metrics)
    capabilities = root(of_service.get_capabilities)
    fault_types = root(of_service.list_fault_types)
    cost_model = root(of_guest.get_cost_model)
    problem = root(of_service.get_problem)
    create_session = then(
        root(of_service.create_session), lambda client, info: Session(client, info.session_id)
    )
    sessions = root_list(of_service.list_sessions)
    scenarios = root_list(of_scenarios.list_scenarios)
    shipped_scenario = root(of_scenarios.get_shipped_scenario)
    create_vm = then(root(of_vms.create_vm), made_vm)
    vms = root_list(of_vms.list_vms)
    migrate = then(root(of_migrations.start_migration), begun)
    migrations = root_list(of_migrations.list_migrations)
    migration_presets = root_list(of_migrations.list_migration_presets)
    compare = then(root(of_migrations.start_comparison), compared)
    comparisons = root_list(of_migrations.list_comparisons)
    list_events = root(of_events.list_events)
    watch_events = root_watch(watch_events)

    def session(self, session_id: str = of_vms.DEFAULT_SESSION) -> Session:
        """Name a session, which need not be there."""
        return Session(self, session_id)

    def vm(self, vm_id: str) -> Vm:
        """Name a VM, which need not be there."""
        return Vm(self, vm_id)

    def migration(self, migration_id: str) -> Migration:
        """Name a migration, which need not be there."""
        return Migration(self, migration_id)

    def comparison(self, comparison_id: str) -> Comparison:
        """Name a comparison, which need not be there."""
        return Comparison(self, comparison_id)

    def wait_ready(self, timeout: float = READY_SECONDS) -> None:
        """Wait until the service takes work.

        Raises:
            WaitTimeoutError: It did not in time.
        """
        patience = Patience(timeout, "service that is ready")
        while True:
            try:
                self.readyz()
            except ClientError as error:
                if not is_not_ready(error):
                    raise
                time.sleep(patience.pause(error))
            else:
                return

    def wait_until(
        self,
        predicate: Callable[[], T],
        timeout: float = WAIT_SECONDS,
        *,
        what: str = "true answer of the predicate",
    ) -> T:
        """Call a predicate until what it gives is true, and give that.

        Raises:
            WaitTimeoutError: It was not in time; the message says what there is none of.
        """
        patience = Patience(timeout, what)
        while not (found := predicate()):
            time.sleep(patience.pause())
        return found
