"""A real migration, from one QEMU process to another, driven over QMP and recorded.

A recording is a list of JSON objects, one for each thing that happened: `t_ms`, real milliseconds since
the start, and `kind`: `greeting`; `setting`; `call` (side, execute, arguments, ret); `event` (side, event
as QEMU sent it); `guest-writes` (n, the guest's own count); `load` (the share of the time in which threads of the
two processes waited for a CPU, and the load average).
"""

import asyncio
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, TextIO, TypeAlias

from qemu.qmp import ConnectError, EventListener, Message, QMPClient

from bench.against_qemu import guest
from bench.against_qemu.settings import Setting
from bench.rows import SkippedError

Line: TypeAlias = dict[str, Any]

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
        self._started = time.monotonic()
        self._lines: list[Line] = []
        self._processes: list[asyncio.subprocess.Process] = []
        self._has_reported = asyncio.Event()
        self._is_over = {side: asyncio.Event() for side in ("src", "dst")}

    def _record(self, kind: str, **fields: object) -> None:
        t_ms = round((time.monotonic() - self._started) * 1_000, 1)
        self._lines.append({"t_ms": t_ms, "kind": kind, **fields})

    async def run(self) -> list[Line]:
        self._record("setting", **asdict(self._setting))
        rom = self._directory / "guest.rom"
        rom.write_bytes(guest.rom(self._setting.writes_per_second))
        async with AsyncExitStack() as stack:
            console = self._directory / "console"
            server = await asyncio.start_unix_server(self._hear, console)
            stack.callback(server.close)
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
            uri = f"unix:{await self._link(stack)}"
            before = time.monotonic(), _waited_ns(self._processes)
            await self._call("src", source, "migrate", uri=uri)
            async with asyncio.timeout(SECONDS):
                await self._is_over["src"].wait()
            seconds, waited_ns = (
                time.monotonic() - before[0],
                _waited_ns(self._processes) - before[1],
            )
            self._record(
                "load", waiting=round(waited_ns / 1e9 / seconds, 4), average=os.getloadavg()[0]
            )
            await self._call("src", source, "query-migrate")
            with suppress(TimeoutError):
                async with asyncio.timeout(START_SECONDS):
                    await self._is_over["dst"].wait()
        return self._lines

    async def _set_up(self, source: QMPClient, target: QMPClient) -> None:
        names = ["events", *(["auto-converge"] if self._setting.auto_converge else [])]
        capabilities = [{"capability": name, "state": True} for name in names]
        for side, client in (("src", source), ("dst", target)):
            await self._call(side, client, "migrate-set-capabilities", capabilities=capabilities)
        limits = {
            "max-bandwidth": self._setting.bandwidth,
            "downtime-limit": self._setting.downtime_limit_ms,
        }
        await self._call("src", source, "migrate-set-parameters", **limits)
        incoming = f"unix:{self._directory / 'incoming'}"
        await self._call("dst", target, "migrate-incoming", uri=incoming)

    async def _call(self, side: str, client: QMPClient, command: str, **arguments: object) -> None:
        ret = await client.execute(command, arguments or None)
        self._record("call", side=side, execute=command, arguments=arguments or None, ret=ret)

    # Processes

    @asynccontextmanager
    async def _process(
        self, side: str, rom: Path, console: str, *options: str
    ) -> AsyncGenerator[QMPClient]:
        """Run QEMU, and connect to its monitor."""
        monitor = self._directory / side
        command: Sequence[str | Path] = [
            *(self._qemu, "-nodefaults", "-machine", "pc,accel=kvm", "-vga", "none"),
            *("-display", "none", "-m", f"{guest.MEMORY_MIB}M", "-bios", rom),
            *("-qmp", f"unix:{monitor},server=on,wait=off", "-chardev", console),
            *("-device", f"isa-debugcon,iobase={guest.CONSOLE},chardev=console"),
            *options,
        ]
        with (self._directory / f"{side}.log").open("w+") as log:
            process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
            self._processes.append(process)
            client = QMPClient(side)
            try:
                await self._connect(client, monitor, process, log)
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

    async def _connect(
        self, client: QMPClient, monitor: Path, process: asyncio.subprocess.Process, log: TextIO
    ) -> None:
        async with asyncio.timeout(START_SECONDS):
            while process.returncode is None:
                with suppress(ConnectError):
                    return await client.connect(str(monitor))
                await asyncio.sleep(0.02)
        log.seek(0)
        raise SkippedError(f"QEMU does not start here: {log.read().strip()}")

    async def _watch(self, side: str, listener: EventListener) -> None:
        async for event in listener:
            self._record("event", side=side, event=dict(event))
            if event["event"] == "MIGRATION" and _status(event) in _ENDS:
                self._is_over[side].set()

    # The guest's reports, and the link

    async def _hear(self, reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
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
        incoming = self._directory / "incoming"
        if self._setting.link is None:
            return incoming
        relay = self._directory / "relay"
        server = await asyncio.start_unix_server(self._relay, relay, limit=_RELAYED_BYTES)
        stack.callback(server.close)
        return relay

    async def _relay(self, reader: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        """Carry bytes at the link's speed."""
        rate = self._setting.link
        assert rate is not None, "only a slower link has a relay"
        _, writer = await asyncio.open_unix_connection(self._directory / "incoming")
        free = time.monotonic()
        while octets := await reader.read(_RELAYED_BYTES):
            now = time.monotonic()
            free = max(free, now - _MADE_UP_SECONDS) + len(octets) / rate
            if free > now:
                await asyncio.sleep(free - now)
            writer.write(octets)
            await writer.drain()
        writer.close()
        back.close()


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
