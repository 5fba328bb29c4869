"""The monitor: a socket that speaks QMP, to one client at a time."""

import asyncio
import sys
import traceback
from contextlib import suppress
from typing import Any, Final

import orjson

from hacdbs_sim.client import ClientError
from hacdbs_sim.qmp.addresses import Address
from hacdbs_sim.qmp.arguments import Array, Enumeration, Struct
from hacdbs_sim.qmp.commands import COMMANDS, NAMES, Command
from hacdbs_sim.qmp.endpoint import VERSION, Endpoint
from hacdbs_sim.qmp.errors import ErrorClass, QmpError
from hacdbs_sim.qmp.json_stream import Json, JsonStream

GREETING: Final = {"QMP": {"version": VERSION, "capabilities": ["oob"]}}
QUEUED: Final = 8
"""Commands that may wait; then nothing more is read, out of band or not."""

_READ_OCTETS: Final = 1 << 16
_END: Final = object()
_NEGOTIATE: Final = "qmp_capabilities"
_ENABLE: Final = Struct(optional={"enable": Array(Enumeration(("oob",)))})
_MEMBERS: Final = ("execute", "exec-oob", "arguments", "id", "control")


class Monitor:
    """Serves the clients of one side, one after the other.

    Args:
        endpoint: The side.
        address: Where it listens.
    """

    def __init__(self, endpoint: Endpoint, address: Address) -> None:
        self.address = address
        self._endpoint = endpoint
        self._turn = asyncio.Lock()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def listen(self) -> None:
        """Listen; a port 0 becomes the one that was free.

        Raises:
            QmpError: It cannot be listened on.
        """
        self._server, self.address = await self.address.listen(self._serve)

    async def close(self) -> None:
        """End all connections, once what was sent has gone; do nothing if it does not listen."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for writer in tuple(self._writers):
            writer.close()
            with suppress(OSError, TimeoutError):  # the client has gone, or reads nothing
                async with asyncio.timeout(1):
                    await writer.wait_closed()
        self.address.unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            async with self._turn:
                await _Session(self._endpoint, writer).run(reader)
        finally:
            self._writers.discard(writer)
            writer.close()


class _Session:
    """One client's connection."""

    def __init__(self, endpoint: Endpoint, writer: asyncio.StreamWriter) -> None:
        self._endpoint = endpoint
        self._writer = writer
        self._is_negotiated = False
        self._has_oob = False
        self._queue: asyncio.Queue[Json | QmpError] = asyncio.Queue(QUEUED)

    async def run(self, reader: asyncio.StreamReader) -> None:
        """Execute what the client sends, until it goes."""
        self._write(GREETING)
        listeners = self._endpoint.state.listeners
        listeners.append(self._on_event)
        working = asyncio.create_task(self._work())
        stream = JsonStream()
        try:
            while octets := await reader.read(_READ_OCTETS):
                for value in stream.feed(octets):
                    if self._is_oob(value):
                        await self._answer(value)
                    else:
                        await self._queue.put(value)
        except OSError:
            pass  # the client has gone
        finally:
            listeners.remove(self._on_event)
            await self._queue.put(_END)
            await working

    async def _work(self) -> None:
        while (value := await self._queue.get()) is not _END:
            await self._answer(value)

    def _on_event(self, event: dict[str, Any]) -> None:
        if self._is_negotiated:
            self._write(event)

    def _write(self, message: Json) -> None:
        if not self._writer.is_closing():
            self._writer.write(orjson.dumps(message) + b"\r\n")

    def _is_oob(self, value: Json | QmpError) -> bool:
        return self._has_oob and isinstance(value, dict) and "exec-oob" in value

    async def _answer(self, value: Json | QmpError) -> None:
        given = {"id": value["id"]} if isinstance(value, dict) and "id" in value else {}
        try:
            answer = {"return": await self._execute(value)}
        except QmpError as error:
            answer = {"error": {"class": error.kind.value, "desc": str(error)}}
        except ClientError as error:
            answer = {"error": {"class": ErrorClass.GENERIC.value, "desc": str(error)}}
        except Exception as error:  # noqa: BLE001 - a defect ends no connection
            traceback.print_exc(file=sys.stderr)
            desc = f"a defect of hacdbs-sim: {type(error).__name__}: {error}"
            answer = {"error": {"class": ErrorClass.GENERIC.value, "desc": desc}}
        self._write({**answer, **given})
        with suppress(OSError):
            await self._writer.drain()

    async def _execute(self, value: Json | QmpError) -> Any:  # noqa: ANN401
        """Execute a command; return what it returns.

        Raises:
            QmpError: It is refused.
        """
        if isinstance(value, QmpError):
            raise value
        name, arguments = self._read(value)
        if not self._is_negotiated or name == _NEGOTIATE:
            return self._negotiate(name, arguments)
        if name == "query-commands":
            Struct().read(arguments, "")
            return [{"name": each} for each in NAMES]
        command = self._command(name)
        if "exec-oob" in value and not command.is_oob:
            raise QmpError(f"The command {name} does not support OOB")
        found = await command.perform(self._endpoint, **command.arguments.read(arguments, ""))
        return {} if found is None else found

    def _read(self, value: Json) -> tuple[str, Json]:
        """Return a request's command and arguments."""
        if not isinstance(value, dict):
            raise QmpError("QMP input must be a JSON object")
        verbs = [each for each in ("execute", "exec-oob") if each in value]
        for name in value:
            is_known = name in _MEMBERS and (name != "exec-oob" or self._has_oob)
            if not is_known or (name == "exec-oob" and len(verbs) > 1):
                raise QmpError(f"QMP input member '{name}' is unexpected")
        for name in verbs:
            if not isinstance(value[name], str):
                raise QmpError(f"QMP input member '{name}' must be a string")
        if not verbs:
            raise QmpError("QMP input lacks member 'execute'")
        arguments = value.get("arguments", {})
        if not isinstance(arguments, dict):
            raise QmpError("QMP input member 'arguments' must be an object")
        return value[verbs[0]], arguments

    def _negotiate(self, name: str, arguments: Json) -> dict[str, Any]:
        if name != _NEGOTIATE:
            raise QmpError(
                f"Expecting capabilities negotiation with '{_NEGOTIATE}'",
                ErrorClass.COMMAND_NOT_FOUND,
            )
        if self._is_negotiated:
            raise QmpError(
                "Capabilities negotiation is already complete, command ignored",
                ErrorClass.COMMAND_NOT_FOUND,
            )
        self._has_oob = "oob" in _ENABLE.read(arguments, "").get("enable", [])
        self._is_negotiated = True
        return {}

    @staticmethod
    def _command(name: str) -> Command:
        if name not in COMMANDS:
            raise QmpError(f"The command {name} has not been found", ErrorClass.COMMAND_NOT_FOUND)
        return COMMANDS[name]
