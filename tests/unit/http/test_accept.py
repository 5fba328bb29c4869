"""Which form a caller gets, by its Accept header."""

import pytest
from starlette.requests import Request

from app.http.accept import accepts_csv, accepts_events, accepts_octets


def asking(*accepts: str) -> Request:
    headers = [(b"accept", accept.encode()) for accept in accepts]
    return Request({"type": "http", "headers": headers})


@pytest.mark.parametrize(
    "accept",
    [
        "application/octet-stream",
        "APPLICATION/Octet-Stream",
        "application/octet-stream, */*;q=0.1",
        "application/octet-stream;q=0.9, application/json;q=0.5",
        "application/octet-stream, application/*",
    ],
)
def test_octets_come_where_they_are_asked_for_by_name(accept: str) -> None:
    assert accepts_octets(asking(accept))


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "application/*",
        "application/json, application/octet-stream",
        "application/octet-stream;q=0",
        "application/octet-stream;q=none",
        "application/octet-stream;q=0.5, */*",
    ],
)
def test_json_comes_otherwise(accept: str) -> None:
    assert not accepts_octets(asking(accept))


def test_without_the_header_json_comes() -> None:
    assert not accepts_octets(asking())


def test_lines_of_the_header_count_as_one() -> None:
    assert accepts_octets(asking("application/json;q=0.1", "application/octet-stream"))


def test_a_stream_and_a_table_are_asked_for_alike() -> None:
    assert accepts_events(asking("text/event-stream"))
    assert accepts_csv(asking("text/csv"))
    assert not accepts_events(asking("text/csv"))
    assert not accepts_csv(asking("text/event-stream"))
