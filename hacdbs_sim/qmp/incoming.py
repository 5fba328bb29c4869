"""The migration that a destination receives."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from hacdbs_sim.client import AsyncClient, ClientError
from hacdbs_sim.qmp.addresses import Address
from hacdbs_sim.qmp.channel import GREETING, MAX_LINE, VERSION, Channel, Message
from hacdbs_sim.qmp.errors import QmpError
from hacdbs_sim.qmp.guest import Guest
from hacdbs_sim.qmp.state import RunState, State, Status

_NOT_A_SOURCE: Final = "load of migration failed: Invalid argument"
_SOURCE_WENT: Final = "load of migration failed: Input/output error"


class Incoming:
    """The migration that one side receives.

    Args:
        client: The service.
        guest: What arrives.
        state: The side.
        memslots: The numbers and sizes of the memslots that may arrive; empty: any.
        on_failure: Called with the reason if it fails and the process is to end.

    Attributes:
        status: Of the migration.
        is_autostart: Whether the guest runs once it has arrived, if it ran at the source.
    """

    def __init__(
        self,
        client: AsyncClient,
        guest: Guest,
        state: State,
        memslots: list[tuple[int, int]],
        on_failure: Callable[[str], None],
    ) -> None:
        self.status = Status.NONE
        self.is_autostart = True
        self._client = client
        self._guest = guest
        self._state = state
        self._memslots = memslots
        self._on_failure = on_failure
        self._has_started = False
        self._exits_on_error = True
        self._address: Address | None = None
        self._server: asyncio.Server | None = None
        self._channel: Channel | None = None
        self._error: str | None = None
        self._is_closed = False

    # Commands

    async def start(self, address: Address, *, exits_on_error: bool) -> None:
        """Wait for a migration at an address.

        Raises:
            QmpError: It cannot be done now, or there.
        """
        if self._state.run_state is not RunState.INMIGRATE and not self._has_started:
            raise QmpError("'-incoming' was not specified on the command line")
        if self._has_started:
            raise QmpError("The incoming migration has already been started")
        if self.status is not Status.NONE:
            raise QmpError(f"Illegal migration incoming state: {self.status}")
        self._exits_on_error = exits_on_error
        self._set_status(Status.SETUP)
        await self._wait_at(address)
        self._has_started = True

    async def recover(self, address: Address) -> None:
        """Wait for the source of a paused post-copy at another address.

        Raises:
            QmpError: None is paused, or it cannot be done there.
        """
        if self.status is not Status.POSTCOPY_PAUSED:
            raise QmpError("Migrate recover can only be run when postcopy is paused.")
        await self._wait_at(address)

    def pause(self) -> None:
        """Break the link of a post-copy."""
        if self._channel is not None:
            self._channel.close()

    def query(self) -> dict[str, Any]:
        """Return what query-migrate returns."""
        if self.status is Status.NONE:
            return {}
        found: dict[str, Any] = {"status": self.status.value}
        if self.status.is_running and self._address is not None:
            found["socket-address"] = [self._address.as_socket_address()]
        if self._error is not None:
            found["error-desc"] = self._error
        return found

    async def close(self) -> None:
        """End what runs: the process ends."""
        self._is_closed = True
        self._stop_listening()
        if self._channel is not None:
            self._channel.close()
            await self._channel.wait_closed()

    # The migration

    async def _wait_at(self, address: Address) -> None:
        self._stop_listening()
        self._server, self._address = await address.listen(self._receive, MAX_LINE)

    def _stop_listening(self) -> None:
        if self._server is not None and self._address is not None:
            self._server.close()
            self._address.unlink()
        self._server = None

    def _set_status(self, status: Status) -> None:
        self.status = status
        self._state.emit_status(status)

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        channel = Channel(reader, writer)
        if self._server is None:
            channel.close()
            return
        self._stop_listening()
        self._channel = channel
        is_recovery = self.status is Status.POSTCOPY_PAUSED
        self._set_status(Status.POSTCOPY_RECOVER if is_recovery else Status.ACTIVE)
        try:
            if await self._greet(channel, is_recovery=is_recovery):
                while (message := await channel.receive()) is not None:
                    await self._handle(channel, message)
                self._source_went()
        except (ClientError, QmpError) as error:
            self._fail(str(error))
        except (KeyError, TypeError, ValueError):  # messages of something else
            self._fail(_NOT_A_SOURCE)
        finally:
            channel.close()

    async def _greet(self, channel: Channel, *, is_recovery: bool) -> bool:
        """Accept a source, or refuse it; return whether it was accepted."""
        found = await channel.receive()
        refused = await self._refusal(found, is_recovery=is_recovery)
        if refused is None:
            await channel.send({"accepted": True})
            return True
        await channel.send({"refused": refused})
        if is_recovery:
            self._set_status(Status.POSTCOPY_PAUSED)
        else:
            self._fail(_SOURCE_WENT if found is None else _NOT_A_SOURCE)
        return False

    async def _refusal(self, greeting: Message | None, *, is_recovery: bool) -> str | None:
        if greeting is None or greeting.get(GREETING) != VERSION:
            return f"it is not a source of version {VERSION}"
        if greeting.get("is_resumed") is not is_recovery:
            return "a post-copy waits to be resumed" if is_recovery else "none waits to be resumed"
        memslots = [tuple(each) for each in greeting["memslots"]]
        if self._memslots and memslots != self._memslots:
            return f"it has other memslots (number, size): {self._memslots}, not {memslots}"
        try:
            await self._client.vm(greeting["vm_id"]).get()
        except ClientError as error:
            return f"its service does not know the VM {greeting['vm_id']}: {error}"
        self._guest.adopt(greeting["vm_id"])
        return None

    async def _handle(self, channel: Channel, message: Message) -> None:
        status = message.get("status")
        if status == Status.POSTCOPY_ACTIVE:
            is_begin = self.status is Status.ACTIVE
            self._set_status(Status.POSTCOPY_ACTIVE)
            if is_begin:
                self._let_run(is_running=message["is_running"])
        elif status == Status.COMPLETED:
            await self._complete(message)
            await channel.send({"acknowledged": True})

    def _let_run(self, *, is_running: bool) -> None:
        if is_running and self.is_autostart:
            self._state.resume()
        else:
            self._state.run_state = RunState.PAUSED

    async def _complete(self, message: Message) -> None:
        self._guest.adopt(message["vm_id"])
        self._guest.stopped = [*self._guest.stopped, *message["workloads"]]
        if self.status is Status.ACTIVE:
            if not self.is_autostart and message["is_running"]:
                await self._guest.stop()
            self._let_run(is_running=message["is_running"])
        self._set_status(Status.COMPLETED)

    def _source_went(self) -> None:
        if self._is_closed:
            return
        if self.status.is_postcopy:
            self._channel = None
            self._set_status(Status.POSTCOPY_PAUSED)
        elif self.status.is_running:
            self._fail(_SOURCE_WENT)

    def _fail(self, error: str) -> None:
        self._error = error
        self._guest.vm = None
        self._set_status(Status.FAILED)
        if self._exits_on_error:
            self._on_failure(error)
