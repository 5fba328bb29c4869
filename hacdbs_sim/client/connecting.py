"""The connection: the service's URL and token, and the requests that were sent."""

import os
from dataclasses import dataclass
from typing import Any, Final, Self

import httpx
from typing_extensions import override

__tracebackhide__ = True

DEFAULT_URL: Final = "http://127.0.0.1:8000"
TIMEOUT_SECONDS: Final = 30.0
REPLAYED_HEADER: Final = "Idempotent-Replayed"


@dataclass(frozen=True, slots=True)
class Sent:
    """A request that was sent, and the status of its response; without one, 0 and an error."""

    method: str
    target: str
    status: int
    error: str = ""
    is_replayed: bool = False

    @classmethod
    def of(cls, request: httpx.Request, result: httpx.Response | httpx.RequestError) -> Self:
        """Return what became of a request."""
        target = request.url.raw_path.decode("ascii")
        if isinstance(result, httpx.RequestError):
            return cls(request.method, target, 0, type(result).__name__)
        is_replayed = REPLAYED_HEADER in result.headers
        return cls(request.method, target, result.status_code, is_replayed=is_replayed)

    @override
    def __str__(self) -> str:
        end = self.error or ("replayed" if self.is_replayed else "")
        return f"{self.status or '---'} {self.method} {self.target} {end}".rstrip()


def token_of_environment() -> str | None:
    """Return the token: HACDBS_TOKEN, if it is set."""
    return os.environ.get("HACDBS_TOKEN") or None


def url_of_environment() -> str:
    """Return where the service is: HACDBS_URL, if it is set, else port 8000 of this machine."""
    return os.environ.get("HACDBS_URL") or DEFAULT_URL


def connection(
    url: str | None = None, token: str | None = None, timeout: float = TIMEOUT_SECONDS
) -> dict[str, Any]:
    """Return the arguments of an httpx client; the URL is HACDBS_URL or the default if None."""
    url = url or url_of_environment()
    return {
        "base_url": url,
        "headers": {"Authorization": f"Bearer {token}"} if token else {},
        "timeout": timeout,
        "trust_env": False,  # do not use a proxy of the environment
        # Loading certificates takes longer than most requests
        "verify": not url.startswith("http:"),
    }


def open_http(
    url: str | None = None, token: str | None = None, timeout: float = TIMEOUT_SECONDS
) -> httpx.Client:
    """Return an httpx client of the service, for requests without retries and exceptions."""
    return httpx.Client(**connection(url, token, timeout))
