"""Parameters: the short paths give the same results as the long ones."""

from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.http.parameters import MAX_PARAMETERS, read_query
from hacdbs_sim.wire import InvalidRequestError


def _read(query: str, known: frozenset[str]) -> dict[str, str]:
    return dict(read_query(query.encode("latin-1"), known))


@given(
    st.lists(
        st.text(alphabet=["a", "b", "=", "&", "+", "%", "4", "1", ";", "\xe9"], max_size=6),
        max_size=4,
    ).map("&".join)
)
def test_a_query_is_read_as_the_standard_library_reads_it(query: str) -> None:
    pairs = parse_qsl(query, keep_blank_values=True, errors="replace")
    names = frozenset(name for name, _ in pairs)

    if len(names) == len(pairs):
        assert _read(query, names) == dict(pairs)
    else:
        with pytest.raises(InvalidRequestError):
            _read(query, names)


@pytest.mark.parametrize("query", ["a=1&b=2", "%61=1&b=2"])
def test_an_unknown_parameter_is_refused(query: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        _read(query, frozenset({"a"}))

    (error,) = refused.value.errors
    assert (error.pointer, error.bound, error.value) == ("b", "a", "2")


def test_a_query_of_thousands_of_parameters_is_refused_as_one() -> None:
    with pytest.raises(InvalidRequestError) as refused:
        _read("a&" * 31_000, frozenset({"a"}))

    (error,) = refused.value.errors
    assert (error.bound, error.value) == (MAX_PARAMETERS, 31_001)
