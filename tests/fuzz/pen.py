"""Requests of the fuzzer, and the state of a VM that their author keeps."""

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
    """A VM as the author knows it."""

    page_size: int
    slots: dict[int, tuple[int, int]] = field(default_factory=dict)
    """By number: the first gfn, and how many pages."""
    copies: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    workloads: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Call:
    """A request, and the operation that it is meant for."""

    operation_id: str
    request: Request


class Pen:
    """Writes requests down, some POSTs with a key."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._keys = 0

    def _plain(self, operation_id: str, method: str, path: str, **query: object) -> Call:
        target = f"{path}?{urlencode(query)}" if query else path
        return Call(operation_id, Request(method, target, self._headers(method)))

    def _with(
        self, operation_id: str, method: str, path: str, body: object, **query: object
    ) -> Call:
        call = self._plain(operation_id, method, path, **query)
        is_octets = isinstance(body, bytes)
        octets = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {**call.request.headers, **(OCTETS if is_octets else JSON)}
        return Call(operation_id, replace(call.request, headers=headers, body=octets))

    def _headers(self, method: str) -> Mapping[str, str]:
        if method != "POST" or self._rng.random() < 0.7:
            return {}
        # Now and then a key comes again, with what is most likely another request.
        self._keys += self._rng.random() < 0.9
        return {"Idempotency-Key": f"key-{self._keys}"}
