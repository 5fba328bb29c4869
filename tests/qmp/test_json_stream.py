"""Values are cut out of a stream of octets, wherever it is cut into pieces, and whatever is malformed."""

import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hacdbs_sim.qmp.errors import QmpError
from hacdbs_sim.qmp.json_stream import MAX_DEPTH, MAX_OCTETS, JsonStream

SCALARS: Final = (
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.text(max_size=8)
)
VALUES: Final = st.recursive(
    SCALARS,
    lambda of: st.lists(of, max_size=3) | st.dictionaries(st.text(max_size=4), of, max_size=3),
)


def found(*pieces: bytes) -> list[Any]:
    stream = JsonStream()
    values = [value for piece in pieces for value in stream.feed(piece)]
    return [str(value) if isinstance(value, QmpError) else value for value in values]


@given(st.lists(VALUES, max_size=4), st.booleans(), st.data())
def test_values_come_out_wherever_the_stream_is_cut(
    values: list[Any], is_ascii: bool, data: st.DataObject
) -> None:
    texts = [json.dumps(value, ensure_ascii=is_ascii) for value in values]
    octets = "".join(f"{text} " for text in texts).encode()
    at = data.draw(st.integers(0, len(octets)))

    assert found(octets[:at], octets[at:]) == values


def test_objects_need_no_separator() -> None:
    assert found(b'{"a":1}{"b":[2]}["c"]"d"5 ') == [{"a": 1}, {"b": [2]}, ["c"], "d", 5]


def test_strings_may_be_in_single_quotes() -> None:
    assert found(rb"{'a':'it\'s \"b\" and " rb'"c"' rb"\\'}") == [{"a": 'it\'s "b" and "c"\\'}]


@given(st.binary(max_size=40))
def test_after_any_octets_a_line_ends_the_damage(octets: bytes) -> None:
    """A client that has lost track sends brackets and a new line, and is understood again."""
    stream = JsonStream()
    list(stream.feed(octets + b"\n" + b"]" * 50 + b"\n"))
    assert list(stream.feed(b'{"a":1}'))[-1:] == [{"a": 1}]


@pytest.mark.parametrize(
    ("octets", "values"),
    [
        (b'{"a":1]{"b":2}', ["JSON parse error, stray ']'", {"b": 2}]),
        (b'}{"b":2}', ["JSON parse error, stray '}'", {"b": 2}]),
        (b'{"a\n{"b":2}', ["JSON parse error, control character 0x0a in a string", {"b": 2}]),
        (b"[" * (MAX_DEPTH + 1), [f"JSON nesting depth limit exceeded: {MAX_DEPTH}"]),
        (b'"' + b"x" * MAX_OCTETS, [f"JSON token size limit exceeded: {MAX_OCTETS} octets"]),
    ],
)
def test_what_is_malformed_is_reported_and_passed(octets: bytes, values: list[Any]) -> None:
    assert found(octets) == values


@pytest.mark.parametrize(
    "octets", [b"nonsense ", b'{"a" "b"}', b'{"a":1,}', b'"\xff"', b"@ ", b"-- "]
)
def test_what_is_no_json_is_a_parse_error(octets: bytes) -> None:
    (error,) = found(octets)

    assert error.startswith("JSON parse error, ")
