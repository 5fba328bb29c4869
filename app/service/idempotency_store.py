"""Responses kept for retries, by idempotency key and scope.

A response is kept until it expires, until its scope is cleared, or until newer ones exceed the limits of
its scope: the oldest is dropped first. A request that is still being served is never forgotten.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeAlias

from . import errors
from .limits import MAX_IDEMPOTENCY_KEYS_PER_SCOPE, Limits

SCOPE_SHARE: Final = 8
"""One scope holds at most one part in this many of all bytes, which leaves room for others."""

RECORD_BYTES: Final = 1280
"""The size of a record without its response: key, fingerprint, containers (measured, from above)."""

OBJECT_BYTES: Final = 33
HEADER_BYTES: Final = 2 * OBJECT_BYTES + 72
"""What bytes, and a header, take beside their text."""

IDEMPOTENCY_KEY: Final = "Idempotency-Key"


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """A response as it was sent, without what belongs to one exchange only."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    @property
    def size_bytes(self) -> int:
        """The bytes that it takes to keep the response."""
        texts = sum(len(name) + len(value) for name, value in self.headers)
        return OBJECT_BYTES + len(self.body) + texts + HEADER_BYTES * len(self.headers)


@dataclass(frozen=True, slots=True)
class _Record:
    """The response to a key; None if it was too large or never made."""

    fingerprint: bytes
    answer: KeptAnswer | None

    @property
    def answer_bytes(self) -> int:
        return 0 if self.answer is None else self.answer.size_bytes


@dataclass(slots=True, eq=False)
class _Scope:
    name: str
    in_flight: dict[str, bytes] = field(default_factory=dict)
    settled: OrderedDict[str, _Record] = field(default_factory=OrderedDict)
    held_bytes: int = 0

    def __len__(self) -> int:
        return len(self.in_flight) + len(self.settled)


Claim: TypeAlias = Callable[[KeptAnswer | None], None]
"""The right and the duty to respond to a key's first request.

Called with the response, it keeps it for retries; None reports to them that it is lost, not that it
failed. If the scope was cleared since, nothing is kept.
"""


class IdempotencyStore:
    """The responses that a service keeps for retries; `clock` has seconds and never goes back."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._scopes: dict[str, _Scope] = {}
        self._by_age: OrderedDict[tuple[str, str], float] = OrderedDict()  # to when each expires
        self.held_bytes = 0
        """The approximate bytes that all kept responses take."""

    def __len__(self) -> int:
        """Return the number of keys, of finished requests and of those in flight."""
        return sum(map(len, self._scopes.values()))

    def begin(self, scope_name: str, key: str, fingerprint: bytes) -> Claim | KeptAnswer:
        """Claim a key of a scope for its first request, or return the response kept for it.

        `fingerprint` is the digest of all that makes the request what it is. Refused are a key of
        another request, or of one that is in flight or whose response was not kept, and a key too many.
        """
        self._forget_expired()
        scope = self._scopes.get(scope_name)
        if scope is not None:
            if (first := scope.in_flight.get(key)) is not None:
                _check_same(first, fingerprint)
                detail = "the first request with this key is still being served"
                raise errors.IdempotencyKeyInFlightError(detail, field=IDEMPOTENCY_KEY, value=key)
            if (record := scope.settled.get(key)) is not None:
                _check_same(record.fingerprint, fingerprint)
                if record.answer is None:
                    detail = (
                        "the first request with this key was served, but its answer was not kept"
                    )
                    raise errors.AnswerNotKeptError(detail, field=IDEMPOTENCY_KEY, value=key)
                return record.answer
        if scope is None:
            scope = _Scope(scope_name)
        self._make_room_for_key(scope)
        self._scopes[scope_name] = scope
        scope.in_flight[key] = fingerprint
        self._hold(scope, RECORD_BYTES)
        return partial(self._settle, scope, key)

    def clear(self, scope_name: str) -> None:
        """Forget a scope's keys; what is in flight there will not be kept."""
        if (scope := self._scopes.pop(scope_name, None)) is None:
            return
        for key in scope.settled:
            del self._by_age[scope_name, key]
        self.held_bytes -= scope.held_bytes

    def _settle(self, scope: _Scope, key: str, answer: KeptAnswer | None) -> None:
        if self._scopes.get(scope.name) is not scope:
            return
        if answer is not None and not self._make_room(scope, answer.size_bytes):
            answer = None
        record = _Record(scope.in_flight.pop(key), answer)
        scope.settled[key] = record
        self._by_age[scope.name, key] = self._clock() + self._limits.idempotency_seconds
        self._hold(scope, record.answer_bytes)

    def _make_room_for_key(self, scope: _Scope) -> None:
        while len(scope) >= MAX_IDEMPOTENCY_KEYS_PER_SCOPE and scope.settled:
            self._forget(scope, next(iter(scope.settled)))
        if len(scope) >= MAX_IDEMPOTENCY_KEYS_PER_SCOPE:
            raise errors.IdempotencyKeyLimitError(
                f"{len(scope)} requests with a key are in flight, as many as a session may have",
                field=IDEMPOTENCY_KEY,
                bound=MAX_IDEMPOTENCY_KEYS_PER_SCOPE,
            )
        if not self._make_room(scope, RECORD_BYTES):
            raise errors.IdempotencyKeyLimitError(
                f"answers kept for retries take {self.held_bytes} bytes,"
                f" HACDBS_MAX_IDEMPOTENCY_BYTES allows {self._limits.max_idempotency_bytes}",
                field=IDEMPOTENCY_KEY,
                bound=self._limits.max_idempotency_bytes,
            )

    def _make_room(self, scope: _Scope, size_bytes: int) -> bool:
        """Forget a scope's oldest responses until the bytes fit; return whether they do."""
        limit = self._limits.max_idempotency_bytes
        share = limit // SCOPE_SHARE
        if size_bytes > share:
            return False  # before anything is forgotten for nothing
        while scope.held_bytes + size_bytes > share or self.held_bytes + size_bytes > limit:
            if not scope.settled:
                return False
            self._forget(scope, next(iter(scope.settled)))
        return True

    def _forget_expired(self) -> None:
        now = self._clock()
        while self._by_age:
            (scope_name, key), expires = next(iter(self._by_age.items()))
            if expires > now:
                return
            self._forget(self._scopes[scope_name], key)

    def _forget(self, scope: _Scope, key: str) -> None:
        record = scope.settled.pop(key)
        del self._by_age[scope.name, key]
        self._hold(scope, -RECORD_BYTES - record.answer_bytes)
        if not len(scope):
            # No claim holds it: what a claim holds is in flight.
            self._scopes.pop(scope.name, None)

    def _hold(self, scope: _Scope, size_bytes: int) -> None:
        scope.held_bytes += size_bytes
        self.held_bytes += size_bytes


def _check_same(first: bytes, fingerprint: bytes) -> None:
    if first != fingerprint:
        raise errors.IdempotencyKeyReusedError(
            "a key identifies one request, this one has served another", field=IDEMPOTENCY_KEY
        )
