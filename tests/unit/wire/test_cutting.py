"""Texts are cut at the commas of their arrays and objects, wherever pieces begin and end."""

import json
from random import Random
from typing import Any

import pytest

from hacdbs_sim.wire import MalformedBodyError, cutting
from hacdbs_sim.wire.cutting import abridged, canonical, decode, members, parts, whole

TEXTS = ("a", 'a,b]"\\', "\\\\", "{", "é\"'", "\\", "")


def value(random: Random, depth: int) -> Any:
    kind = random.random()
    if depth == 0 or kind < 0.3:
        return random.choice([1, -2.5, None, True, *TEXTS])
    if kind < 0.65:
        return [value(random, depth - 1) for _ in range(random.randrange(4))]
    return {
        f"{random.choice(TEXTS)}{number}": value(random, depth - 1)
        for number in range(random.randrange(4))
    }


@pytest.mark.parametrize("scanned", [1, 2, 3, 7, 64, cutting.SCANNED_BYTES])
def test_the_parts_of_a_text_are_those_that_a_parser_finds(
    monkeypatch: pytest.MonkeyPatch, scanned: int
) -> None:
    monkeypatch.setattr(cutting, "SCANNED_BYTES", scanned)
    monkeypatch.setattr(cutting, "PIECE_BYTES", 8)
    random = Random(scanned)
    for _ in range(300):
        made = value(random, 4)
        indent = random.choice([None, 1])
        text = json.dumps(made, ensure_ascii=random.random() < 0.5, indent=indent).encode()
        span = whole(text)

        assert json.loads(canonical(text, span)) == made
        if isinstance(made, list):
            assert [decode(text, part) for part in parts(text, span)] == made
        elif isinstance(made, dict):
            assert {name: decode(text, part) for name, part in members(text, span)} == made


def test_canonical_texts_have_their_names_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "PIECE_BYTES", 8)
    text = b' {"b" : [ {"z":1,"a":[1.50, "x y"]} , 2 ] , "a" : {} } '

    assert canonical(text, whole(text)) == b'{"a":{},"b":[{"a":[1.5,"x y"],"z":1},2]}'


def test_an_abridged_text_has_its_short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "PIECE_BYTES", 16)
    deep = b'{"f":{"g":"too deep to be seen"},"c":2}'
    text = (
        b'{"a":{"b":[1,2,3,4,5,6,7,8,9],"c":1,"h":%s},"d":[1,2],"e":"a text that is long"}' % deep
    )

    assert abridged(text, whole(text)) == {
        "a": {"b": [], "c": 1, "h": {}},
        "d": [1, 2],
        "e": "a text that is long",
    }


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"x",
        b"[",
        b"[1,]",
        b"[,1]",
        b"[1}",
        b"[1] 2",
        b"[1]]",
        b'["',
        b'["\\"]',
        b'{"a"}',
        b'{"a":}',
        b"{a:1}",
        b'{"\\x":1}',
        b"[1,2",
    ],
)
def test_what_does_not_end_or_lacks_a_part_is_refused(text: bytes) -> None:
    cut = members if text.startswith(b"{") else parts

    with pytest.raises(MalformedBodyError):
        list(cut(text, whole(text)))
