"""The connection: the service's URL and token, and the requests that were sent."""

import json
import os
import re
from dataclasses import dataclass
from typing import Any, Final, Self

import httpx
from typing_extensions import override

__tracebackhide__ = True

DEFAULT_URL: Final = "http://127.0.0.1:8000"
TIMEOUT_SECONDS: Final = 30.0
REPLAYED_HEADER: Final = "Idempotent-Replayed"

_TOKEN: Final = re.compile(r"[!-~]*\Z")


class BadConnectionError(ValueError):
    """The URL or the token is none; the message begins with its name."""


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
    """Return the arguments of an httpx client; the URL is HACDBS_URL or the default if None.

    Raises:
        BadConnectionError: The URL or the token is none.
    """
    name = "url" if url else "HACDBS_URL"
    url = url or url_of_environment()
    if wrong := _what_is_wrong(url):
        raise BadConnectionError(f"{name} {wrong} (got {json.dumps(url, ensure_ascii=False)})")
    if _TOKEN.match(token or "") is None:  # and not shown, for it may be nearly the right one
        raise BadConnectionError("token must be visible ASCII characters")
    return {
        "base_url": url,
        "headers": {"Authorization": f"Bearer {token}"} if token else {},
        "timeout": timeout,
        "trust_env": False,  # do not use a proxy of the environment
        # Loading certificates takes longer than most requests
        "verify": not url.startswith("http:"),
    }


def _what_is_wrong(url: str) -> str:
    """Say what is wrong with the URL of a service; nothing if it is one."""
    if not url.lower().startswith(("http://", "https://")):
        return "must begin with http:// or https://"
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        return f"is malformed: {error}"
    if not parsed.host:
        return "must name a host"
    if parsed.query or parsed.fragment:
        return "must have no query and no fragment"
    # Another path is the prefix of a proxy, which takes it off
    has_version = parsed.path.rstrip("/").endswith("/v1")
    return "must not have the version: leave out /v1" if has_version else ""


def open_http(
    url: str | None = None, token: str | None = None, timeout: float = TIMEOUT_SECONDS
) -> httpx.Client:
    """Return an httpx client of the service, for requests without retries and exceptions."""
    return httpx.Client(**connection(url, token, timeout))
