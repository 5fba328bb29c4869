"""Sides that are served until they quit."""

import asyncio
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from hacdbs_sim.qmp.addresses import Address
from hacdbs_sim.qmp.endpoint import Endpoint, Exit
from hacdbs_sim.qmp.monitor import Monitor


@dataclass(frozen=True, slots=True)
class Side:
    """A side to serve.

    Attributes:
        role: `source` or `destination`.
        endpoint: What it is.
        address: Where it listens.
    """

    role: str
    endpoint: Endpoint
    address: Address


async def serve(sides: Sequence[Side], announce: Callable[[str, Address], None]) -> int:
    """Serve sides until all have quit; return the exit status, the worst of theirs.

    Args:
        sides: Them.
        announce: Called with the role and the address of each once all listen.

    Raises:
        QmpError: An address cannot be listened on.
    """
    monitors = [Monitor(side.endpoint, side.address) for side in sides]
    loop = asyncio.get_running_loop()

    def end() -> None:
        for side in sides:
            side.endpoint.exit(Exit(0, "host-signal"))

    try:
        for monitor in monitors:
            await monitor.listen()
        for number in (signal.SIGTERM, signal.SIGINT):
            with suppress(NotImplementedError, RuntimeError):  # Windows, or not the main thread
                loop.add_signal_handler(number, end)
        for side, monitor in zip(sides, monitors, strict=True):
            announce(side.role, monitor.address)
        pairs = zip(sides, monitors, strict=True)
        return max(await asyncio.gather(*(_serve_one(side, each) for side, each in pairs)))
    finally:
        for monitor in monitors:
            await monitor.close()


async def _serve_one(side: Side, monitor: Monitor) -> int:
    how = await side.endpoint.exited
    if how.reason is not None:
        side.endpoint.state.emit("SHUTDOWN", {"guest": False, "reason": how.reason})
    if how.message:
        sys.stderr.write(f"hacdbs-sim: {how.message}\n")
    await side.endpoint.close()
    await monitor.close()
    return how.status
