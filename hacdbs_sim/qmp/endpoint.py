"""One side of a migration: what a process of QEMU is to its QMP client."""

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from hacdbs_sim import __version__
from hacdbs_sim.client import AsyncClient, AsyncVm
from hacdbs_sim.qmp.addresses import of_migration
from hacdbs_sim.qmp.dirty_rates import DirtyRates
from hacdbs_sim.qmp.errors import QmpError
from hacdbs_sim.qmp.guest import Guest
from hacdbs_sim.qmp.incoming import Incoming
from hacdbs_sim.qmp.migration_spec import LinkOptions
from hacdbs_sim.qmp.outgoing import Outgoing
from hacdbs_sim.qmp.settings import PARAMETERS
from hacdbs_sim.qmp.state import RunState, State, Status

VERSION: Final = {
    "qemu": {"major": 10, "minor": 0, "micro": 2},
    "package": f"hacdbs-sim {__version__}",
}
"""The version of QEMU whose behaviour this is, and who it really is."""

_NO_RING: Final = (
    "dirty page limit feature requires KVM with accelerator property 'dirty-ring-size' set'"
)


@dataclass(frozen=True, slots=True)
class Exit:
    """Why the process ends.

    Attributes:
        status: Its exit status.
        reason: QMP's ShutdownCause; None: it ends without an event.
        message: For standard error.
    """

    status: int
    reason: str | None = None
    message: str = ""


class Endpoint:
    """One side: its commands, by their names with underscores.

    Args:
        client: The service.
        vm: The guest; None: it is to arrive.
        memslots: The numbers and sizes of the memslots that may arrive; empty: any.
        name: As query-name returns it; empty: none.
        link: What carries its migrations.

    Attributes:
        state: What it is at present.
        exited: Why it ends, once it does.
    """

    def __init__(
        self,
        client: AsyncClient,
        vm: AsyncVm | None,
        *,
        memslots: list[tuple[int, int]] | None = None,
        name: str = "",
        link: LinkOptions | None = None,
    ) -> None:
        link = link or LinkOptions()
        self.state = State(RunState.INMIGRATE if vm is None else RunState.RUNNING)
        self.exited: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._name = name
        self._memslots = memslots or []
        self._guest = Guest(client, vm)
        self._outgoing = Outgoing(client, self._guest, self.state, link)
        self._incoming = Incoming(client, self._guest, self.state, self._memslots, self._failed)
        self._dirty_rates = DirtyRates(self._guest, link.pace)

    def exit(self, how: Exit) -> None:
        """End."""
        if not self.exited.done():
            self.exited.set_result(how)

    def _failed(self, error: str) -> None:
        self.exit(Exit(1, message=error))

    async def close(self) -> None:
        """End what runs."""
        self._dirty_rates.close()
        await self._incoming.close()
        await self._outgoing.close()

    # What it is

    async def query_version(self) -> dict[str, Any]:
        """Return the version of QEMU that is simulated, and of the simulator."""
        return VERSION

    async def query_name(self) -> dict[str, str]:
        """Return the name, if there is one."""
        return {"name": self._name} if self._name else {}

    async def query_status(self) -> dict[str, Any]:
        """Return whether the guest runs, or why not."""
        run_state = self.state.run_state
        return {"running": run_state is RunState.RUNNING, "status": run_state.value}

    async def query_memory_size_summary(self) -> dict[str, int]:
        """Return the size of the memory."""
        memslots = self._memslots or await self._guest.memslots()
        return {"base-memory": sum(size for _, size in memslots), "plugged-memory": 0}

    async def stop(self) -> None:
        """Stop the guest; one that is to arrive does not run then."""
        if self.state.run_state is RunState.INMIGRATE:
            self._incoming.is_autostart = False
        elif self.state.run_state is RunState.RUNNING:
            await self._guest.stop()
            self.state.stop(RunState.PAUSED)

    async def cont(self) -> None:
        """Let the guest run; one that is to arrive runs then."""
        run_state = self.state.run_state
        if run_state is RunState.FINISH_MIGRATE:
            raise QmpError("Migration is not finalized yet")
        if run_state is RunState.INMIGRATE:
            self._incoming.is_autostart = True
        elif run_state is not RunState.RUNNING:
            await self._guest.go_on()
            self.state.resume()

    async def quit(self) -> None:
        """End the process."""
        self.exit(Exit(0, "host-qmp-quit"))

    # Settings

    async def migrate_set_capabilities(self, capabilities: list[dict[str, Any]]) -> None:
        """Set capabilities: all, or none."""
        if self._outgoing.status.is_running or self._incoming.status.is_running:
            raise QmpError("There's a migration process in progress")
        wanted = {each["capability"]: each["state"] for each in capabilities}
        self.state.settings.set_capabilities(wanted)

    async def query_migrate_capabilities(self) -> list[dict[str, Any]]:
        """Return the capabilities, in QEMU's order."""
        return [
            {"capability": name, "state": state}
            for name, state in self.state.settings.capabilities.items()
        ]

    async def migrate_set_parameters(self, **parameters: Any) -> None:  # noqa: ANN401
        """Set parameters: all, or none; a migration that runs follows."""
        wanted = {name: parameters[name] for name in PARAMETERS if name in parameters}
        self.state.settings.set_parameters(wanted)
        await self._outgoing.update(set(wanted))

    async def query_migrate_parameters(self) -> dict[str, Any]:
        """Return the parameters."""
        return self.state.settings.parameters

    # Migrations

    async def migrate(self, **arguments: Any) -> None:  # noqa: ANN401
        """Begin to migrate, or resume a paused post-copy."""
        address = of_migration(arguments)
        if arguments.get("resume"):
            self._outgoing.resume(address)
        else:
            self._outgoing.start(address)

    async def migrate_incoming(self, **arguments: Any) -> None:  # noqa: ANN401
        """Wait for a migration."""
        exits_on_error = arguments.get("exit-on-error", True)
        await self._incoming.start(of_migration(arguments), exits_on_error=exits_on_error)

    async def query_migrate(self) -> dict[str, Any]:
        """Return how far the migration is."""
        if self._outgoing.status is Status.NONE:
            return self._incoming.query()
        return await self._outgoing.query()

    async def migrate_continue(self, state: str) -> None:
        """Go on after the pause before the switch-over."""
        await self._outgoing.continue_(state)

    async def migrate_cancel(self) -> None:
        """Cancel the migration."""
        await self._outgoing.cancel()

    async def migrate_start_postcopy(self) -> None:
        """Let the guest run at the destination."""
        await self._outgoing.start_postcopy()

    async def migrate_pause(self) -> None:
        """Break the link of a post-copy."""
        if self._incoming.status is Status.POSTCOPY_ACTIVE:
            self._incoming.pause()
        else:
            await self._outgoing.pause()

    async def migrate_recover(self, uri: str) -> None:
        """Wait for the source of a paused post-copy."""
        await self._incoming.recover(of_migration({"uri": uri}))

    # Rates

    async def calc_dirty_rate(self, **arguments: Any) -> None:  # noqa: ANN401
        """Begin to measure the dirty rate."""
        self._dirty_rates.start(
            **{name.replace("-", "_"): each for name, each in arguments.items()}
        )

    async def query_dirty_rate(self, **arguments: str) -> dict[str, Any]:
        """Return the dirty rate."""
        return self._dirty_rates.query(arguments.get("calc-time-unit", "second"))

    async def set_vcpu_dirty_limit(self, **_: Any) -> None:  # noqa: ANN401
        """Refuse: there is no dirty ring."""
        raise QmpError(_NO_RING)

    async def query_vcpu_dirty_limit(self) -> list[Any]:
        """Return the limits: without a ring there are none."""
        return []

    async def cancel_vcpu_dirty_limit(self, **_: Any) -> None:  # noqa: ANN401
        """Do nothing: without a ring there is no limit."""
