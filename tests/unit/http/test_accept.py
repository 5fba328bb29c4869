"""The form that a client accepts."""

import pytest

from app.http.accept import accepts
from tests.unit.http.requests import request_of

OCTETS = "application/octet-stream"
FORMS = (OCTETS, "text/event-stream", "text/csv")


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

    assert accepts(OCTETS, request) is expected


def test_each_form_has_its_own_type() -> None:
    events = request_of(("Accept", "text/event-stream"))
    table = request_of(("Accept", "text/csv"))

    for request, own in ((events, "text/event-stream"), (table, "text/csv")):
        assert accepts(own, request)
        assert not any(accepts(other, request) for other in {*FORMS} - {own})
