"""The form that a client accepts."""

import pytest

from app.http.accept import accepts_csv, accepts_events, accepts_octets
from tests.unit.http.requests import request_of

OCTETS = "application/octet-stream"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ([], False),
        (["*/*"], False),
        (["application/json"], False),
        ([OCTETS], True),
        ([OCTETS.upper()], True),
        ([f"{OCTETS}, */*;q=0.8"], True),
        ([f"{OCTETS};q=0.5, */*"], False),
        ([f"{OCTETS}, application/json"], False),
        ([f"{OCTETS}, application/json;q=0.9"], True),
        (["application/json;q=0.9", OCTETS], True),
        ([f"{OCTETS};q=0"], False),
        ([f"{OCTETS};q=high"], False),
    ],
)
def test_octets_must_be_requested_by_name_and_above_json(
    accept: list[str], *, expected: bool
) -> None:
    request = request_of(*(("Accept", value) for value in accept))

    assert accepts_octets(request) is expected


def test_each_form_has_its_own_type() -> None:
    events = request_of(("Accept", "text/event-stream"))
    table = request_of(("Accept", "text/csv"))

    assert (accepts_events(events), accepts_csv(events)) == (True, False)
    assert (accepts_events(table), accepts_csv(table)) == (False, True)
