"""How requests are written down, and what their author keeps in mind of a VM."""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import urlencode

from tests.support.wire import Request

JSON: Final = {"Content-Type": "application/json"}
OCTETS: Final = {"Content-Type": "application/octet-stream"}


@dataclass(slots=True)
class KnownVm:
    """What the author remembers of a VM."""

    page_size: int
    slots: dict[int, tuple[int, int]] = field(default_factory=dict)
    """By number: the first gfn, and how many pages."""


@dataclass(frozen=True, slots=True)
class Told:
    """A request, and by which operation it is meant."""

    operation_id: str
    request: Request


class Pen:
    """Writes requests down, some POSTs with a key."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._keys = 0

    def _plain(self, operation_id: str, method: str, path: str, **query: object) -> Told:
        target = f"{path}?{urlencode(query)}" if query else path
        return Told(operation_id, Request(method, target, self._headers(method)))

    def _with(
        self, operation_id: str, method: str, path: str, body: object, **query: object
    ) -> Told:
        told = self._plain(operation_id, method, path, **query)
        is_octets = isinstance(body, bytes)
        octets = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {**told.request.headers, **(OCTETS if is_octets else JSON)}
        return Told(operation_id, replace(told.request, headers=headers, body=octets))

    def _headers(self, method: str) -> Mapping[str, str]:
        if method != "POST" or self._rng.random() < 0.7:
            return {}
        # Now and then a key comes again, with what is most likely another request.
        self._keys += self._rng.random() < 0.9
        return {"Idempotency-Key": f"key-{self._keys}"}
