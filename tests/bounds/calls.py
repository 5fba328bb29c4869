"""HTTP calls on one kept connection, with as little work on our side as can be."""

import http.client
import json
import time
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

JSON = "application/json"
OCTETS = "application/octet-stream"
TIMEOUT_SECONDS = 60.0
"""An answer that takes longer counts as none: the call hangs."""

IDLE_SECONDS = 3.0
"""The server closes a connection that is idle for 5 seconds, so one idle for long is not trusted."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def code(self) -> str:
        """Value of a problem's code."""
        code: str = self.json()["code"]
        return code


class Calls:
    """One connection; not for two threads at a time."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=TIMEOUT_SECONDS)
        self._used_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        octets: bytes | None = None,
        accept: str = JSON,
    ) -> Answer:
        """Send JSON, or octets, or nothing."""
        if time.monotonic() - self._used_at > IDLE_SECONDS:
            self._connection.close()  # the next request opens it anew
        headers = {"Accept": accept}
        content = octets
        if octets is not None:
            headers["Content-Type"] = OCTETS
        elif body is not None:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            headers["Content-Type"] = JSON
        self._connection.request(method, path, content, headers)
        response = self._connection.getresponse()
        answer = Answer(response.status, response.read())
        self._used_at = time.monotonic()
        return answer

    def made(self, method: str, path: str, body: object = None, **rest: Any) -> Any:
        """Call what must succeed; give its JSON."""
        answer = self.call(method, path, body, **rest)
        assert answer.status < 300, (method, path, answer.status, answer.content[:500])
        return answer.json() if answer.content else None
