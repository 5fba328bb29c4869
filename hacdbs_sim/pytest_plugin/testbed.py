"""One test's part of the service: its clients, its session, its VMs with their seeds."""

import hashlib
import re
import secrets
import shlex
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from typing import Any, Concatenate, Final, ParamSpec

import httpx

from hacdbs_sim.client import AsyncClient, AsyncSession, AsyncVm, Client, Service, Session, Vm
from hacdbs_sim.model import MIB, MemslotFlags, SetMemslot
from hacdbs_sim.pytest_plugin.failure_report import sections_of
from hacdbs_sim.pytest_plugin.kept_runs import KeptRuns, kept_runs

__tracebackhide__ = True

P = ParamSpec("P")

DEFAULT_MEMSLOT: Final = SetMemslot(
    slot=0, guest_phys_addr=0x4000_0000, memory_size=64 * MIB, flags=MemslotFlags.LOG_DIRTY_PAGES
)
SEED_BITS: Final = 53
"""Width of an integer in JSON."""


class Testbed:
    """One test's part of the service, which other runs may use at the same time if it is shared."""

    __test__ = False

    def __init__(
        self,
        service: Service,
        client: Client,
        nodeid: str,
        seed: int,
        *,
        is_shared: bool,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.client = client
        self.settings = dict(settings or {})
        self._service = service
        self._nodeid = nodeid
        self._seed = seed
        self._is_shared = is_shared
        self._session_id: str | None = None
        self._vms = 0

    @cached_property
    def async_client(self) -> AsyncClient:
        """The client for coroutines."""
        return AsyncClient(
            self._service.url,
            token=self._service.token or "",
            # No connection outlasts its request, so none has to be closed in the test's event loop
            transport=httpx.AsyncHTTPTransport(
                verify=not self._service.url.startswith("http:"),
                limits=httpx.Limits(max_keepalive_connections=0),
            ),
        )

    def create_session(self) -> Session:
        """Create the session; its id has the test's name, and a random part on a shared service."""
        name = re.sub(r"[^a-z0-9]+", "-", self._nodeid.rpartition("::")[2].lower()).strip("-")
        end = f"-{secrets.token_hex(4)}" if self._is_shared else ""
        self._session_id = f"t-{name[:32]}-{self._digest()[:10]}{end}"
        return self.client.create_session(self._session_id)

    def seed_of(self, number: int) -> int:
        """Return the seed of one of the test's VMs, by its number."""
        return int(self._digest(self._seed, number), 16) >> (256 - SEED_BITS)

    def sections(self) -> list[tuple[str, str]]:
        """Return the state of the session's VMs and the requests, under headings."""
        history = list(self.client.history)
        if "async_client" in vars(self):  # the test has used it
            history += self.async_client.history
        place = f" --hacdbs-url={self._service.url}" if self._is_shared else ""
        again = f"pytest {shlex.quote(self._nodeid)} --hacdbs-seed={self._seed}{place}"
        sections = sections_of(self._service, self._session_id, history)
        return [*sections, ("hacdbs-sim: to run it again", again)]

    def fields_of_next_vm(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of the test's next VM: given ones, those of its marks, defaults."""
        given = {"memslots": (DEFAULT_MEMSLOT,), **self.settings, **fields}
        if given.get("seed") is None:
            given["seed"] = self.seed_of(self._vms)
        self._vms += 1
        return given

    def kept_runs(self, *, is_reported: bool) -> KeptRuns:
        """Return the migrations of the session, and for a report its comparisons and scenario."""
        if self._session_id is None:
            return KeptRuns()
        return kept_runs(self._service, self._session_id, is_reported=is_reported)

    def _digest(self, *parts: object) -> str:
        name = "\0".join([self._nodeid, *map(str, parts)])
        return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()


def _like(
    _: Callable[Concatenate[Session, P], Vm],
) -> Callable[[Callable[..., Vm]], Callable[Concatenate["VmFactory", P], Vm]]:
    """Give a method the parameters of one of `Session`."""
    return lambda method: method


def _like_async(
    _: Callable[Concatenate[AsyncSession, P], Awaitable[AsyncVm]],
) -> Callable[
    [Callable[..., Awaitable[AsyncVm]]],
    Callable[Concatenate["AsyncVmFactory", P], Awaitable[AsyncVm]],
]:
    """Give a method the parameters of one of `AsyncSession`."""
    return lambda method: method


class VmFactory:
    """Creates VMs in a test's session."""

    def __init__(self, session: Session, testbed: Testbed) -> None:
        self._session = session
        self._testbed = testbed

    @_like(Session.create_vm)
    def __call__(self, **fields: Any) -> Vm:  # noqa: ANN401 - those of create_vm
        """Create a VM; the parameters are those of `Session.create_vm`.

        What is not given is that of `@pytest.mark.hacdbs`. Without `memslots` it has one of 64 MiB
        that logs; without `seed`, one derived from --hacdbs-seed and the test's name.
        """
        return self._session.create_vm(**self._testbed.fields_of_next_vm(fields))


class AsyncVmFactory:
    """Creates VMs in a test's session, for coroutines."""

    def __init__(self, session: AsyncSession, testbed: Testbed) -> None:
        self._session = session
        self._testbed = testbed

    @_like_async(AsyncSession.create_vm)
    async def __call__(self, **fields: Any) -> AsyncVm:  # noqa: ANN401 - those of create_vm
        """Create a VM, as `VmFactory` does."""
        return await self._session.create_vm(**self._testbed.fields_of_next_vm(fields))
