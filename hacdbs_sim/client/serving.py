"""A server in a thread of this process, on a free port of the loopback interface."""

import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from hacdbs_sim import launcher
from hacdbs_sim.client._async.client import AsyncClient
from hacdbs_sim.client._sync.client import Client
from hacdbs_sim.client.connecting import TIMEOUT_SECONDS
from hacdbs_sim.client.errors import ClientError
from hacdbs_sim.client.in_process import load_application
from hacdbs_sim.client.retrying import RETRIES

_LOOPBACK: Final = {"allowed_hosts": ("127.0.0.1", "localhost")}
_POLL_SECONDS: Final = 0.005


class NotStartedError(ClientError):
    """The server ended before it served."""


@dataclass(frozen=True, slots=True)
class Service:
    """A running service: where it is, and the bearer token that it asks for."""

    url: str
    token: str | None = None

    def client(self, *, timeout: float = TIMEOUT_SECONDS, retries: int = RETRIES) -> Client:
        """Return a client of the service."""
        return Client(self.url, token=self.token or "", timeout=timeout, retries=retries)

    def async_client(
        self, *, timeout: float = TIMEOUT_SECONDS, retries: int = RETRIES
    ) -> AsyncClient:
        """Return a client of the service, for coroutines."""
        return AsyncClient(self.url, token=self.token or "", timeout=timeout, retries=retries)


@contextmanager
def serve_in_thread(**settings: Any) -> Generator[Service]:  # noqa: ANN401 - each has its type
    """Serve while the `with` block runs; requests in flight at its end are finished.

    Args:
        settings: The service's settings, as `max_vms=5`; else those of the environment.
    """
    runner = launcher.load("server.runner")
    application = load_application({**_LOOPBACK, **settings})
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    server = runner.Server(lambda: application.asgi)
    # A daemon, so that it does not delay the end of the interpreter
    thread = threading.Thread(target=server.run, args=([listener],), name="hacdbs-sim", daemon=True)
    with listener:
        thread.start()
        try:
            while not server.started:
                if not thread.is_alive():
                    raise NotStartedError("the server ended before it served; see its log")
                time.sleep(_POLL_SECONDS)
            yield Service(f"http://127.0.0.1:{listener.getsockname()[1]}", application.token)
        finally:
            server.should_exit = True
            thread.join()
