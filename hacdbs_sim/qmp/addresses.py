"""Where a migration goes to, and where a monitor listens: unix sockets, and TCP."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from typing_extensions import override

from hacdbs_sim.qmp.arguments import Array, Boolean, Enumeration, Integer, String, Struct, Tagged
from hacdbs_sim.qmp.errors import QmpError

OnConnection = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

_NOT_SIMULATED: Final = ("exec", "fd", "file", "rdma", "vsock")

_INET: Final = Struct(
    {"host": String(), "port": String()},
    {
        "numeric": Boolean(),
        "to": Integer(),
        "ipv4": Boolean(),
        "ipv6": Boolean(),
        "keep-alive": Boolean(),
        "mptcp": Boolean(),
    },
)
_UNIX: Final = Struct({"path": String()}, {"abstract": Boolean(), "tight": Boolean()})
_SOCKET: Final = Tagged(
    "type",
    {
        "inet": _INET,
        "unix": _UNIX,
        "vsock": Struct({"cid": String(), "port": String()}),
        "fd": Struct({"str": String()}),
    },
)

CHANNELS: Final = Array(
    Struct(
        {
            "channel-type": Enumeration(("main", "cpr")),
            "addr": Tagged(
                "transport",
                {
                    "socket": _SOCKET,
                    "exec": Struct({"args": Array(String())}),
                    "rdma": _INET,
                    "file": Struct({"filename": String(), "offset": Integer()}),
                },
            ),
        }
    )
)
"""The type of `channels`."""


def _host(host: str) -> str:
    """Return a host; without one it is this machine."""
    return host or "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Address:
    """A socket's address: a path, or a host and a port.

    Attributes:
        path: Of a unix socket; None: TCP.
        host: Its name or number.
        port: Its number, or a service's name.
    """

    path: str | None = None
    host: str = ""
    port: str = ""

    @override
    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path is not None else f"tcp:{self.host}:{self.port}"

    @property
    def _shown(self) -> str:
        return self.path if self.path is not None else f"{self.host}:{self.port}"

    def as_socket_address(self) -> dict[str, str]:
        """Return QMP's SocketAddress."""
        if self.path is not None:
            return {"path": self.path, "type": "unix"}
        return {"host": self.host, "port": self.port, "type": "inet"}

    async def connect(self, max_line: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to it, for lines up to a length.

        Raises:
            QmpError: Nothing listens there.
        """
        try:
            if self.path is not None:
                return await asyncio.open_unix_connection(self.path, limit=max_line)
            return await asyncio.open_connection(_host(self.host), self.port, limit=max_line)
        except (OSError, ValueError, OverflowError) as error:
            raise QmpError(f"Failed to connect to '{self._shown}': {_reason(error)}") from None

    async def listen(
        self, on_connection: OnConnection, max_line: int = 1 << 16
    ) -> tuple[asyncio.Server, "Address"]:
        """Listen on it, for lines up to a length; a socket that an earlier process left is replaced.

        Returns:
            The server, and where it listens: for port 0, the port that was free.

        Raises:
            QmpError: It cannot be listened on.
        """
        try:
            if self.path is not None:
                return await asyncio.start_unix_server(
                    on_connection, self.path, limit=max_line
                ), self
            server = await asyncio.start_server(
                on_connection, _host(self.host), self.port, limit=max_line
            )
        except (OSError, ValueError, OverflowError) as error:
            raise QmpError(f"Failed to bind socket to {self._shown}: {_reason(error)}") from None
        host, port, *_ = server.sockets[0].getsockname()
        return server, Address(host=host, port=str(port))

    def unlink(self) -> None:
        """Remove the path of a unix socket, once nobody listens on it."""
        if self.path is not None:
            Path(self.path).unlink(missing_ok=True)


def _reason(error: Exception) -> str:
    number = error.errno if isinstance(error, OSError) else None
    # asyncio puts a sentence of its own into strerror
    return os.strerror(number) if number and number > 0 else str(error)


def parse_uri(uri: str) -> Address:
    """Return the address of a migration URI, `unix:PATH` or `tcp:HOST:PORT`.

    Raises:
        QmpError: It is neither.
    """
    protocol, _, rest = uri.partition(":")
    if protocol == "unix" and ":" in uri:
        if not rest:
            raise QmpError("invalid Unix socket address")
        return Address(path=rest)
    if protocol == "tcp" and ":" in uri:
        host, colon, port = rest.partition(",")[0].rpartition(":")
        if not colon or not port:
            raise QmpError(f"error parsing address '{rest}'")
        return Address(host=host.strip("[]"), port=port)
    if protocol in _NOT_SIMULATED and ":" in uri:
        raise QmpError(f"migration protocol {protocol} is not simulated: use unix or tcp")
    raise QmpError(f"unknown migration protocol: {uri}")


def of_migration(arguments: dict[str, Any]) -> Address:
    """Return the address that the arguments of `migrate` and `migrate-incoming` name.

    Raises:
        QmpError: They name none, or several.
    """
    uri, channels = arguments.get("uri"), arguments.get("channels")
    if uri is not None and channels:
        raise QmpError("uri and channels are mutually exclusive")
    if channels:
        return _of_channel(channels)
    if uri is None:
        raise QmpError("need either 'uri' or 'channels' argument")
    return parse_uri(uri)


def _of_channel(channels: list[dict[str, Any]]) -> Address:
    if len(channels) > 1:
        raise QmpError("Channel list must have only one entry, for type 'main'")
    address = channels[0]["addr"]
    if channels[0]["channel-type"] != "main":
        raise QmpError("Channel list has no main entry")
    kind = address.get("type", address["transport"])
    if kind == "unix":
        return Address(path=address["path"])
    if address["transport"] == "socket" and kind == "inet":
        return Address(host=address["host"], port=address["port"])
    raise QmpError(f"a channel of type {kind} is not simulated: use unix or inet")
