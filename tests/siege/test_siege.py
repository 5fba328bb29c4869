"""The siege itself, for a few seconds: the service holds, and what is not held is seen."""

from dataclasses import replace

import pytest

from tests.siege.cage import LIMIT_BYTES, compose_settings
from tests.siege.campaign import RETURNED_BYTES, Outcome, run

HELD = Outcome(start_bytes=100 << 20, peak_bytes=500 << 20, end_bytes=110 << 20, served=1)


@pytest.mark.slow
def test_a_service_with_composes_settings_holds() -> None:
    run(4.0).check()


@pytest.mark.parametrize(
    "lost",
    [
        {"peak_bytes": LIMIT_BYTES},
        {"end_bytes": HELD.start_bytes + RETURNED_BYTES},
        {"served": 0},
        {"faults": ["a 500"]},
    ],
    ids=lambda lost: next(iter(lost)),
)
def test_what_does_not_hold_is_seen(lost: dict[str, object]) -> None:
    HELD.check()

    with pytest.raises(AssertionError):
        replace(HELD, **lost).check()  # type: ignore[arg-type]


def test_composes_settings_leave_room_in_its_memory() -> None:
    settings = compose_settings()
    bounds = ("STATE", "TRAFFIC", "IDEMPOTENCY")
    assert sum(int(settings[f"HACDBS_MAX_{each}_BYTES"]) for each in bounds) < LIMIT_BYTES * 0.8
