"""A real migration, from one QEMU process to another, driven over QMP and recorded.

A recording is a list of JSON objects, one for each thing that happened: `t_ms`, real milliseconds since
the start, and `kind`: `greeting`; `setting`; `call` (side, execute, arguments, ret, took_ms); `event`
(side, event as QEMU sent it); `guest-writes` (n, the guest's own count); `load` (the share of the time
in which threads of the two processes waited for a CPU, and the load average); `link` (what a unix
socket carried before).
"""

import asyncio
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Final, TextIO

from qemu.qmp import EventListener, Message, QMPClient

from bench.against_qemu import guest
from bench.against_qemu.recording import Line
from bench.against_qemu.settings import Change, Setting
from bench.rows import SkippedError

PROGRAM: Final = "qemu-system-x86_64"
OLDEST: Final = 10
"""The first version whose migrations are compared."""

KVM: Final = Path("/dev/kvm")
START_SECONDS: Final = 60.0
SECONDS: Final = 120.0
"""A migration that takes longer is not one of the settings."""

WARM_UP_SECONDS: Final = 1.0
"""The guest writes for so long before it is migrated."""

_RELAYED_BYTES: Final = 1 << 16
_MADE_UP_SECONDS: Final = 0.1
"""A relay that sleeps too long makes up for so much."""

_ENDS: Final = ("completed", "failed", "cancelled")


def find_qemu() -> str:
    """Return the path of QEMU.

    Raises:
        SkippedError: No migration can be run here.
    """
    path = shutil.which(PROGRAM)
    if path is None:
        raise SkippedError(f"there is no {PROGRAM} here")
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"version (\d+)\.(\S+)", said)
    if found is None or int(found[1]) < OLDEST:
        version = said.partition("\n")[0]
        raise SkippedError(f"QEMU {OLDEST} or newer is needed, here is: {version}")
    if platform.machine() != "x86_64" or not os.access(KVM, os.R_OK | os.W_OK):
        raise SkippedError(f"{KVM} of an x86-64 machine is needed, and may not be used here")
    return path


def migrate(qemu: str, setting: Setting) -> list[Line]:
    """Run a migration; return its recording."""
    with tempfile.TemporaryDirectory(prefix="hacdbs-qemu-") as directory:
        return asyncio.run(_Run(qemu, setting, Path(directory)).run())


class _Run:
    """One migration."""

    def __init__(self, qemu: str, setting: Setting, directory: Path) -> None:
        self._qemu = qemu
        self._setting = setting
        self._directory = directory
        self._incoming = directory / "incoming"
        self._started = time.monotonic()
        self._lines: list[Line] = []
        self._processes: list[asyncio.subprocess.Process] = []
        self._has_reported = asyncio.Event()
        self._is_over = asyncio.Event()

    def _record(self, kind: str, **fields: object) -> None:
        t_ms = round((time.monotonic() - self._started) * 1_000, 1)
        self._lines.append({"t_ms": t_ms, "kind": kind, **fields})

    async def run(self) -> list[Line]:
        self._record("setting", **asdict(self._setting))
        rom = self._directory / "guest.rom"
        rom.write_bytes(guest.rom(self._setting.writes_per_second))
        console = self._directory / "console"
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(_served(console, self._hear))
            uri = f"unix:{await self._link(stack)}"
            source = await stack.enter_async_context(
                self._process("src", rom, f"socket,id=console,path={console}")
            )
            target = await stack.enter_async_context(
                self._process("dst", rom, "null,id=console", "-incoming", "defer")
            )
            self._record("greeting", value=source.greeting and source.greeting._asdict())
            async with asyncio.timeout(START_SECONDS):
                await self._has_reported.wait()
            await asyncio.sleep(WARM_UP_SECONDS)
            await self._set_up(source, target)
            with self._load():
                await self._call("src", source, "migrate", uri=uri)
                changing = asyncio.create_task(self._change(source))
                with suppress(TimeoutError):  # then the recording says that it did not complete
                    async with asyncio.timeout(SECONDS):
                        await self._is_over.wait()
                changing.cancel()
            await self._call("src", source, "query-migrate")
        return self._lines

    @contextmanager
    def _load(self) -> Generator[None]:
        """Record how much QEMU was disturbed meanwhile."""
        started, waited_ns = time.monotonic(), _waited_ns(self._processes)
        yield
        seconds = time.monotonic() - started
        waiting = (_waited_ns(self._processes) - waited_ns) / 1e9 / seconds
        self._record("load", waiting=round(waiting, 4), average=round(os.getloadavg()[0], 1))

    async def _set_up(self, source: QMPClient, target: QMPClient) -> None:
        names = ["events", *(["auto-converge"] if self._setting.auto_converge else [])]
        capabilities = [{"capability": name, "state": True} for name in names]
        for side, client in (("src", source), ("dst", target)):
            await self._call(side, client, "migrate-set-capabilities", capabilities=capabilities)
        await self._limit(source, self._setting)
        await self._call("dst", target, "migrate-incoming", uri=f"unix:{self._incoming}")

    async def _change(self, source: QMPClient) -> None:
        started = time.monotonic()
        for change in self._setting.changes:
            await asyncio.sleep(started + change.after_ms / 1_000 - time.monotonic())
            await self._limit(source, change)

    async def _limit(self, source: QMPClient, limits: Setting | Change) -> None:
        given = {"max-bandwidth": limits.bandwidth, "downtime-limit": limits.downtime_limit_ms}
        given = {name: value for name, value in given.items() if value is not None}
        await self._call("src", source, "migrate-set-parameters", **given)

    async def _call(self, side: str, client: QMPClient, command: str, **arguments: object) -> None:
        given, sent = arguments or None, time.monotonic()
        ret = await client.execute(command, given)
        took_ms = round((time.monotonic() - sent) * 1_000, 2)
        self._record("call", side=side, execute=command, arguments=given, ret=ret, took_ms=took_ms)

    # Processes

    @asynccontextmanager
    async def _process(
        self, side: str, rom: Path, console: str, *options: str
    ) -> AsyncGenerator[QMPClient]:
        """Run QEMU, which connects its monitor to a client."""
        monitor = str(self._directory / side)
        command: Sequence[str | Path] = [
            *(self._qemu, "-nodefaults", "-machine", "pc,accel=kvm", "-vga", "none"),
            *("-display", "none", "-m", f"{guest.MEMORY_MIB}M", "-bios", rom),
            *("-qmp", f"unix:{monitor}", "-chardev", console),
            *("-device", f"isa-debugcon,iobase={guest.CONSOLE},chardev=console"),
            *options,
        ]
        client = QMPClient(side)
        await client.start_server(monitor)
        with (self._directory / f"{side}.log").open("w+") as log:
            process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
            self._processes.append(process)
            try:
                await _accept(client, process, log)
                listener = EventListener()
                client.register_listener(listener)
                watching = asyncio.create_task(self._watch(side, listener))
                yield client
                watching.cancel()
                await client.disconnect()
            finally:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    async def _watch(self, side: str, listener: EventListener) -> None:
        async for event in listener:
            self._record("event", side=side, event=dict(event))
            if side == "src" and event["event"] == "MIGRATION" and _status(event) in _ENDS:
                self._is_over.set()

    # The guest's reports, and the link

    async def _hear(self, reader: asyncio.StreamReader) -> None:
        """Record the newest of the reports that have come."""
        size, unread = guest.REPORT.size, b""
        while octets := await reader.read(1 << 16):
            unread += octets
            whole = len(unread) // size * size
            if whole:
                self._record("guest-writes", n=guest.REPORT.unpack_from(unread, whole - size)[0])
                unread = unread[whole:]
                self._has_reported.set()

    async def _link(self, stack: AsyncExitStack) -> Path:
        """Return where the source connects to: the destination, or a slower link to it."""
        if self._setting.link is None:
            return self._incoming
        relay = self._directory / "relay"
        await stack.enter_async_context(_served(relay, self._relay))
        return relay

    async def _relay(self, reader: asyncio.StreamReader) -> None:
        """Carry bytes at the link's speed."""
        rate = self._setting.link
        assert rate is not None, "only a slower link has a relay"
        _, writer = await asyncio.open_unix_connection(self._incoming)
        free = time.monotonic()
        with suppress(ConnectionError):  # a side that has finished may close first
            while octets := await reader.read(_RELAYED_BYTES):
                now = time.monotonic()
                free = max(free, now - _MADE_UP_SECONDS) + len(octets) / rate
                if free > now:
                    await asyncio.sleep(free - now)
                writer.write(octets)
                await writer.drain()
        await _close(writer)


async def _accept(client: QMPClient, process: asyncio.subprocess.Process, log: TextIO) -> None:
    """Wait for QEMU to connect.

    Raises:
        SkippedError: It ended instead.
    """
    accepted = asyncio.create_task(client.accept())
    ended = asyncio.create_task(process.wait())
    await asyncio.wait((accepted, ended), timeout=START_SECONDS, return_when="FIRST_COMPLETED")
    ended.cancel()
    if not accepted.done():
        accepted.cancel()
        await asyncio.wait((accepted,))  # it closes what it listened on
        log.seek(0)
        raise SkippedError(f"QEMU does not start here: {log.read().strip()}")
    await accepted


@asynccontextmanager
async def _served(
    path: Path, serve: Callable[[asyncio.StreamReader], Awaitable[None]]
) -> AsyncGenerator[None]:
    """Serve the connections to a socket, each to its end."""
    connections = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(asyncio.current_task())
        await serve(reader)
        await _close(writer)

    server = await asyncio.start_unix_server(accept, path)
    try:
        yield
    finally:
        server.close()
        await asyncio.gather(*filter(None, connections))


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):  # the other side has gone
        await writer.wait_closed()


def _status(event: Message) -> object:
    data = event["data"]
    return data["status"] if isinstance(data, dict) else None


def _waited_ns(processes: Iterable[asyncio.subprocess.Process]) -> int:
    """Return how long the threads of processes have waited for a CPU; 0 where no kernel counts it."""
    waited = 0
    for process in processes:
        for task in Path(f"/proc/{process.pid}/task").iterdir():
            with suppress(OSError):  # a thread may end
                waited += int((task / "schedstat").read_text().split()[1])
    return waited
