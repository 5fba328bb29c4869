"""If-Match and If-None-Match: when a change may be made."""

import pytest
from starlette.requests import Request

from app.http.preconditions import MAX_TAGS_CHARS, NONE, Preconditions, read_preconditions
from app.http.problems import PRECONDITION_FAILED, Refusal


def asked_with(*headers: tuple[str, str]) -> Preconditions:
    raw = [(name.lower().encode(), value.encode()) for name, value in headers]
    return read_preconditions(Request({"type": "http", "headers": raw}))


def test_without_headers_nothing_is_asked() -> None:
    assert asked_with() == NONE

    NONE.check(None)
    NONE.check('"1"')


@pytest.mark.parametrize(
    ("headers", "etag"),
    [
        ([("If-Match", '"3"')], '"3"'),
        ([("If-Match", '"2", "3"')], '"3"'),
        ([("If-Match", '"2"'), ("If-Match", '"3"')], '"3"'),
        ([("If-Match", "*")], '"3"'),
        ([("If-None-Match", "*")], None),
        ([("If-None-Match", '"2"')], '"3"'),
    ],
)
def test_a_change_that_meets_its_conditions_is_made(
    headers: list[tuple[str, str]], etag: str | None
) -> None:
    asked_with(*headers).check(etag)


@pytest.mark.parametrize(
    ("header", "etag", "why"),
    [
        (("If-Match", '"2"'), '"3"', "the ETag is"),
        (("If-Match", "*"), None, "nothing is there"),
        (("If-Match", 'W/"3"'), '"3"', "the ETag is"),
        (("If-None-Match", "*"), '"3"', "it is there already"),
        (("If-None-Match", 'W/"3"'), '"3"', "it is there already"),
    ],
)
def test_another_is_refused_and_the_header_named(
    header: tuple[str, str], etag: str | None, why: str
) -> None:
    with pytest.raises(Refusal, match=why) as refused:
        asked_with(header).check(etag)

    assert refused.value.problem is PRECONDITION_FAILED
    assert header[0] in str(refused.value)


@pytest.mark.parametrize(
    "given", ["3", '"3', "", '"3" "4"', '*, "3"', f'"{"x" * MAX_TAGS_CHARS}"', '"3"\n']
)
def test_what_is_not_a_list_of_tags_is_refused(given: str) -> None:
    with pytest.raises(Refusal, match="If-Match"):
        asked_with(("If-Match", given))
