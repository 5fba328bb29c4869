import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api import gfn_lists
from app.api.gfn_lists import gfns_of


@given(st.lists(st.integers(0, (1 << 53) - 1), min_size=1, max_size=200), st.integers(1, 40))
def test_pieces_together_are_the_list(gfns: list[int], piece_bytes: int) -> None:
    body = json.dumps({"gfns": gfns}, indent=2).encode()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gfn_lists, "PIECE_BYTES", piece_bytes)
        read = gfns_of(body)

    assert read is not None
    assert read.gfns.tolist() == gfns


@pytest.mark.parametrize(
    "body",
    [
        b'{"gfns": []}',
        b'{"gfns": [1,]}',
        b'{"gfns": [,1]}',
        b'{"gfns": [1,,2]}',
        b'{"gfns": [1, -2]}',
        b'{"gfns": [1, NaN]}',
        b'{"gfns": [1, [2], 3]}',
        b'{"gfns": [1], "gfns": [2]}',
        b'{"gfns": [1], "x": [2]}',
        b'{"gfn_ranges": [[1, 2]]}',
        b'{"gfns": [1',
        b"",
    ],
)
@pytest.mark.parametrize("piece_bytes", [1, 2, 100])
def test_anything_else_is_left_to_the_ordinary_way(
    monkeypatch: pytest.MonkeyPatch, body: bytes, piece_bytes: int
) -> None:
    monkeypatch.setattr(gfn_lists, "PIECE_BYTES", piece_bytes)

    assert gfns_of(body) is None
