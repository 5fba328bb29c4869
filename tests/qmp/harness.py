"""A harness that migrates from one QEMU to another over QMP, as QEMU's own migration tests do.

It knows how a source and a destination are started, and QMP: it does not know which program answers. A conversation is driven by a function of `CONVERSATIONS`; what was called, answered and sent as
an event is its transcript.
"""

import asyncio
import json
import logging
import shlex
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

from qemu.qmp import ConnectError, EventListener, ExecuteError, QMPClient, Runstate

Json: TypeAlias = Any
Transcript: TypeAlias = dict[str, list[Json]]

SECONDS: Final = 60.0
"""How long anything may take that a conversation waits for."""

SLOW: Final = {"max-bandwidth": 3_000_000, "downtime-limit": 1}
FAST: Final = {"max-bandwidth": 1_000_000_000, "downtime-limit": 30_000}
"""QEMU's tests use these, on one migration after the other."""


class Side:
    """One QEMU, and the client that drives it.

    Attributes:
        name: `src`, `dst`, or of a further destination.
        monitor: Its socket.
        calls: What was called, and what was answered.
        events: Those that have come.
    """

    def __init__(
        self, name: str, monitor: Path, process: "Process", transcript: Transcript
    ) -> None:
        self.name = name
        self.monitor = monitor
        self.process = process
        self._client = QMPClient(name)
        self.calls = transcript.setdefault(f"{name} calls", [])
        self.events = transcript.setdefault(f"{name} events", [])
        self._news = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._client.logger.setLevel(logging.CRITICAL)  # connections that fail are tried again

    async def connect(self) -> None:
        """Connect, once the process listens."""
        listener = EventListener()
        self._client.register_listener(listener)
        async with asyncio.timeout(SECONDS):
            while self._client.runstate is not Runstate.RUNNING:
                assert self.process.returncode is None, f"{self.name} has ended"
                with suppress(ConnectError):  # it does not listen yet
                    await self._client.connect(str(self.monitor))
                await asyncio.sleep(0.02)
        greeting = self._client.greeting
        assert greeting is not None
        self.calls.append({"greeting": greeting._asdict()})
        self._watching = asyncio.create_task(self._watch(listener))

    async def _watch(self, listener: EventListener) -> None:
        async for event in listener:
            self.events.append(dict(event))
            self._news.set()

    async def disconnect(self) -> None:
        """Let another client connect."""
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
            with suppress(Exception):  # the other side has gone
                await self._client.disconnect()

    async def close(self) -> None:
        """End it, whatever it does."""
        await self.disconnect()
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()

    async def call(self, command: str, **arguments: Json) -> Json:
        """Execute a command; record and return what it returns, or its error."""
        given = {name.replace("_", "-"): value for name, value in arguments.items()}
        entry: dict[str, Json] = {"execute": command, "arguments": given}
        self.calls.append(entry)
        try:
            entry["return"] = await self._client.execute(command, given or None)
        except ExecuteError as error:
            entry["error"] = {"class": error.error.error.class_, "desc": str(error)}
            return entry["error"]
        return entry["return"]

    async def query(self, command: str) -> Json:
        """Execute a command that is not recorded."""
        return await self._client.execute(command)

    async def set_capabilities(self, *names: str) -> None:
        """Set capabilities, `events` among them."""
        wanted = [{"capability": name, "state": True} for name in ("events", *names)]
        await self.call("migrate-set-capabilities", capabilities=wanted)

    async def until_event(self, name: str, **data: Json) -> Json:
        """Wait for an event; return it."""
        async with asyncio.timeout(SECONDS):
            while True:
                self._news.clear()
                for event in self.events:
                    if event["event"] == name and data.items() <= event.get("data", {}).items():
                        return event
                await self._news.wait()

    async def until(self, *statuses: str) -> Json:
        """Poll query-migrate until it has a status; record and return the last answer."""
        wanted, seen = frozenset(statuses), None
        async with asyncio.timeout(SECONDS):
            while True:
                found: Json = await self.query("query-migrate")
                seen = found.get("status")
                if seen in wanted:
                    self.calls.append(
                        {"execute": "query-migrate", "arguments": {}, "return": found}
                    )
                    return found
                ended = {"completed", "failed", "cancelled"}
                assert seen not in ended, (
                    f"{self.name} is {seen}, and should be {statuses}: {found}"
                )
                await asyncio.sleep(0.005)

    async def until_sent(self, octets: int) -> None:
        """Poll query-migrate until so many bytes have been sent."""
        async with asyncio.timeout(SECONDS):
            while True:
                found: Json = await self.query("query-migrate")
                if found.get("ram", {}).get("transferred", 0) >= octets:
                    return
                await asyncio.sleep(0.005)

    async def until_exit(self) -> None:
        """Wait for the process to end."""
        async with asyncio.timeout(SECONDS):
            self.calls.append({"exit": await self.process.wait()})

    async def raw(self, octets: bytes, answers: int) -> None:
        """Send octets on a connection of its own, instead of the client's; record what is answered."""
        await self.disconnect()
        async with asyncio.timeout(SECONDS):
            reader, writer = await asyncio.open_unix_connection(self.monitor)
            await reader.readline()
            writer.write(octets)
            await writer.drain()
            found: list[Json] = []
            while len(found) < answers:
                line = json.loads(await reader.readline())
                if "event" not in line:
                    found.append(line)
            writer.close()
            await writer.wait_closed()
        self.calls.append({"raw": octets.decode("utf-8", "backslashreplace"), "answers": found})


class Process(Protocol):
    """What runs one side."""

    @property
    def returncode(self) -> int | None:
        """The exit status; None: it runs."""

    async def wait(self) -> int:
        """Wait for the end; return the exit status."""

    def kill(self) -> None:
        """End it."""


Launch: TypeAlias = Callable[[str, Path], Awaitable[Process]]
"""Starts `src`, or a destination that waits for `migrate-incoming`, with its monitor at a path."""


def commands(source: str, destination: str) -> Launch:
    """Return what starts processes by command lines, in which `{monitor}` is the monitor's path."""

    async def launch(name: str, monitor: Path) -> Process:
        command = (source if name == "src" else destination).format(monitor=monitor)
        with monitor.with_suffix(".log").open("w") as log:
            return await asyncio.create_subprocess_exec(
                *shlex.split(command), stdout=log, stderr=log
            )

    return launch


class Lab:
    """Where the processes run.

    Args:
        launch: Starts them.
        directory: For their sockets.
        stack: Ends them.
        transcript: Where what happens is recorded.
    """

    def __init__(
        self, launch: Launch, directory: Path, stack: AsyncExitStack, transcript: Transcript
    ) -> None:
        self._launch = launch
        self._directory = directory
        self._stack = stack
        self._transcript = transcript

    def uri(self, name: str = "incoming") -> str:
        """Return a migration URI."""
        return f"unix:{self._directory / name}"

    async def start(self, name: str) -> Side:
        """Start `src`, or a destination, and connect to it."""
        monitor = self._directory / f"{name}.qmp"
        process = await self._launch(name, monitor)
        side = Side(name, monitor, process, self._transcript)
        self._stack.push_async_callback(side.close)
        await side.connect()
        return side

    async def pair(self, *capabilities: str) -> tuple[Side, Side]:
        """Start a source and a destination with these capabilities and `events`."""
        source, target = await self.start("src"), await self.start("dst")
        for side in (source, target):
            await side.set_capabilities(*capabilities)
        return source, target


# The conversations


async def questions(lab: Lab) -> None:
    """What a client asks before it does anything."""
    source, target = await lab.start("src"), await lab.start("dst")
    for side in (source, target):
        await side.call("query-version")
        await side.call("query-name")
        await side.call("query-status")
        await side.call("query-migrate")
        await side.call("query-migrate-capabilities")
        await side.call("query-migrate-parameters")
        await side.call("query-memory-size-summary")
        await side.call("query-dirty-rate")
    await source.call("qmp_capabilities")
    await source.call("no-such-command")
    await source.call("quit")
    await source.until_exit()


async def settings(lab: Lab) -> None:
    """Set and read back, and what is refused."""
    source = await lab.start("src")
    for given in SETTINGS:
        await source.call("migrate-set-parameters", **given)
    await source.call("query-migrate-parameters")
    await source.set_capabilities("auto-converge", "pause-before-switchover", "return-path")
    await source.call("query-migrate-capabilities")
    await source.call(
        "migrate-set-capabilities", capabilities=[{"capability": "dirty-limit", "state": True}]
    )
    await source.call(
        "migrate-set-capabilities", capabilities=[{"capability": "nope", "state": True}]
    )
    await source.call("migrate-set-capabilities", capabilities=[{"capability": "events"}])
    await source.call("migrate-set-capabilities", capabilities={"capability": "events"})
    await source.call("migrate-set-capabilities")
    for refused in REFUSED_SETTINGS:
        await source.call("migrate-set-parameters", **refused)
    await source.call("query-migrate-parameters")


SETTINGS: Final[Sequence[dict[str, Json]]] = (
    {"downtime-limit": 1},
    {"downtime-limit": 30_000, "max-bandwidth": 1_000_000_000},
    {"max-bandwidth": 3_000_000},
    {"max-postcopy-bandwidth": 4_000_000, "avail-switchover-bandwidth": 50_000_000},
    {"cpu-throttle-initial": 25, "cpu-throttle-increment": 15, "max-cpu-throttle": 80},
    {"throttle-trigger-threshold": 40, "cpu-throttle-tailslow": True},
    {"x-checkpoint-delay": 1_000, "multifd-channels": 4, "multifd-compression": "zlib"},
    {"multifd-zlib-level": 2, "multifd-zstd-level": 3, "xbzrle-cache-size": 1 << 26},
    {"announce-initial": 60, "announce-max": 500, "announce-rounds": 4, "announce-step": 90},
    {"tls-creds": "", "tls-hostname": "", "tls-authz": ""},
    {"mode": "normal", "zero-page-detection": "legacy", "direct-io": False},
    {"vcpu-dirty-limit": 10, "x-vcpu-dirty-limit-period": 500},
)

REFUSED_SETTINGS: Final[Sequence[dict[str, Json]]] = (
    {"downtime-limit": 2_000_001},
    {"downtime-limit": -1},
    {"downtime-limit": "300"},
    {"max-bandwidth": 1 << 63},
    {"cpu-throttle-initial": 0},
    {"cpu-throttle-increment": 100},
    {"max-cpu-throttle": 10},
    {"throttle-trigger-threshold": 101},
    {"multifd-channels": 0},
    {"multifd-channels": 256},
    {"multifd-zlib-level": 10},
    {"multifd-compression": "gzip"},
    {"announce-initial": 100_001},
    {"announce-rounds": 0},
    {"announce-step": 10_001},
    {"xbzrle-cache-size": 1000},
    {"vcpu-dirty-limit": 0},
    {"mode": "sideways"},
    {"no-such-parameter": 1},
    {"max-bandwidth": None},
    {"multifd-qatzip-level": 0},
    {"multifd-zstd-level": 21},
    {"x-vcpu-dirty-limit-period": 0},
    {"announce-max": 100_001},
    {"announce-rounds": 1_001},
    {"announce-step": 0},
    {"cpu-throttle-tailslow": 1},
    {"cpu-throttle-initial": 1.5},
    {"cpu-throttle-initial": 256},
    {"max-postcopy-bandwidth": -1},
    {"tls-creds": None},
)


async def precopy(lab: Lab) -> None:
    """A migration that completes."""
    source, target = await lab.pair()
    await target.call("migrate-incoming", uri=lab.uri())
    await source.call("migrate-set-parameters", **SLOW)
    await source.call("migrate", uri=lab.uri())
    await source.until("active")
    await source.until_sent(1 << 20)
    await target.until("active")
    await source.call("migrate-set-parameters", **FAST)
    await source.until("completed")
    await target.until("completed")
    for side in (source, target):
        await side.call("query-status")
        await side.call("query-migrate")
    await source.call("migrate", uri=lab.uri("again"))
    await source.call("migrate_cancel")
    await target.call("migrate-incoming", uri=lab.uri("again"))
    await source.call("quit")
    await source.until_exit()
    await target.call("quit")
    await target.until_exit()


async def channels(lab: Lab) -> None:
    """The same by channels, with a return path and auto-converge."""
    source, target = await lab.pair("return-path", "auto-converge")
    path = lab.uri().removeprefix("unix:")
    address = {"transport": "socket", "type": "unix", "path": path}
    ways = [{"channel-type": "main", "addr": address}]
    await target.call("migrate-incoming", channels=ways)
    await source.call("migrate-set-parameters", **FAST)
    await source.call("migrate", channels=ways)
    await source.until("completed")
    await target.until("completed")


async def cancel(lab: Lab) -> None:
    """Cancel, then migrate again to another destination."""
    source, target = await lab.pair()
    await source.call("migrate_cancel")
    await target.call("migrate-incoming", uri=lab.uri())
    await source.call("migrate-set-parameters", **SLOW)
    await source.call("migrate", uri=lab.uri())
    await source.until("active")
    await source.until_sent(1 << 20)
    await source.call("migrate_cancel")
    await source.until("cancelled")
    await source.call("query-status")
    await target.until_exit()
    second = await lab.start("dst2")
    await second.set_capabilities()
    await second.call("migrate-incoming", uri=lab.uri("second"))
    await source.call("migrate-set-parameters", **FAST)
    await source.call("migrate", uri=lab.uri("second"))
    await source.until("completed")
    await second.until("completed")


async def kept_destination(lab: Lab) -> None:
    """Cancel, with a destination that does not exit."""
    source, target = await lab.pair()
    await target.call("migrate-incoming", uri=lab.uri(), exit_on_error=False)
    await source.call("migrate-set-parameters", **SLOW)
    await source.call("migrate", uri=lab.uri())
    await source.until_sent(1 << 20)
    await source.call("migrate_cancel")
    await source.until("cancelled")
    await target.until("failed")
    await target.call("query-status")
    await target.call("migrate-incoming", uri=lab.uri("again"))


async def pause_before_switchover(lab: Lab) -> None:
    """Wait before the switch-over, and go on."""
    source, target = await lab.pair("pause-before-switchover")
    await target.call("migrate-incoming", uri=lab.uri())
    await source.call("migrate-set-parameters", **FAST)
    await source.call("migrate-continue", state="pre-switchover")
    await source.call("migrate", uri=lab.uri())
    await source.until("pre-switchover")
    await source.call("query-status")
    await source.call("migrate-continue", state="device")
    await source.call("migrate-continue", state="nowhere")
    await source.call("migrate-continue")
    await source.call("migrate-continue", state="pre-switchover")
    await source.until("completed")
    await target.until("completed")


async def cancel_before_switchover(lab: Lab) -> None:
    """Wait before the switch-over, and cancel."""
    source, target = await lab.pair("pause-before-switchover")
    await target.call("migrate-incoming", uri=lab.uri())
    await source.call("migrate-set-parameters", **FAST)
    await source.call("migrate", uri=lab.uri())
    await source.until("pre-switchover")
    await source.call("migrate_cancel")
    await source.until("cancelled")
    await source.call("query-status")
    await target.until_exit()


async def postcopy(lab: Lab) -> None:
    """Post-copy, in the first pass."""
    source, target = await lab.pair("postcopy-ram", "return-path")
    await target.call("migrate-incoming", uri=lab.uri())
    await source.call("migrate-set-parameters", max_postcopy_bandwidth=3_000_000, **SLOW)
    await source.call("migrate-start-postcopy")
    await source.call("migrate", uri=lab.uri())
    await source.until("active")
    await source.until_sent(1 << 20)
    await source.call("migrate-pause")
    await source.call("migrate-start-postcopy")
    await target.until_event("RESUME")
    await source.call("migrate-set-parameters", max_postcopy_bandwidth=0)
    await source.until("completed")
    await target.until("completed")
    for side in (source, target):
        await side.call("query-status")


async def recover(lab: Lab) -> None:
    """Post-copy, paused and recovered."""
    source, target = await lab.pair("postcopy-ram", "return-path")
    await target.call("migrate-incoming", uri=lab.uri())
    await source.call("migrate-set-parameters", max_postcopy_bandwidth=3_000_000, **SLOW)
    await source.call("migrate", uri=lab.uri())
    await source.until("active")
    await source.until_sent(1 << 20)
    await source.call("migrate", uri=lab.uri("other"), resume=True)
    await source.call("migrate-start-postcopy")
    await source.until("postcopy-active")
    await target.until_event("RESUME")
    await source.call("migrate_cancel")
    await source.call("migrate-recover", uri=lab.uri("recover"))
    await target.call("migrate-recover", uri=lab.uri("recover"))
    await source.call("migrate-pause")
    await source.until("postcopy-paused")
    await target.until("postcopy-paused")
    for side in (source, target):
        await side.call("query-status")
    await source.call("migrate", uri=lab.uri("recover"))
    await target.call("migrate-recover", uri=lab.uri("recover"))
    await source.call("migrate-set-parameters", max_postcopy_bandwidth=0)
    await source.call("migrate", uri=lab.uri("recover"), resume=True)
    await source.until("completed")
    await target.until("completed")


async def bad_destination(lab: Lab) -> None:
    """Destinations that are not there, then one that is."""
    source, target = await lab.pair()
    await source.call("migrate", uri=lab.uri("absent"))
    await source.until("failed")
    await source.call("query-status")
    await source.call("migrate", uri="tcp:127.0.0.1:1")
    await source.until("failed")
    for uri in ("nonsense", "", "unix:", "tcp:127.0.0.1"):
        await source.call("migrate", uri=uri)
        await target.call("migrate-incoming", uri=uri)
    for side, command in ((source, "migrate"), (target, "migrate-incoming")):
        await side.call(command)
        for bad in BAD_CHANNELS:
            await side.call(command, channels=bad)
    await source.call("query-migrate")
    await target.call("query-migrate")
    await target.call("migrate-incoming", uri=lab.uri())
    await source.call("migrate-set-parameters", **FAST)
    await source.call("migrate", uri=lab.uri())
    await source.until("completed")


BAD_CHANNELS: Final[Sequence[list[Json]]] = (
    [],
    [{"channel-type": "main"}],
    [{"channel-type": "main", "addr": {"transport": "socket", "type": "unix"}}],
    [{"channel-type": "main", "addr": {"transport": "carrier"}}],
    [{"channel-type": "side", "addr": {}}],
)


async def no_place_to_wait(lab: Lab) -> None:
    """A destination that cannot listen."""
    target = await lab.start("dst")
    await target.set_capabilities()
    await target.call("migrate-incoming", uri="unix:/no/such/directory/socket")
    await target.call("query-migrate")
    await target.call("migrate-incoming", uri=lab.uri())
    await target.call("cont")
    await target.call("migrate_cancel")
    await target.call("query-status")


async def lost_destination(lab: Lab) -> None:
    """A destination that quits on the way."""
    source, target = await lab.pair()
    await target.call("migrate-incoming", uri=lab.uri())
    await source.call("migrate-set-parameters", **SLOW)
    await source.call("migrate", uri=lab.uri())
    await source.until_sent(1 << 20)
    await target.call("quit")
    await target.until_exit()
    await source.until("failed")
    await source.call("query-status")


async def twice(lab: Lab) -> None:
    """Two migrations at once, and what makes no sense at its time."""
    source, target = await lab.pair()
    await source.call("migrate-continue", state="pre-switchover")
    await source.call("migrate-pause")
    await source.call("migrate-start-postcopy")
    await source.call("migrate-recover", uri=lab.uri())
    await source.call("migrate", uri=lab.uri(), resume=True)
    await source.call("migrate-incoming", uri=lab.uri())
    await target.call("migrate", uri=lab.uri())
    await target.call("migrate-incoming", uri=lab.uri())
    await target.call("migrate-incoming", uri=lab.uri("other"))
    await source.call("migrate-set-parameters", **SLOW)
    await source.call("migrate", uri=lab.uri())
    await source.until("active")
    await source.call("migrate", uri=lab.uri())
    await source.call(
        "migrate-set-capabilities", capabilities=[{"capability": "events", "state": False}]
    )
    await source.call("migrate-start-postcopy")
    await source.call("migrate-pause")
    await source.call("migrate-continue", state="pre-switchover")
    await source.call("migrate-set-parameters", **FAST)
    await source.until("completed")
    await target.until("completed")


async def stopped(lab: Lab) -> None:
    """A guest that is stopped, then migrated, then runs on."""
    source, target = await lab.pair()
    for side in (source, target):
        await side.call("stop")
        await side.call("query-status")
    await source.call("stop")
    await source.call("cont")
    await source.call("query-status")
    await source.call("cont")
    await source.call("stop")
    await target.call("migrate-incoming", uri=lab.uri())
    await source.call("migrate-set-parameters", **FAST)
    await source.call("migrate", uri=lab.uri())
    await source.until("completed")
    await target.until("completed")
    for side in (source, target):
        await side.call("query-status")
    await target.call("cont")
    await target.call("query-status")


async def stopped_meanwhile(lab: Lab) -> None:
    """A guest that is stopped while it is migrated."""
    source, target = await lab.pair()
    await target.call("migrate-incoming", uri=lab.uri())
    await source.call("migrate-set-parameters", **SLOW)
    await source.call("migrate", uri=lab.uri())
    await source.until_sent(1 << 20)
    await source.call("stop")
    await source.call("query-status")
    await source.call("cont")
    await source.call("query-status")
    await source.call("stop")
    await source.call("migrate-set-parameters", **FAST)
    await source.until("completed")
    await target.until("completed")
    for side in (source, target):
        await side.call("query-status")


async def dirty_rates(lab: Lab) -> None:
    """calc-dirty-rate, its modes, and the dirty limit without a ring."""
    source = await lab.start("src")
    await source.call("calc-dirty-rate", calc_time=0)
    await source.call("calc-dirty-rate", calc_time=61)
    await source.call("calc-dirty-rate", calc_time=1, sample_pages=10)
    await source.call("calc-dirty-rate", calc_time=1, mode="dirty-bitmap", sample_pages=512)
    await source.call("calc-dirty-rate", calc_time=1, mode="dirty-ring")
    await source.call("calc-dirty-rate", calc_time=1, mode="by-hand")
    await source.call("calc-dirty-rate")
    await source.call("query-dirty-rate")
    for arguments in (
        {"calc-time": 1},
        {"calc-time": 300, "calc-time-unit": "millisecond", "sample-pages": 256},
        {"calc-time": 1, "mode": "dirty-bitmap"},
    ):
        await source.call("calc-dirty-rate", **arguments)
        await _until_dirty_rate_is(source, "measured")
        await source.call("query-dirty-rate")
        await source.call("query-dirty-rate", calc_time_unit="millisecond")
    await source.call("calc-dirty-rate", calc_time="1")
    await source.call("set-vcpu-dirty-limit")
    await source.call("set-vcpu-dirty-limit", dirty_rate=10)
    await source.call("query-vcpu-dirty-limit")
    await source.call("cancel-vcpu-dirty-limit")
    await source.call("calc-dirty-rate", calc_time=60)
    await _until_dirty_rate_is(source, "measuring")
    await source.call("calc-dirty-rate", calc_time=1)
    await source.call("query-dirty-rate")
    await source.call("quit")
    await source.until_exit()


async def _until_dirty_rate_is(side: Side, status: str) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            found = await side.query("query-dirty-rate")
            if found["status"] == status:
                return
            await asyncio.sleep(0.02)


async def bad_input(lab: Lab) -> None:
    """What is not QMP; the connection goes on after each."""
    source = await lab.start("src")
    ready = b'{"execute":"qmp_capabilities"}'
    for octets, answers in BAD_INPUT:
        await source.raw(ready + octets + b'{"execute":"query-name","id":"last"}', 1 + answers + 1)
    await source.raw(b'{"execute":"query-status"}{"execute":"nope"}', 2)
    await source.raw(
        b'{"execute":"qmp_capabilities","arguments":{"enable":["oob"]},"id":{"a":1}}', 1
    )
    await source.raw(b'{"execute":"qmp_capabilities","arguments":{"enable":["moob"]}}', 1)
    await source.raw(
        b'{"execute":"qmp_capabilities","arguments":{"enable":["oob"]}}'
        b'{"exec-oob":"query-status","id":1}'
        b'{"exec-oob":"migrate-pause","id":2}'
        b'{"exec-oob":"migrate-recover","arguments":{"uri":"unix:/x"},"id":3}',
        4,
    )


BAD_INPUT: Final[Sequence[tuple[bytes, int]]] = (
    (b'{"execute":"query-status","id":7}', 1),
    (b'{"execute":"query-status","id":null}\n\n\n', 1),
    (b" [1] ", 1),
    (b' "text" ', 1),
    (b" 5 ", 1),
    (b"{}", 1),
    (b'{"execute":5}', 1),
    (b'{"execute":"query-status","arguments":[]}', 1),
    (b'{"execute":"query-status","extra":1}', 1),
    (b'{"execute":"query-status","exec-oob":"query-status"}', 1),
    (b'{"execute":"query-status","arguments":{"a":1}}', 1),
    (b'{"execute":"no-such-command","id":"x"}', 1),
    (b'{"execute":"migrate-incoming","arguments":{"uri":5}}', 1),
    (b'{"execute":"migrate","arguments":{"uri":"unix:/x","extra":true}}', 1),
    (b'{"execute":"migrate","arguments":{"uri":"unix:/x","resume":"yes"}}', 1),
    (b'{"execute":"exec-oob"}', 1),
    (b'{"exec-oob":"query-status"}', 1),
    (b'{"execute":"query-status",}', 1),
    (b'{"execute" "query-status"}', 1),
    (b"{'execute':'query-status'}", 1),
    (b'{"execute":"query-\xc3\xa4"}', 1),
)

CONVERSATIONS: Final[dict[str, Callable[[Lab], Awaitable[None]]]] = {
    each.__name__.replace("_", "-"): each
    for each in (
        questions,
        settings,
        precopy,
        channels,
        cancel,
        kept_destination,
        pause_before_switchover,
        cancel_before_switchover,
        postcopy,
        recover,
        bad_destination,
        no_place_to_wait,
        lost_destination,
        twice,
        stopped,
        stopped_meanwhile,
        dirty_rates,
        bad_input,
    )
}


async def converse(name: str, launch: Launch) -> Transcript:
    """Drive a conversation; return its transcript."""
    transcript: Transcript = {}
    with tempfile.TemporaryDirectory(prefix="qmp-") as directory:
        async with AsyncExitStack() as stack:
            await CONVERSATIONS[name](Lab(launch, Path(directory), stack, transcript))
            await asyncio.sleep(0.1)  # events that are on the way
    return transcript
