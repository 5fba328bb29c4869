"""Schedules of calls that seeds choose; `scripts/interleave` plays as many as there is time for."""

from functools import cache
from typing import Any

import pytest

from app.http.application import Application
from app.service.fleet import Fleet
from app.service.vm_runtime import VmRuntime
from tests.interleave.loop import HangError
from tests.interleave.promises import BrokenPromiseError
from tests.interleave.stories import make_application, play

FEW = 60
MANY = 600
TRIED = 200
"""Within so many seeds a defect must be found."""


@cache
def application() -> Application:
    return make_application()


def play_all(seeds: range) -> None:
    for seed in seeds:
        try:
            play(application(), seed)
        except Exception as error:
            error.add_note(f"scripts/interleave --seed {seed}")
            raise


def test_no_schedule_breaks_a_promise() -> None:
    play_all(range(FEW))


@pytest.mark.slow
def test_no_schedule_of_many_breaks_a_promise() -> None:
    play_all(range(FEW, MANY))


def test_a_seed_plays_the_same_schedule_again() -> None:
    assert play(application(), 7) == play(application(), 7)


def test_what_is_published_after_a_reset_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fleet, "check_current", lambda _fleet, _session: None)

    with pytest.raises((BrokenPromiseError, KeyError)):
        play_all(range(TRIED))


def test_a_call_that_began_before_a_reset_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Fleet.session

    def as_of_now(fleet: Fleet, session_id: str, _epoch: int | None = None) -> Any:
        return session(fleet, session_id)

    monkeypatch.setattr(Fleet, "session", as_of_now)

    with pytest.raises(BrokenPromiseError):
        play_all(range(TRIED))


def test_a_lock_that_is_not_released_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VmRuntime, "_release", lambda _runtime, _future: None)

    with pytest.raises(HangError):
        play_all(range(TRIED))
