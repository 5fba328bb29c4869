"""The client: the service itself, and the handles of its objects."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Self, TypeVar

import httpx
from typing_extensions import override

from hacdbs_sim import model
from hacdbs_sim.client._async.migrations import AsyncComparison, AsyncMigration
from hacdbs_sim.client._async.resource import AsyncSender
from hacdbs_sim.client._async.session import AsyncSession, AsyncVmMaker
from hacdbs_sim.client._async.vm import AsyncVm
from hacdbs_sim.client.bodies import listed, plain
from hacdbs_sim.client.connecting import TIMEOUT_SECONDS, connection, token_of_environment
from hacdbs_sim.client.errors import ConflictError, TransportError
from hacdbs_sim.client.in_process import ANY_HOST, IN_PROCESS_URL, LoopTransport, load_application
from hacdbs_sim.client.pairs import async_sleep, async_start
from hacdbs_sim.client.request import arguments, given
from hacdbs_sim.client.results import read
from hacdbs_sim.client.retrying import RETRIES
from hacdbs_sim.client.waiting import POLL_SECONDS, READY_SECONDS, WAIT_SECONDS, Patience
from hacdbs_sim.model import DEFAULT_SESSION

__tracebackhide__ = True

T = TypeVar("T")


class AsyncClient(AsyncVmMaker):
    """A client of the service, for coroutines.

    Args:
        url: Where the service is; HACDBS_URL, or port 8000 of this machine, if None.
        token: The bearer token; HACDBS_TOKEN if None.
        timeout: Seconds to wait for a connection, or for the next part of a response.
        retries: Requests after the first, if there is no response.
        transport: httpx's transport; one of its own if None.

    Attributes:
        http: httpx's own client, for requests without retries and exceptions.
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
        super().__init__(AsyncSender(self.http, retries))
        self.history = self._sender.history

    @classmethod
    def in_process(cls, **settings: Any) -> Self:  # noqa: ANN401 - each setting has its type
        """Run the service in this process, without a socket; it starts with the `async with` block.

        Args:
            settings: The service's settings, as `max_vms=5`; else those of the environment.
        """
        application = load_application({**ANY_HOST, **settings})
        transport = LoopTransport(application)
        return cls(IN_PROCESS_URL, token=application.token or "", transport=transport)

    @override
    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.http.base_url}>"

    async def __aenter__(self) -> Self:
        await async_start(self.http)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close connections; in process, stop the service."""
        await self.http.aclose()

    def accept_restart(self) -> None:
        """Continue after a `ServiceRestartedError`: what this client made before is gone."""
        self._sender.instance.accept_next()

    def session(self, session_id: str = DEFAULT_SESSION) -> AsyncSession:
        """Return the handle of a session, which need not exist."""
        return AsyncSession(self._sender, session_id)

    def vm(self, vm_id: str) -> AsyncVm:
        """Return the handle of a VM, which need not exist."""
        return AsyncVm(self._sender, vm_id)

    def migration(self, migration_id: str) -> AsyncMigration:
        """Return the handle of a migration, which need not exist."""
        return AsyncMigration(self._sender, migration_id)

    def comparison(self, comparison_id: str) -> AsyncComparison:
        """Return the handle of a comparison, which need not exist."""
        return AsyncComparison(self._sender, comparison_id)

    async def get_index(self) -> model.Index:
        """Return links to the main resources."""
        return read(model.Index, await self.send("GET"))

    async def get_livez(self) -> model.Health:
        """Return whether the process is alive."""
        return read(model.Health, await self.send("GET", "livez"))

    async def get_readyz(self) -> model.Health:
        """Return whether the service is ready; while it is stopping, this is refused."""
        return read(model.Health, await self.send("GET", "readyz"))

    async def get_version(self) -> model.Version:
        """Return the version of the service."""
        return read(model.Version, await self.send("GET", "version"))

    async def get_metrics(self) -> str:
        """Return the metrics in Prometheus' text format."""
        return (await self.send("GET", "metrics")).text

    async def get_problem(self, code: str) -> model.ProblemType:
        """Return what a problem's code means."""
        return read(model.ProblemType, await self.send("GET", "problems", code))

    async def get_capabilities(self) -> model.Capabilities:
        """Return what KVM_CHECK_EXTENSION would, and the limits."""
        return read(model.Capabilities, await self.send("GET", "v1", "capabilities"))

    async def list_fault_types(self) -> tuple[model.FaultTypeInfo, ...]:
        """Describe the types of fault."""
        return read(model.FaultTypeList, await self.send("GET", "v1", "fault-types")).fault_types

    async def get_cost_model(self) -> model.CostModelInfo:
        """Describe the knobs that turn counted events into virtual time."""
        return read(model.CostModelInfo, await self.send("GET", "v1", "cost-model"))

    async def create_session(
        self, session_id: str | None = None, *, key: str | None = None
    ) -> AsyncSession:
        """Create a session; without an id it gets the next free one of s1, s2, ..."""
        body = given(session_id=session_id)
        response = await self.send("POST", "v1", "sessions", body=body, key=key)
        return AsyncSession(self._sender, read(model.SessionInfo, response).session_id)

    def list_sessions(self, *, limit: int | None = None) -> AsyncIterator[model.SessionInfo]:
        """List the sessions, by id; `limit` is the page size of one request."""
        return self.list_items(model.SessionList, "v1", "sessions", params={"limit": limit})

    def list_scenarios(self, *, limit: int | None = None) -> AsyncIterator[model.BuiltinScenario]:
        """List the builtin scenarios, by name; `limit` is the page size of one request."""
        return self.list_items(model.ScenarioList, "v1", "scenarios", params={"limit": limit})

    async def get_builtin_scenario(self, name: str) -> model.BuiltinScenario:
        """Return a builtin scenario."""
        return read(model.BuiltinScenario, await self.send("GET", "v1", "scenarios", name))

    def list_vms(
        self, session_id: str = DEFAULT_SESSION, *, limit: int | None = None
    ) -> AsyncIterator[model.VmInfo]:
        """List the VMs of a session, `-` for all; `limit` is the page size of one request."""
        params = {"session_id": session_id, "limit": limit}
        return self.list_items(model.VmList, "v1", "vms", params=params)

    def list_migrations(
        self, session_id: str = DEFAULT_SESSION, *, limit: int | None = None
    ) -> AsyncIterator[model.MigrationBrief]:
        """List the migrations of a session, `-` for all; `limit` is that of one request."""
        params = {"session_id": session_id, "limit": limit}
        return self.list_items(model.MigrationList, "v1", "migrations", params=params)

    def list_migration_presets(self, *, limit: int | None = None) -> AsyncIterator[model.Preset]:
        """List the presets: migrations with a known result, each with its VM."""
        return self.list_items(model.PresetList, "v1", "migration-presets", params={"limit": limit})

    async def start_comparison(
        self,
        vm: model.CreateVm | Mapping[str, Any],
        migration: Mapping[str, Any] | None = None,
        *,
        variants: Sequence[model.Variant | Mapping[str, Any]] | None = None,
        pace_ms: int | None = None,
        key: str | None = None,
    ) -> AsyncComparison:
        """Run one migration of one VM in variants, by default hacdbs, software and faults.

        Args:
            vm: The body of a VM to make; it does not appear in the session.
            migration: The fields of a migration, without the VM's id.
            variants: A name for each, and the fields of the VM that differ.
            pace_ms: Real milliseconds to wait after each iteration, to watch it.
            key: The call's Idempotency-Key.
        """
        body = given(
            vm=vm,
            migration=None if migration is None else dict(migration),
            variants=None if variants is None else listed("variants", variants, plain),
            pace_ms=pace_ms,
        )
        response = await self.send("POST", "v1", "comparisons", body=body, key=key)
        info = read(model.ComparisonInfo, response)
        return AsyncComparison(self._sender, info.comparison_id, info)

    def list_comparisons(
        self, session_id: str = DEFAULT_SESSION, *, limit: int | None = None
    ) -> AsyncIterator[model.ComparisonBrief]:
        """List the comparisons of a session, `-` for all; `limit` is that of one request."""
        params = {"session_id": session_id, "limit": limit}
        return self.list_items(model.ComparisonList, "v1", "comparisons", params=params)

    async def list_events(
        self,
        *,
        after: int | None = None,
        type: str | None = None,  # noqa: A002 - the field's name
        session_id: str | None = None,
        vm_id: str | None = None,
        limit: int | None = None,
        wait_seconds: int | None = None,
    ) -> model.EventPage:
        """Return the events behind one, oldest first; without `after` all that are stored.

        Args:
            after: The id of the last event known.
            type: Types, comma separated; others are left out.
            session_id: Leave out what happened in other sessions.
            vm_id: Leave out what happened on other VMs.
            limit: The most events to return.
            wait_seconds: How long to wait if there is none, up to 60.
        """
        params = arguments(locals())
        return read(model.EventPage, await self.send("GET", "v1", "events", params=params))

    async def watch_events(
        self,
        *,
        after: int | None = None,
        type: str | None = None,  # noqa: A002 - the field's name
        session_id: str | None = None,
        vm_id: str | None = None,
    ) -> AsyncIterator[model.Event | model.StaleReader]:
        """Yield events as they happen, without end: first the stored ones, or those behind `after`.

        A `StaleReader` precedes events if earlier ones were missed: the service stores the last
        4,096. This polls: a request that waits can be retried, and works in process too.
        """
        while True:
            page = await self.list_events(
                after=after,
                type=type,
                session_id=session_id,
                vm_id=vm_id,
                limit=1_000,
                wait_seconds=POLL_SECONDS,
            )
            after = page.next_after
            if page.stale:
                oldest, last = page.oldest_event_id, page.last_event_id
                yield model.StaleReader(oldest_event_id=oldest, last_event_id=last)
            for event in page.events:
                yield event

    async def wait_ready(self, timeout: float = READY_SECONDS) -> None:
        """Wait until the service is ready.

        Raises:
            WaitTimeoutError: It did not in time.
        """
        patience = Patience(timeout, "service that is ready")
        while True:
            try:
                await self.get_readyz()
            except (TransportError, ConflictError) as error:
                if isinstance(error, ConflictError) and error.code != "not_ready":
                    raise
                await async_sleep(patience.pause(error))
            else:
                return

    async def wait_until(
        self,
        predicate: Callable[[], Awaitable[T]],
        timeout: float = WAIT_SECONDS,
        *,
        what: str = "true result of the predicate",
    ) -> T:
        """Call a predicate until its result is true, and return that.

        Raises:
            WaitTimeoutError: It was not in time; the message names `what`.
        """
        patience = Patience(timeout, what)
        while not (found := await predicate()):
            await async_sleep(patience.pause())
        return found
