"""If-Match and If-None-Match, however they are written."""

import pytest

from app.http.preconditions import MAX_TAGS_CHARS, read_preconditions
from app.http.problems import Refusal
from hacdbs_sim.wire import InvalidRequestError
from tests.unit.http.requests import request_of


@pytest.mark.parametrize(
    ("headers", "etag", "holds"),
    [
        ([], '"1"', True),
        ([], None, True),
        ([("If-Match", '"1"')], '"1"', True),
        ([("If-Match", '"0" , "1"')], '"1"', True),
        ([("If-Match", '"0"'), ("If-Match", '"1"')], '"1"', True),
        ([("If-Match", '"0"')], '"1"', False),
        ([("If-Match", 'W/"1"')], '"1"', False),
        ([("If-Match", "*")], '"1"', True),
        ([("If-Match", "*")], None, False),
        ([("If-None-Match", "*")], None, True),
        ([("If-None-Match", "*")], '"1"', False),
        ([("If-None-Match", 'W/"1"')], '"1"', False),
    ],
)
def test_a_change_is_made_only_if_its_conditions_hold(
    headers: list[tuple[str, str]], etag: str | None, *, holds: bool
) -> None:
    preconditions = read_preconditions(request_of(*headers))

    if holds:
        preconditions.check(etag)
    else:
        with pytest.raises(Refusal) as refused:
            preconditions.check(etag)
        assert refused.value.problem.status == 412


@pytest.mark.parametrize("value", ["1", '"1', '"1";"2"', "", '"' + "1" * MAX_TAGS_CHARS + '"'])
def test_what_is_not_a_list_of_tags_is_refused(value: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        read_preconditions(request_of(("If-Match", value)))

    (error,) = refused.value.errors
    assert (error.in_, error.pointer) == ("header", "If-Match")
