"""Sending requests, and the base of the classes that do."""

import uuid
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import TypeVar

import httpx
from typing_extensions import override

from hacdbs_sim.client.connecting import Sent
from hacdbs_sim.client.pairs import async_sleep
from hacdbs_sim.client.request import JSON, KEY_HEADER, OCTETS, Body, Params, given, path_of
from hacdbs_sim.client.results import read
from hacdbs_sim.client.retrying import Attempts, Instance
from hacdbs_sim.model import Page
from hacdbs_sim.wire import write

__tracebackhide__ = True

T = TypeVar("T")


class AsyncSender:
    """Sends requests, with retries.

    Attributes:
        http: httpx's own client.
        history: The last requests, oldest first; one that was sent again is there again.
        instance: The start of the service that has answered.
    """

    def __init__(self, http: httpx.AsyncClient, retries: int) -> None:
        self.http = http
        self.history: deque[Sent] = deque(maxlen=100)
        self.instance = Instance()
        self._retries = retries

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request, again if there is no response.

        Raises:
            ProblemError: The service refused it.
            TransportError: There was no response.
            ServiceRestartedError: Another start of the service has answered before.
        """
        attempts = Attempts(request, self._retries)
        while True:
            try:
                response = await self.http.send(request)
            except httpx.RequestError as error:
                self.history.append(Sent.of(request, error))
                await async_sleep(attempts.lost(error))
                continue
            self.history.append(Sent.of(response.request, response))
            self.instance.check(response)
            pause = attempts.responded(response)
            if pause is None:
                return response
            await async_sleep(pause)


class AsyncResource:
    """An object of the service, by its path; making one sends nothing."""

    def __init__(self, sender: AsyncSender, *path: str | int) -> None:
        self._sender = sender
        self._path = path

    @override
    def __repr__(self) -> str:
        return f"<{' '.join([type(self).__name__, *map(str, self._path[2::2])])}>"

    async def send(
        self,
        method: str,
        *parts: str | int,
        params: Params | None = None,
        body: Body | None = None,
        key: str | None = None,
        headers: Mapping[str, str | None] | None = None,
    ) -> httpx.Response:
        """Send a request of your own below this object's path, with retries.

        Args:
            method: The HTTP method.
            parts: The rest of the path, part by part.
            params: The query; None is left out.
            body: An object to be sent as JSON, or octets.
            key: The Idempotency-Key of a POST; a new one if None.
            headers: Further headers; None is left out.
        """
        path = path_of(*self._path, *parts)
        sent: dict[str, str] = given(**headers or {})
        if method == "POST":  # each has a key, so that it can be retried
            sent[KEY_HEADER] = key or uuid.uuid4().hex
        if body is not None:
            sent["Content-Type"] = OCTETS if isinstance(body, bytes) else JSON
            body = body if isinstance(body, bytes) else write(body)
        query = given(**params or {})
        request = self._sender.http.build_request(
            method, path, params=query, headers=sent, content=body
        )
        return await self._sender.send(request)

    async def list_items(
        self, kind: type[Page[T]], *parts: str | int, params: Params | None = None
    ) -> AsyncIterator[T]:
        """Yield the items of all pages of a list below this object's path."""
        query = dict(params or {})
        while True:
            page = read(kind, await self.send("GET", *parts, params=query))
            for each in page.items:
                yield each
            if not page.next_page_token:
                return
            query["page_token"] = page.next_page_token
