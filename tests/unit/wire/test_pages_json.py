import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hacdbs_sim.model.accesses import GuestWrite
from hacdbs_sim.model.dirty_log import ClearDirtyLog
from hacdbs_sim.model.errors import InvalidArgumentError
from hacdbs_sim.model.pages import Bitmap, Gfns, PageRanges
from hacdbs_sim.wire import InvalidRequestError, MalformedBodyError, body_class, cutting, pages_json
from hacdbs_sim.wire.pages_json import bitmap_of, list_of

PAGES = body_class(GuestWrite, without=frozenset({"vcpu"}))
CLEAR = body_class(
    ClearDirtyLog, without=frozenset({"slot", "first_page", "num_pages", "cpu", "trace"})
)


def refusal_of(read: Callable[[], Any]) -> tuple[Any, ...] | None:
    """What reading a body is refused with, None if with nothing."""
    try:
        read()
    except (MalformedBodyError, InvalidArgumentError) as malformed:
        return (str(malformed),)
    except InvalidRequestError as refused:
        return refused.detail, refused.errors
    return None


def assert_refused_alike_or_left(read: Callable[[bytes], Any], body: bytes) -> None:
    in_pieces = refusal_of(lambda: read(body))

    assert in_pieces is not None or read(body) is None
    whole = CLEAR if read is bitmap_of else PAGES
    assert in_pieces in (None, refusal_of(lambda: whole(body)))


@given(st.lists(st.integers(0, (1 << 53) - 1), min_size=1, max_size=200), st.integers(1, 40))
def test_pieces_together_are_the_list(gfns: list[int], piece_bytes: int) -> None:
    body = json.dumps({"gfns": gfns}, indent=2).encode()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages_json, "PIECE_BYTES", piece_bytes)
        read = list_of(body, "gfns")

    assert isinstance(read, Gfns)
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
def test_anything_else_is_refused_as_the_ordinary_way_does_or_left_to_it(
    monkeypatch: pytest.MonkeyPatch, body: bytes, piece_bytes: int
) -> None:
    monkeypatch.setattr(pages_json, "PIECE_BYTES", piece_bytes)

    assert_refused_alike_or_left(lambda given: list_of(given, "gfns"), body)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b'{"gfns": [1, 2, 3, -4, 5, "six"]}', "/gfns/3"),
        (b'{"gfns": [1, 2, 3, true]}', "/gfns/3"),
        (b'{"gfns": [9007199254740992, 1]}', "/gfns/0"),
        (b'{"gfn_ranges": [[1, 2], [3, 4], [5, 0]]}', "/gfn_ranges/2/1"),
        (b'{"gfn_ranges": [[1, 2], [3], [5, 0]]}', "/gfn_ranges/1"),
    ],
)
@pytest.mark.parametrize("piece_bytes", [1, 2, 100])
def test_a_refused_element_has_its_place_in_the_whole_list(
    monkeypatch: pytest.MonkeyPatch, body: bytes, pointer: str, piece_bytes: int
) -> None:
    monkeypatch.setattr(pages_json, "PIECE_BYTES", piece_bytes)

    with pytest.raises(InvalidRequestError) as refused:
        _ = list_of(body, "gfns") or list_of(body, "gfn_ranges")

    assert refused.value.errors[0].pointer == pointer
    assert refusal_of(lambda: PAGES(body)) == refusal_of(
        lambda: list_of(body, "gfns") or list_of(body, "gfn_ranges")
    )


@pytest.mark.parametrize("tail", [b",]}", b", nul]}", b', "a]}', b", [1]}"])
def test_a_list_that_goes_on_as_no_json_is_left_to_the_ordinary_way(
    monkeypatch: pytest.MonkeyPatch, tail: bytes
) -> None:
    monkeypatch.setattr(pages_json, "PIECE_BYTES", 1)

    assert list_of(b'{"gfns": [-1, 2' + tail.replace(b"[1]", b"[1,"), "gfns") is None


@pytest.mark.parametrize("space", [b" " * 400_000, b"\n" * 400_000])
@pytest.mark.parametrize("body", [b'{"gfns":[~1,~]}', b'{"gfns":[~,~]}', b'{"gfns":[1,~,~2]}'])
def test_a_comma_among_much_white_space_announces_an_element(body: bytes, space: bytes) -> None:
    assert list_of(body.replace(b"~", space), "gfns") is None


PAIR = st.tuples(st.integers(0, (1 << 53) - 1), st.integers(1, (1 << 53) - 1))


@given(st.lists(PAIR, min_size=1, max_size=100), st.integers(1, 40), st.sampled_from([None, 2]))
def test_pieces_of_ranges_together_are_the_list(
    ranges: list[tuple[int, int]], piece_bytes: int, indent: int | None
) -> None:
    body = json.dumps({"page_ranges": ranges}, indent=indent).encode()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages_json, "PIECE_BYTES", piece_bytes)
        read = list_of(body, "page_ranges")

    assert isinstance(read, PageRanges)
    assert list(zip(read.first.tolist(), read.count.tolist(), strict=True)) == ranges
    assert list_of(body, "gfn_ranges") is None


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
def test_another_body_than_a_list_of_ranges_is_refused_as_usual_or_left(
    monkeypatch: pytest.MonkeyPatch, body: bytes, piece_bytes: int
) -> None:
    monkeypatch.setattr(pages_json, "PIECE_BYTES", piece_bytes)

    assert_refused_alike_or_left(lambda given: list_of(given, "gfn_ranges"), body)


@given(
    st.binary(max_size=200).map(lambda octets: octets + bytes(-len(octets) % 8)), st.integers(1, 40)
)
def test_pieces_of_a_bitmap_together_are_the_bitmap(octets: bytes, piece_bytes: int) -> None:
    body = b' { "bitmap" : "' + base64.b64encode(octets) + b'"} '

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages_json, "PIECE_BYTES", piece_bytes)
        read = bitmap_of(body)

    assert read is not None
    assert read.words.astype("<u8").tobytes() == octets


@pytest.mark.parametrize(
    "text",
    [
        *(
            "A",
            "AA",
            "AAA",
            "AAAA=",
            "AA=A",
            "AA==AAAA",
            "AAAA====",
            "=AAA",
            "AAAAAAA!",
            "AAAA AAAA",
        ),
        *("AAAAAAAAAAAA-_AA", "AAAAAAA=AAA=", "A" * 3000 + "!", "!" + "A" * 3000, "AAAA\\nAAAA"),
        *("AAAA\\u0041AAA", "AAAAAA\u00e4A", "AAAAAAA\nAAAA", 'AAAAAAAA", "x": "AAAA'),
    ],
)
@pytest.mark.parametrize("piece_bytes", [1, 5, 100])
def test_another_text_than_a_bitmap_is_refused_as_usual_or_left(
    monkeypatch: pytest.MonkeyPatch, text: str, piece_bytes: int
) -> None:
    monkeypatch.setattr(pages_json, "PIECE_BYTES", piece_bytes)

    assert_refused_alike_or_left(bitmap_of, f'{{"bitmap": "{text}"}}'.encode())


@pytest.mark.parametrize(
    "body", [b'{"bitmap": 1}', b'{"bitmap": "AAAA', b'{"page_ranges": []}', b""]
)
def test_a_body_without_a_bitmap_is_left_to_the_reader(body: bytes) -> None:
    assert bitmap_of(body) is None


def test_a_long_wrong_bitmap_is_not_left_to_the_ordinary_way() -> None:
    body = b'{"bitmap": "' + b"A" * 400_000 + b'!"}'

    assert refusal_of(lambda: bitmap_of(body)) == refusal_of(lambda: CLEAR(body)) is not None


def test_a_bitmap_of_half_words_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="bitmap must be a multiple of 8 bytes, not 3"):
        bitmap_of(b'{"bitmap": "AAAA"}')


def test_a_long_bitmap_is_read_as_the_short_one_is() -> None:
    octets = bytes(range(256)) * 2048
    body = b'{"bitmap": "' + base64.b64encode(octets) + b'"}'

    read = CLEAR(body)["pages"]

    assert isinstance(read, Bitmap)
    assert read.words.tobytes() == octets


@pytest.mark.parametrize("name", ["gfn_ranges", "page_ranges"])
def test_long_lists_of_ranges_are_never_validated_whole(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    lengths: list[int] = []

    class Watched:
        def validate_json(self, piece: bytes) -> Any:
            lengths.append(len(piece))
            return pairs.validate_json(piece)

    pairs = pages_json._VALIDATORS[name]
    monkeypatch.setitem(pages_json._VALIDATORS, name, Watched())
    body = json.dumps({name: [[n, 1] for n in range(100_000)]}).encode()

    read = (PAGES if name == "gfn_ranges" else CLEAR)(body)["pages"]

    assert isinstance(read, PageRanges)
    assert read.first.size == 100_000
    assert len(lengths) > 10
    assert max(lengths) < 2 * cutting.PIECE_BYTES
