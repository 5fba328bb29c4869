"""The migration that a source sends: one of the service's, shown as QEMU shows it.

The service reports each change of phase and each pass as an event, in order; what QEMU would have emitted
between two of them follows from the two.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final

import orjson

from hacdbs_sim import __version__
from hacdbs_sim.client import AsyncClient, AsyncMigration, ClientError, NotFoundError
from hacdbs_sim.qmp.addresses import Address
from hacdbs_sim.qmp.channel import GREETING, MAX_LINE, VERSION, Channel
from hacdbs_sim.qmp.errors import QmpError
from hacdbs_sim.qmp.guest import Guest
from hacdbs_sim.qmp.migration_spec import LinkOptions, changes_of, spec_of
from hacdbs_sim.qmp.state import RunState, State, Status

_POLL_SECONDS: Final = 20
_AGREEMENT_SECONDS: Final = 5.0
_STATUS_ALONE: Final = frozenset({Status.SETUP, Status.CANCELLED, Status.FAILED})
_PAUSED_BY_USER: Final = "Postcopy migration is paused by the user"
_CANCELLED_WHILE_PAUSED: Final = "Channel error: Input/output error"
_LINK_BROKE: Final = "Unable to write to socket: Broken pipe"


class Outgoing:
    """The migrations that one side sends, one after the other.

    Args:
        client: The service.
        guest: What is migrated.
        state: The side.
        link: What carries them.

    Attributes:
        status: Of the last one.
    """

    def __init__(self, client: AsyncClient, guest: Guest, state: State, link: LinkOptions) -> None:
        self.status = Status.NONE
        self._client = client
        self._guest = guest
        self._state = state
        self._link = link
        self._error: str | None = None
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._end = asyncio.Event()
        self._begin()

    def _begin(self) -> None:
        self._error = None
        self._migration: AsyncMigration | None = None
        self._channel: Channel | None = None
        self._passes = 0
        self._has_stopped_guest = False
        self._wants_postcopy = False
        self._is_abandoned = False
        self._acknowledged = asyncio.Event()

    # Commands

    def start(self, address: Address) -> None:
        """Begin to migrate to an address.

        Raises:
            QmpError: It cannot be done now.
        """
        if self.status.is_running:
            raise QmpError("There's a migration process in progress")
        if self._state.run_state is RunState.INMIGRATE:
            raise QmpError("Guest is waiting for an incoming migration")
        if self._state.run_state is RunState.POSTMIGRATE:
            raise QmpError("Can't migrate the vm that was paused due to previous migration")
        parameters = self._state.settings.parameters
        if parameters["mode"] != "normal":
            raise QmpError(f"migration mode {parameters['mode']} is not simulated")
        if parameters["tls-creds"]:
            raise QmpError("migration over TLS is not simulated: unset tls-creds")
        self._begin()
        self._end = asyncio.Event()
        self._set_status(Status.SETUP)
        self._run(self._migrate(address))

    def resume(self, address: Address) -> None:
        """Go on with a paused post-copy over another address.

        Raises:
            QmpError: None is paused.
        """
        if self.status is not Status.POSTCOPY_PAUSED:
            raise QmpError("Cannot resume if there is no paused migration")
        self._set_status(Status.POSTCOPY_RECOVER_SETUP)
        self._run(self._recover(address))

    async def cancel(self) -> None:
        """Cancel the migration; do nothing if none runs.

        Raises:
            QmpError: It is in post-copy.
        """
        if self.status.is_postcopy:
            raise QmpError("Postcopy migration in progress, cannot cancel.")
        if not self.status.is_running or self.status is Status.CANCELLING:
            return
        if self.status is Status.PRE_SWITCHOVER:
            self._error = _CANCELLED_WHILE_PAUSED
        self._set_status(Status.CANCELLING)
        self._end.set()
        if self._migration is not None:
            with suppress(ClientError):  # it has ended meanwhile
                await self._migration.cancel()

    async def continue_(self, state: str) -> None:
        """Go on after the pause before the switch-over.

        Raises:
            QmpError: The migration has another status.
        """
        if self.status != state:
            raise QmpError(f"Migration not in expected state: {self.status}")
        if self.status is Status.PRE_SWITCHOVER:
            await self._started.continue_()

    async def start_postcopy(self) -> None:
        """Let the guest run at the destination.

        Raises:
            QmpError: The migration does not allow it, or there is none.
        """
        if not self._state.settings.capabilities["postcopy-ram"]:
            raise QmpError(
                "Enable postcopy with migrate_set_capability before the start of migration"
            )
        if self.status is Status.NONE:
            raise QmpError("Postcopy must be started after migration has been started")
        self._wants_postcopy = True
        if self._migration is not None and self.status in {Status.SETUP, Status.ACTIVE}:
            with suppress(ClientError):  # the switch-over has begun meanwhile
                await self._migration.start_postcopy()

    async def pause(self) -> None:
        """Break the link of a post-copy.

        Raises:
            QmpError: There is none.
        """
        if self.status not in {Status.POSTCOPY_ACTIVE, Status.POSTCOPY_RECOVER}:
            raise QmpError(
                "migrate-pause is currently only supported during postcopy-active or"
                " postcopy-recover state"
            )
        self._error = _PAUSED_BY_USER
        await self._started.pause()

    async def update(self, changed: set[str]) -> None:
        """Apply parameters that were set to a migration that runs."""
        if self._migration is None or not self.status.is_running:
            return
        if wanted := changes_of(self._spec(), changed):
            with suppress(ClientError):  # it has ended meanwhile
                await self._migration.send("PATCH", body=wanted)

    async def query(self) -> dict[str, Any]:
        """Return what query-migrate returns."""
        with suppress(TimeoutError):  # the service has not caught up: what it has is returned
            async with asyncio.timeout(_AGREEMENT_SECONDS):
                while True:
                    self._news.clear()
                    found = await self._info()
                    if found.get("status", Status.NONE) == self.status:
                        return found
                    await self._news.wait()
        return await self._info()

    async def _info(self) -> dict[str, Any]:
        status = self.status
        if status is Status.NONE:
            return {}
        found: dict[str, Any] = {"status": status.value}
        if status not in _STATUS_ALONE and self._migration is not None:
            response = await self._migration.send("GET", "query-migrate")
            found = orjson.loads(response.content)
            if status in {Status.POSTCOPY_RECOVER_SETUP, Status.CANCELLING}:
                found["status"] = status.value
        if self._error is not None:
            found["error-desc"] = self._error
        return found

    async def close(self) -> None:
        """End what runs: the process ends."""
        self._is_abandoned = True
        channel = self._channel
        self._close_channel()
        if channel is not None:
            await channel.wait_closed()
        if self._migration is not None and self.status.is_running:
            with suppress(ClientError):  # it has ended, or its VM was deleted
                if self.status is Status.POSTCOPY_ACTIVE:
                    await self._migration.pause()
                else:
                    await self._migration.cancel()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    # A migration

    def _spec(self) -> dict[str, Any]:
        return spec_of(self._state.settings, self._link)

    @property
    def _started(self) -> AsyncMigration:
        assert self._migration is not None, "a migration in this status has begun"
        return self._migration

    def _run(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _set_status(self, status: Status) -> None:
        self.status = status
        self._state.emit_status(status)
        self._news.set()

    async def _migrate(self, address: Address) -> None:
        try:
            await self._unless_cancelled(self._connect(address, is_resumed=False))
            if self.status is Status.CANCELLING:
                self._ended(Status.CANCELLED)
                return
            after = (await self._client.list_events(limit=1)).last_event_id
            spec = self._spec()
            self._migration = await self._guest.here.start_migration(**spec)
            self._run(self._receive())
            await self._apply_early_commands()
            if self._spec() != spec:  # parameters were set meanwhile
                await self.update(set(self._state.settings.parameters))
            await self._follow(after)
        except (QmpError, ClientError) as error:
            self._error = str(error)
            self._ended(Status.FAILED)
        finally:
            self._close_channel()

    async def _apply_early_commands(self) -> None:
        """Do what was wanted while the connection was made."""
        if self.status is Status.CANCELLING:
            await self._started.cancel()
        elif self._wants_postcopy:
            await self._started.start_postcopy()
        elif self._state.run_state is RunState.PAUSED:
            await self._started.switch_over()  # nothing is written: QEMU stops at once

    async def _unless_cancelled(self, work: Coroutine[None, None, None]) -> None:
        """Do something that a cancellation ends."""
        doing, ending = asyncio.ensure_future(work), asyncio.ensure_future(self._end.wait())
        try:
            await asyncio.wait((doing, ending), return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                doing.result()
        finally:
            doing.cancel()
            ending.cancel()

    async def _connect(self, address: Address, *, is_resumed: bool) -> None:
        channel = Channel(*await address.connect(MAX_LINE))
        self._channel = channel
        await channel.send(
            {
                GREETING: VERSION,
                "program": __version__,
                "vm_id": self._guest.here.vm_id,
                "memslots": await self._guest.memslots(),
                "is_resumed": is_resumed,
            }
        )
        answer = await channel.receive()
        if answer is None or not answer.get("accepted"):
            refusal = "it closed the connection" if answer is None else answer.get("refused")
            raise QmpError(f"the destination at {address} refuses: {refusal}")

    async def _receive(self) -> None:
        """Receive from the destination; its end is the link's."""
        channel, acknowledged = self._channel, self._acknowledged
        assert channel is not None, "it is connected"
        while (message := await channel.receive()) is not None:
            if message.get("acknowledged"):
                acknowledged.set()
        acknowledged.set()
        if channel is not self._channel or self._is_abandoned or not self.status.is_running:
            return
        with suppress(ClientError):  # it has ended meanwhile
            if self.status.is_postcopy:
                self._error = self._error or _LINK_BROKE
                await self._started.pause()
            elif self.status is not Status.CANCELLING:
                self._error = _LINK_BROKE
                await self._lose_destination()

    async def _lose_destination(self) -> None:
        """Delete the destination's VM, which fails the migration."""
        info = self._started.info
        assert info is not None, "it was started here"
        assert info.destination_vm_id is not None, "it has a destination"
        with suppress(NotFoundError):
            await self._client.vm(info.destination_vm_id).delete()

    async def _follow(self, after: int) -> None:
        """Show what happens, to the end."""
        migration_id, vm_id = self._started.migration_id, self._guest.here.vm_id
        while self.status.is_running:
            page = await self._client.list_events(
                after=after, type="migration", vm_id=vm_id, wait_seconds=_POLL_SECONDS
            )
            after = page.next_after
            for event in page.events:
                if event.details["migration_id"] == migration_id:
                    passes = event.details["dirty_sync_count"]
                    await self._see(Status(str(event.details["status"])), int(passes or 0))
            if page.stale:
                info = await self._started.get()
                passes = 0 if info.qmp.ram is None else info.qmp.ram.dirty_sync_count
                await self._see(Status(info.status.value), passes)

    async def _see(self, status: Status, passes: int) -> None:
        """Show a change: the passes that have begun, then the status."""
        while self._passes < passes:
            self._passes += 1
            self._state.emit_pass(self._passes)
        if status is self.status or not self.status.is_running:
            return
        if status in {Status.PRE_SWITCHOVER, Status.DEVICE}:
            self._stop_guest()
        if not status.is_running:
            await self._finish(status)
        elif self.status is not Status.CANCELLING and status is not Status.SETUP:
            await self._enter(status)

    async def _enter(self, status: Status) -> None:
        if status is Status.POSTCOPY_ACTIVE:
            await self._enter_postcopy()
            return
        if status is Status.POSTCOPY_PAUSED:
            self._close_channel()
        self._set_status(status)

    async def _finish(self, status: Status) -> None:
        if status is Status.COMPLETED:
            await self._complete()
        elif status is Status.CANCELLED and self.status is Status.CANCELLING:
            self._ended(status)
        else:
            await self._explain()
            self._ended(Status.FAILED)

    async def _explain(self) -> None:
        """Find out why the service ended the migration."""
        info = await self._started.get()
        if info.problem is not None:
            self._error = self._error or info.problem.detail
        elif info.reason is not None:
            self._error = self._error or f"the service ended the migration: {info.reason.value}"

    def _stop_guest(self) -> None:
        if self._state.run_state is RunState.RUNNING:
            self._has_stopped_guest = True
            self._state.stop(RunState.FINISH_MIGRATE)
        else:
            self._state.run_state = RunState.FINISH_MIGRATE

    def _give_guest_back(self) -> None:
        if self._has_stopped_guest:
            self._has_stopped_guest = False
            self._state.resume()
        elif self._state.run_state is RunState.FINISH_MIGRATE:
            self._state.run_state = RunState.PAUSED

    def _ended(self, status: Status) -> None:
        """End without success: the guest runs on here."""
        self._close_channel()
        if status is Status.CANCELLED:
            self._give_guest_back()
        self._set_status(status)
        self._give_guest_back()

    async def _enter_postcopy(self) -> None:
        if self.status in {Status.POSTCOPY_PAUSED, Status.POSTCOPY_RECOVER_SETUP}:
            self._set_status(Status.POSTCOPY_RECOVER)
        self._set_status(Status.POSTCOPY_ACTIVE)
        await self._send({"status": Status.POSTCOPY_ACTIVE, "is_running": self._has_stopped_guest})

    async def _complete(self) -> None:
        info = await self._started.get()
        message = {
            "status": Status.COMPLETED,
            "vm_id": info.destination_vm_id,
            "is_running": self._has_stopped_guest,
            "workloads": self._guest.stopped,
        }
        capabilities = self._state.settings.capabilities
        self._state.run_state = RunState.POSTMIGRATE
        if capabilities["return-path"] or capabilities["postcopy-ram"]:
            await self._send(message)
            await self._acknowledged.wait()
            self._set_status(Status.COMPLETED)
        else:
            self._set_status(Status.COMPLETED)
            await self._send(message)

    async def _send(self, message: dict[str, Any]) -> None:
        if self._channel is not None:
            await self._channel.send(message)

    def _close_channel(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    async def _recover(self, address: Address) -> None:
        try:
            self._acknowledged = asyncio.Event()
            await self._connect(address, is_resumed=True)
            self._error = None
            self._run(self._receive())
            await self._started.resume()
        except (QmpError, ClientError) as error:
            self._error = str(error)
            self._close_channel()
            self._set_status(Status.POSTCOPY_PAUSED)
