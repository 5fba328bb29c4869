"""Answers kept for retries: one answer a key, within bounds of count, bytes and time."""

import tracemalloc
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.service import idempotency_store
from app.service.errors import (
    AnswerNotKeptError,
    IdempotencyKeyInFlightError,
    IdempotencyKeyLimitError,
    IdempotencyKeyReusedError,
)
from app.service.idempotency_store import (
    OBJECT_BYTES,
    RECORD_BYTES,
    SCOPE_SHARE,
    Claim,
    IdempotencyStore,
    KeptAnswer,
)
from app.service.limits import Limits

FINGERPRINT = b"one request"
OTHER = b"another request"


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def replays_of(clock: Clock, *, share_bytes: int = 1 << 20, seconds: int = 60) -> IdempotencyStore:
    return IdempotencyStore(
        Limits(max_idempotency_bytes=share_bytes * SCOPE_SHARE, idempotency_seconds=seconds), clock
    )


def answer(size: int = 10) -> KeptAnswer:
    return KeptAnswer(200, (), b"x" * size)


def claim(idempotency: IdempotencyStore, key: str, scope: str = "s") -> Claim:
    claimed = idempotency.begin(scope, key, FINGERPRINT)
    assert callable(claimed), "the key was known"
    return claimed


def serve(idempotency: IdempotencyStore, key: str, scope: str = "s", size: int = 10) -> None:
    claim(idempotency, key, scope)(answer(size))


def test_a_key_is_answered_as_its_first_request_was(clock: Clock) -> None:
    idempotency = replays_of(clock)
    claim(idempotency, "k")(answer(7))

    assert idempotency.begin("s", "k", FINGERPRINT) == answer(7)
    assert idempotency.begin("s", "k", FINGERPRINT) == answer(7)


def test_a_key_of_another_request_is_refused(clock: Clock) -> None:
    idempotency = replays_of(clock)
    first = claim(idempotency, "k")

    with pytest.raises(IdempotencyKeyReusedError):
        idempotency.begin("s", "k", OTHER)  # in flight

    first(answer())
    with pytest.raises(IdempotencyKeyReusedError):
        idempotency.begin("s", "k", OTHER)


def test_a_key_in_flight_is_refused_until_it_is_settled(clock: Clock) -> None:
    idempotency = replays_of(clock)
    first = claim(idempotency, "k")

    with pytest.raises(IdempotencyKeyInFlightError):
        idempotency.begin("s", "k", FINGERPRINT)

    first(answer())
    assert idempotency.begin("s", "k", FINGERPRINT) == answer()


def test_a_request_without_an_answer_is_not_done_again(clock: Clock) -> None:
    idempotency = replays_of(clock)
    claim(idempotency, "k")(None)

    with pytest.raises(AnswerNotKeptError):
        idempotency.begin("s", "k", FINGERPRINT)


def test_a_key_is_known_in_its_scope_only(clock: Clock) -> None:
    idempotency = replays_of(clock)
    serve(idempotency, "k", "a")

    assert callable(idempotency.begin("b", "k", OTHER))


def test_clearing_forgets_a_scope_and_no_other(clock: Clock) -> None:
    idempotency = replays_of(clock)
    serve(idempotency, "k", "a")
    serve(idempotency, "k", "b")
    idempotency.clear("a")
    idempotency.clear("never used")

    assert callable(idempotency.begin("a", "k", OTHER))
    assert idempotency.begin("b", "k", FINGERPRINT) == answer()


def test_what_was_in_flight_when_its_scope_was_cleared_is_not_kept(clock: Clock) -> None:
    idempotency = replays_of(clock)
    old = claim(idempotency, "k")
    idempotency.clear("s")
    new = claim(idempotency, "k")
    old(answer(1))

    with pytest.raises(IdempotencyKeyInFlightError):
        idempotency.begin("s", "k", FINGERPRINT)

    new(answer(2))
    assert idempotency.begin("s", "k", FINGERPRINT) == answer(2)


def test_an_answer_is_kept_for_as_long_as_the_limit_says(clock: Clock) -> None:
    idempotency = replays_of(clock, seconds=60)
    serve(idempotency, "k")

    clock.now = 59.9
    assert idempotency.begin("s", "k", FINGERPRINT) == answer()

    clock.now = 60.0
    assert callable(idempotency.begin("s", "k", OTHER))


def test_the_time_begins_when_the_answer_is_there(clock: Clock) -> None:
    idempotency = replays_of(clock, seconds=60)
    slow = claim(idempotency, "slow")
    clock.now = 100.0
    slow(answer())

    clock.now = 159.0
    assert idempotency.begin("s", "slow", FINGERPRINT) == answer()


def test_time_frees_the_bytes_of_every_scope(clock: Clock) -> None:
    idempotency = replays_of(clock)
    for scope in "abc":
        serve(idempotency, "k", scope, size=100)

    assert idempotency.held_bytes == 3 * (RECORD_BYTES + answer(100).size_bytes)

    clock.now = 1000.0
    serve(idempotency, "k", "d", size=5)
    assert (len(idempotency), idempotency.held_bytes) == (1, RECORD_BYTES + answer(5).size_bytes)


def test_the_oldest_answer_makes_room_for_a_key(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency_store, "MAX_IDEMPOTENCY_KEYS_PER_SCOPE", 3)
    idempotency = replays_of(clock)
    for key in "abcd":
        serve(idempotency, key)

    assert len(idempotency) == 3
    assert idempotency.begin("s", "b", FINGERPRINT) == answer()
    assert callable(idempotency.begin("s", "a", FINGERPRINT))


def test_what_is_in_flight_makes_no_room(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency_store, "MAX_IDEMPOTENCY_KEYS_PER_SCOPE", 2)
    idempotency = replays_of(clock)
    first = claim(idempotency, "a")
    claim(idempotency, "b")

    with pytest.raises(IdempotencyKeyLimitError) as refused:
        idempotency.begin("s", "c", FINGERPRINT)

    assert refused.value.bound == 2
    assert callable(idempotency.begin("other", "c", FINGERPRINT))
    first(answer())
    assert callable(idempotency.begin("s", "c", FINGERPRINT))


def test_an_answer_larger_than_a_scopes_share_is_not_kept_and_drives_none_out(
    clock: Clock,
) -> None:
    share = 4 * RECORD_BYTES
    idempotency = replays_of(clock, share_bytes=share)
    serve(idempotency, "small", size=10)
    claim(idempotency, "large")(answer(share + 1))

    with pytest.raises(AnswerNotKeptError):
        idempotency.begin("s", "large", FINGERPRINT)
    assert idempotency.begin("s", "small", FINGERPRINT) == answer(10)


def test_the_oldest_answers_make_room_for_a_larger_one(clock: Clock) -> None:
    idempotency = replays_of(clock, share_bytes=4 * RECORD_BYTES)
    serve(idempotency, "a", size=100)
    serve(idempotency, "b", size=100)
    serve(idempotency, "c", size=2 * RECORD_BYTES - 100)

    assert idempotency.begin("s", "c", FINGERPRINT) == answer(2 * RECORD_BYTES - 100)
    assert callable(idempotency.begin("s", "a", FINGERPRINT))


def test_an_answer_whose_room_others_in_flight_hold_is_not_kept(clock: Clock) -> None:
    idempotency = replays_of(clock, share_bytes=4 * RECORD_BYTES)
    large = claim(idempotency, "large")
    for key in "abc":
        claim(idempotency, key)
    large(answer(10))

    with pytest.raises(AnswerNotKeptError):
        idempotency.begin("s", "large", FINGERPRINT)


def test_scopes_share_the_bytes_and_one_cannot_drive_out_anothers(clock: Clock) -> None:
    idempotency = replays_of(clock, share_bytes=2 * RECORD_BYTES)
    size = RECORD_BYTES - OBJECT_BYTES
    for number in range(SCOPE_SHARE):
        serve(idempotency, "k", f"s{number}", size=size)

    with pytest.raises(IdempotencyKeyLimitError) as refused:
        idempotency.begin("late", "k", FINGERPRINT)

    assert refused.value.bound == SCOPE_SHARE * 2 * RECORD_BYTES
    assert idempotency.begin("s0", "k", FINGERPRINT) == answer(size)
    # One's own old answers go for one's own new ones
    assert callable(idempotency.begin("s0", "new", FINGERPRINT))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["begin", "settle", "lose", "clear", "wait"]),
            st.sampled_from("ab"),
            st.sampled_from("uvwxyz"),
            st.integers(0, 3 * RECORD_BYTES),
        ),
        max_size=60,
    )
)
def test_the_bytes_held_are_those_of_the_keys_and_stay_within_the_bounds(
    steps: list[tuple[str, str, str, int]],
) -> None:
    clock = Clock()
    share = 4 * RECORD_BYTES
    idempotency = replays_of(clock, share_bytes=share, seconds=10)
    claims: dict[tuple[str, str], Claim] = {}
    for step, scope, key, size in steps:
        match step:
            case "begin":
                try:
                    claimed = idempotency.begin(scope, key, FINGERPRINT)
                except (
                    AnswerNotKeptError,
                    IdempotencyKeyInFlightError,
                    IdempotencyKeyLimitError,
                ):
                    continue
                if callable(claimed):
                    claims[scope, key] = claimed
            case "settle" | "lose" if (scope, key) in claims:
                claims.pop((scope, key))(answer(size) if step == "settle" else None)
            case "clear":
                idempotency.clear(scope)
                claims = {at: held for at, held in claims.items() if at[0] != scope}
            case "wait":
                clock.now += size / RECORD_BYTES
            case _:
                continue

        assert len(claims) * RECORD_BYTES <= idempotency.held_bytes <= 2 * share
        assert idempotency.held_bytes >= len(idempotency) * RECORD_BYTES

    for held in claims.values():
        held(None)
    for scope in "ab":
        idempotency.clear(scope)
    assert (len(idempotency), idempotency.held_bytes) == (0, 0)


@pytest.mark.parametrize(
    ("key_length", "headers", "body_length", "scopes"),
    [(36, 4, 300, 5), (255, 6, 0, 5), (255, 4, 300, 2_000), (36, 4, 20_000, 5)],
)
def test_the_bytes_are_those_that_are_held(
    key_length: int, headers: int, body_length: int, scopes: int
) -> None:
    store = IdempotencyStore(Limits(), Clock())
    tracemalloc.start()
    try:
        for number in range(2_000):
            claim = store.begin(
                f"session-{number % scopes}",
                f"{number:0{key_length}d}",
                number.to_bytes(32, "big"),
            )
            assert callable(claim)
            named = tuple((b"name-%d" % each, b"%d-text" % number) for each in range(headers))
            claim(KeptAnswer(200, named, b"%06d" % number + bytes(body_length)))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert held <= store.held_bytes * 1.1
    assert store.held_bytes <= 2 * held
