"""Answers kept for retries: one answer a key, within bounds of count, bytes and time."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.service import idempotency_store as replays_module
from app.service.errors import (
    AnswerNotKeptError,
    IdempotencyKeyInFlightError,
    IdempotencyKeyLimitError,
    IdempotencyKeyReusedError,
)
from app.service.idempotency_store import RECORD_BYTES, SCOPE_SHARE, Claim, KeptAnswer, Replays
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


def replays_of(clock: Clock, *, share_bytes: int = 1 << 20, seconds: int = 60) -> Replays:
    return Replays(
        Limits(max_idempotency_bytes=share_bytes * SCOPE_SHARE, idempotency_seconds=seconds), clock
    )


def answer(size: int = 10) -> KeptAnswer:
    return KeptAnswer(200, (), b"x" * size)


def claim(replays: Replays, key: str, scope: str = "s") -> Claim:
    claimed = replays.begin(scope, key, FINGERPRINT)
    assert isinstance(claimed, Claim), "the key was known"
    return claimed


def serve(replays: Replays, key: str, scope: str = "s", size: int = 10) -> None:
    claim(replays, key, scope).settle(answer(size))


def test_a_key_is_answered_as_its_first_request_was(clock: Clock) -> None:
    replays = replays_of(clock)
    claim(replays, "k").settle(answer(7))

    assert replays.begin("s", "k", FINGERPRINT) == answer(7)
    assert replays.begin("s", "k", FINGERPRINT) == answer(7)


def test_a_key_of_another_request_is_refused(clock: Clock) -> None:
    replays = replays_of(clock)
    first = claim(replays, "k")

    with pytest.raises(IdempotencyKeyReusedError):
        replays.begin("s", "k", OTHER)  # in flight

    first.settle(answer())
    with pytest.raises(IdempotencyKeyReusedError):
        replays.begin("s", "k", OTHER)


def test_a_key_in_flight_is_refused_until_it_is_settled(clock: Clock) -> None:
    replays = replays_of(clock)
    first = claim(replays, "k")

    with pytest.raises(IdempotencyKeyInFlightError):
        replays.begin("s", "k", FINGERPRINT)

    first.settle(answer())
    assert replays.begin("s", "k", FINGERPRINT) == answer()


def test_a_request_without_an_answer_is_not_done_again(clock: Clock) -> None:
    replays = replays_of(clock)
    claim(replays, "k").settle(None)

    with pytest.raises(AnswerNotKeptError):
        replays.begin("s", "k", FINGERPRINT)


def test_a_key_is_known_in_its_scope_only(clock: Clock) -> None:
    replays = replays_of(clock)
    serve(replays, "k", "a")

    assert isinstance(replays.begin("b", "k", OTHER), Claim)


def test_clearing_forgets_a_scope_and_no_other(clock: Clock) -> None:
    replays = replays_of(clock)
    serve(replays, "k", "a")
    serve(replays, "k", "b")
    replays.clear("a")
    replays.clear("never used")

    assert isinstance(replays.begin("a", "k", OTHER), Claim)
    assert replays.begin("b", "k", FINGERPRINT) == answer()


def test_what_was_in_flight_when_its_scope_was_cleared_is_not_kept(clock: Clock) -> None:
    replays = replays_of(clock)
    old = claim(replays, "k")
    replays.clear("s")
    new = claim(replays, "k")
    old.settle(answer(1))

    with pytest.raises(IdempotencyKeyInFlightError):
        replays.begin("s", "k", FINGERPRINT)

    new.settle(answer(2))
    assert replays.begin("s", "k", FINGERPRINT) == answer(2)


def test_an_answer_is_kept_for_as_long_as_the_limit_says(clock: Clock) -> None:
    replays = replays_of(clock, seconds=60)
    serve(replays, "k")

    clock.now = 59.9
    assert replays.begin("s", "k", FINGERPRINT) == answer()

    clock.now = 60.0
    assert isinstance(replays.begin("s", "k", OTHER), Claim)


def test_the_time_begins_when_the_answer_is_there(clock: Clock) -> None:
    replays = replays_of(clock, seconds=60)
    slow = claim(replays, "slow")
    clock.now = 100.0
    slow.settle(answer())

    clock.now = 159.0
    assert replays.begin("s", "slow", FINGERPRINT) == answer()


def test_time_frees_the_bytes_of_every_scope(clock: Clock) -> None:
    replays = replays_of(clock)
    for scope in "abc":
        serve(replays, "k", scope, size=100)

    assert replays.held_bytes == 3 * (RECORD_BYTES + 100)

    clock.now = 1000.0
    serve(replays, "k", "d", size=5)
    assert (len(replays), replays.held_bytes) == (1, RECORD_BYTES + 5)


def test_the_oldest_answer_makes_room_for_a_key(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replays_module, "MAX_IDEMPOTENCY_KEYS_PER_SCOPE", 3)
    replays = replays_of(clock)
    for key in "abcd":
        serve(replays, key)

    assert len(replays) == 3
    assert replays.begin("s", "b", FINGERPRINT) == answer()
    assert isinstance(replays.begin("s", "a", FINGERPRINT), Claim)


def test_what_is_in_flight_makes_no_room(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replays_module, "MAX_IDEMPOTENCY_KEYS_PER_SCOPE", 2)
    replays = replays_of(clock)
    first = claim(replays, "a")
    claim(replays, "b")

    with pytest.raises(IdempotencyKeyLimitError) as refused:
        replays.begin("s", "c", FINGERPRINT)

    assert refused.value.bound == 2
    assert isinstance(replays.begin("other", "c", FINGERPRINT), Claim)
    first.settle(answer())
    assert isinstance(replays.begin("s", "c", FINGERPRINT), Claim)


def test_an_answer_larger_than_a_scopes_share_is_not_kept_and_drives_none_out(
    clock: Clock,
) -> None:
    share = 4 * RECORD_BYTES
    replays = replays_of(clock, share_bytes=share)
    serve(replays, "small", size=10)
    claim(replays, "large").settle(answer(share + 1))

    with pytest.raises(AnswerNotKeptError):
        replays.begin("s", "large", FINGERPRINT)
    assert replays.begin("s", "small", FINGERPRINT) == answer(10)


def test_the_oldest_answers_make_room_for_a_larger_one(clock: Clock) -> None:
    replays = replays_of(clock, share_bytes=4 * RECORD_BYTES)
    serve(replays, "a", size=100)
    serve(replays, "b", size=100)
    serve(replays, "c", size=2 * RECORD_BYTES - 100)

    assert replays.begin("s", "c", FINGERPRINT) == answer(2 * RECORD_BYTES - 100)
    assert isinstance(replays.begin("s", "a", FINGERPRINT), Claim)


def test_an_answer_whose_room_others_in_flight_hold_is_not_kept(clock: Clock) -> None:
    replays = replays_of(clock, share_bytes=4 * RECORD_BYTES)
    large = claim(replays, "large")
    for key in "abc":
        claim(replays, key)
    large.settle(answer(10))

    with pytest.raises(AnswerNotKeptError):
        replays.begin("s", "large", FINGERPRINT)


def test_scopes_share_the_bytes_and_one_cannot_drive_out_anothers(clock: Clock) -> None:
    replays = replays_of(clock, share_bytes=2 * RECORD_BYTES)
    for number in range(SCOPE_SHARE):
        serve(replays, "k", f"s{number}", size=RECORD_BYTES)

    with pytest.raises(IdempotencyKeyLimitError) as refused:
        replays.begin("late", "k", FINGERPRINT)

    assert refused.value.bound == SCOPE_SHARE * 2 * RECORD_BYTES
    assert replays.begin("s0", "k", FINGERPRINT) == answer(RECORD_BYTES)
    # One's own old answers go for one's own new ones
    assert isinstance(replays.begin("s0", "new", FINGERPRINT), Claim)


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
    replays = replays_of(clock, share_bytes=share, seconds=10)
    claims: dict[tuple[str, str], Claim] = {}
    for step, scope, key, size in steps:
        match step:
            case "begin":
                try:
                    claimed = replays.begin(scope, key, FINGERPRINT)
                except (
                    AnswerNotKeptError,
                    IdempotencyKeyInFlightError,
                    IdempotencyKeyLimitError,
                ):
                    continue
                if isinstance(claimed, Claim):
                    claims[scope, key] = claimed
            case "settle" | "lose" if (scope, key) in claims:
                claims.pop((scope, key)).settle(answer(size) if step == "settle" else None)
            case "clear":
                replays.clear(scope)
                claims = {at: held for at, held in claims.items() if at[0] != scope}
            case "wait":
                clock.now += size / RECORD_BYTES
            case _:
                continue

        assert len(claims) * RECORD_BYTES <= replays.held_bytes <= 2 * share
        assert replays.held_bytes >= len(replays) * RECORD_BYTES

    for held in claims.values():
        held.settle(None)
    for scope in "ab":
        replays.clear(scope)
    assert (len(replays), replays.held_bytes) == (0, 0)
