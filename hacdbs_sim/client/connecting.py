"""The connection: the service's URL and token, and the last requests."""

import os
from collections import deque
from dataclasses import dataclass
from typing import Final, TypedDict

import httpx
from typing_extensions import override

from hacdbs_sim.client.request import Request

__tracebackhide__ = True

URL_VARIABLE: Final = "HACDBS_URL"
TOKEN_VARIABLE: Final = "HACDBS_TOKEN"  # noqa: S105 - a name
DEFAULT_URL: Final = "http://127.0.0.1:8000"
TIMEOUT_SECONDS: Final = 30.0
KEPT_REQUESTS: Final = 100


@dataclass(frozen=True, slots=True)
class Sent:
    """A request that was sent, and the status of its response; without one, 0 and an error."""

    method: str
    target: str
    status: int
    error: str = ""
    is_replayed: bool = False

    @override
    def __str__(self) -> str:
        end = self.error or ("replayed" if self.is_replayed else "")
        return f"{self.status or '---'} {self.method} {self.target} {end}".rstrip()


class History(deque[Sent]):
    """The last requests, oldest first; one that was sent again is there again."""

    def __init__(self) -> None:
        super().__init__(maxlen=KEPT_REQUESTS)

    def responded(self, response: httpx.Response) -> None:
        """Append a request with a response."""
        request = response.request
        target = request.url.raw_path.decode("ascii")
        is_replayed = "Idempotent-Replayed" in response.headers
        self.append(Sent(request.method, target, response.status_code, is_replayed=is_replayed))

    def lost(self, request: Request, error: httpx.RequestError) -> None:
        """Append a request without a response."""
        self.append(Sent(request.method, request.path, 0, type(error).__name__))


class Connection(TypedDict):
    """Arguments of httpx's clients of both kinds."""

    base_url: str
    headers: dict[str, str]
    timeout: float
    trust_env: bool
    verify: bool


def url_of_environment() -> str:
    """Return the service's URL: HACDBS_URL, or the port of `hacdbs-sim serve` on this machine."""
    return os.environ.get(URL_VARIABLE) or DEFAULT_URL


def token_of_environment() -> str | None:
    """Return the token: HACDBS_TOKEN, if it is set."""
    return os.environ.get(TOKEN_VARIABLE) or None


def connection(
    url: str | None = None, token: str | None = None, timeout: float = TIMEOUT_SECONDS
) -> Connection:
    """Return the arguments of an httpx client of the service at a URL."""
    url = url or url_of_environment()
    return {
        "base_url": url,
        "headers": {} if not token else {"Authorization": f"Bearer {token}"},
        "timeout": timeout,
        "trust_env": False,  # do not use a proxy of the environment
        "verify": not url.startswith(
            "http:"
        ),  # loading certificates takes longer than most requests
    }


def open_http(
    url: str | None = None, token: str | None = None, timeout: float = TIMEOUT_SECONDS
) -> httpx.Client:
    """Return an httpx client of the service, for requests without retries and exceptions."""
    return httpx.Client(**connection(url, token, timeout))
