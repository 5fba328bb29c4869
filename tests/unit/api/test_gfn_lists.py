import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api import gfn_lists
from app.api.bodies import _clear_from_json, _pages_from_json
from app.api.gfn_lists import gfns_of, ranges_of
from app.sim.actions import PageRanges


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
        b'{"gfns": [1, ]}',
        b'{"gfns": [1,  ,2]}',
        b'{"gfns": [ ,  ]}',
        b'{"gfns": [   ]}',
        b'\x0b{"gfns": [1]}',
        b'{"gfns": [1]\x0b}',
        b'{"gfns": [1,\x0b2]}',
    ],
)
@pytest.mark.parametrize("piece_bytes", [1, 2, 100])
def test_anything_else_is_left_to_the_ordinary_way(
    monkeypatch: pytest.MonkeyPatch, body: bytes, piece_bytes: int
) -> None:
    monkeypatch.setattr(gfn_lists, "PIECE_BYTES", piece_bytes)

    assert gfns_of(body) is None


@pytest.mark.parametrize("space", [b" " * 400_000, b"\n" * 400_000])
@pytest.mark.parametrize("body", [b'{"gfns":[~1,~]}', b'{"gfns":[~,~]}', b'{"gfns":[1,~,~2]}'])
def test_a_comma_among_much_white_space_announces_an_element(body: bytes, space: bytes) -> None:
    assert gfns_of(body.replace(b"~", space)) is None


PAIR = st.tuples(st.integers(0, (1 << 53) - 1), st.integers(1, (1 << 53) - 1))


@given(st.lists(PAIR, min_size=1, max_size=100), st.integers(1, 40), st.sampled_from([None, 2]))
def test_pieces_of_ranges_together_are_the_list(
    ranges: list[tuple[int, int]], piece_bytes: int, indent: int | None
) -> None:
    body = json.dumps({"page_ranges": ranges}, indent=indent).encode()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gfn_lists, "PIECE_BYTES", piece_bytes)
        read = ranges_of(body, b"page_ranges")

    assert read is not None
    assert list(zip(read.first.tolist(), read.count.tolist(), strict=True)) == ranges
    assert ranges_of(body, b"gfn_ranges") is None


@pytest.mark.parametrize(
    "body",
    [
        b'{"gfn_ranges": []}',
        b'{"gfn_ranges": [[1, 2],]}',
        b'{"gfn_ranges": [[1, 2], [3]]}',
        b'{"gfn_ranges": [[1, 2], [3, 4, 5]]}',
        b'{"gfn_ranges": [[1, 2]], [3, 4]]}',
        b'{"gfn_ranges": [[1, 2] [3, 4]]}',
        b'{"gfn_ranges": [[1, 0]]}',
        b'{"gfn_ranges": [[[1, 2], [3, 4]]]}',
        b'{"gfn_ranges": [1, 2]}',
        b'{"gfns": [1]}',
    ],
)
@pytest.mark.parametrize("piece_bytes", [1, 2, 100])
def test_what_is_no_list_of_ranges_is_left_to_the_ordinary_way(
    monkeypatch: pytest.MonkeyPatch, body: bytes, piece_bytes: int
) -> None:
    monkeypatch.setattr(gfn_lists, "PIECE_BYTES", piece_bytes)

    assert ranges_of(body, b"gfn_ranges") is None


@pytest.mark.parametrize("name", ["gfn_ranges", "page_ranges"])
def test_long_lists_of_ranges_are_never_validated_whole(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    lengths: list[int] = []

    class Watched:
        def validate_json(self, piece: bytes) -> list[tuple[int, int]]:
            lengths.append(len(piece))
            return pairs.validate_json(piece)

    pairs = gfn_lists._PAIRS
    monkeypatch.setattr(gfn_lists, "_PAIRS", Watched())
    body = json.dumps({name: [[n, 1] for n in range(100_000)]}).encode()

    read = _pages_from_json(body) if name == "gfn_ranges" else _clear_from_json(body)

    assert isinstance(read, PageRanges)
    assert read.first.size == 100_000
    assert len(lengths) > 10
    assert max(lengths) < 2 * gfn_lists.PIECE_BYTES
