"""One kind reads a JSON body and a text of a URL, and has one form when it is written."""

from typing import Annotated, Any

import pytest
from pydantic import TypeAdapter, ValidationError

import hacdbs_sim.wire  # noqa: F401 - which describes the kinds
from hacdbs_sim.model import kinds
from hacdbs_sim.model.memslots import Flags

ADDRESS = TypeAdapter[Any](kinds.Address)
SIZE = TypeAdapter[Any](kinds.Size)
COUNT = TypeAdapter[Any](kinds.Count)
GFN = TypeAdapter[Any](kinds.Gfn)
SLOT = TypeAdapter[Any](kinds.SlotId)
PAGE64 = TypeAdapter[Any](kinds.Page64)
PAGE_SIZE = TypeAdapter[Any](kinds.PageSize)
PROTECT = TypeAdapter[Any](kinds.ManualProtect)
TRUTH = TypeAdapter[Any](kinds.Boolean)
FLAGS = TypeAdapter[Any](Flags)
EVEN = TypeAdapter[Any](Annotated[int, kinds.whole(2, 8, multiple_of=2)])


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (ADDRESS, b"4096", 4096),
        (ADDRESS, b'"0x40000000"', 1 << 30),
        (ADDRESS, b'"0XfFfFfFfFfFfFfFfF"', (1 << 64) - 1),
        (ADDRESS, b"1e3", 1000),
        (SIZE, b'"2GiB"', 2 << 30),
        (SIZE, b'"0KiB"', 0),
        (SIZE, b'"3TiB"', 3 << 40),
        (SIZE, b"12", 12),
        (COUNT, b"9007199254740991", (1 << 53) - 1),
        (COUNT, b"2.0", 2),
        (GFN, b"262144", 262144),
        (GFN, b'"0x40000"', 262144),
        (GFN, b'"0x1fffffffffffff"', (1 << 53) - 1),
        (PAGE_SIZE, b'"16KiB"', 16384),
        (PAGE_SIZE, b"65536", 65536),
        (PROTECT, b"3", 3),
        (FLAGS, b'["READONLY", "LOG_DIRTY_PAGES"]', 3),
        (FLAGS, b"[]", 0),
        (EVEN, b"8", 8),
    ],
)
def test_a_number_of_a_body_is_read(kind: TypeAdapter[Any], text: bytes, value: int) -> None:
    read = kind.validate_json(text)

    assert read == value
    assert type(read) is int


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *[(kind, text) for kind in (ADDRESS, SIZE, COUNT, GFN, PAGE_SIZE, PROTECT) for text in (
            b"true", b"-1", b"1.5", b"null", b'"4096"', b"9007199254740992", b"1e400",
            b"100000000000000000000000000", b"[]",
        )],
        (ADDRESS, b'"0x"'),
        (ADDRESS, b'"0x10000000000000000"'),
        (ADDRESS, b'"0x1\\n"'),
        (ADDRESS, b'"0x1_0"'),
        (GFN, b'"0x20000000000000"'),
        (GFN, b'"0x"'),
        (SIZE, b'"2GB"'),
        (SIZE, b'"2 GiB"'),
        (SIZE, b'"02GiB"'),
        (SIZE, b'"10000000TiB"'),
        (PAGE_SIZE, b"8192"),
        (PAGE_SIZE, b'"8KiB"'),
        (PROTECT, b"2"),
        (EVEN, b"3"),
        (EVEN, b"0"),
        (EVEN, b"10"),
    ],
)  # fmt: skip
def test_another_number_is_refused_with_its_bound(kind: TypeAdapter[Any], text: bytes) -> None:
    with pytest.raises(ValidationError) as refused:
        kind.validate_json(text)

    (error,) = refused.value.errors()
    assert "bound" in error["ctx"]


@pytest.mark.parametrize(
    ("kind", "text", "message", "bound"),
    [
        (SLOT, b"32767", "must be an integer of 0..32766", "0..32766"),
        (
            PAGE64,
            b"33",
            "must be an integer of 0..9007199254740991 and a multiple of 64",
            "0..9007199254740991, multiples of 64",
        ),
        (PROTECT, b"2", "must be one of 0, 1, 3", "0, 1, 3"),
        (PAGE_SIZE, b"1", "must be one of 4096, 16384, 65536", "4096, 16384, 65536"),
        (
            SIZE,
            b'"x"',
            'a size must be an integer of bytes or a string like "2GiB" (KiB, MiB, GiB, TiB)',
            r"^(0|[1-9][0-9]{0,6})(KiB|MiB|GiB|TiB)$",
        ),
        (
            ADDRESS,
            b"-1",
            "an integer here must lie in 0..2^53 - 1; larger ones are written as strings",
            "0..9007199254740991",
        ),
    ],
)
def test_a_refusal_names_the_bound(
    kind: TypeAdapter[Any], text: bytes, message: str, bound: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        kind.validate_json(text)

    (error,) = refused.value.errors()
    assert (error["msg"], error["ctx"]["bound"]) == (message, bound)


@pytest.mark.parametrize("text", ["+1", "-1", " 1", "1 ", "1_0", "1.0", "0x1", "٣", "", "01",
                                  "9007199254740992", "9" * 5000])  # fmt: skip
def test_a_number_of_a_query_is_plain_digits(text: str) -> None:
    assert COUNT.validate_python("9007199254740991") == (1 << 53) - 1

    with pytest.raises(ValidationError, match=r"must be an integer of 0\.\.\d+ in decimal digits"):
        COUNT.validate_python(text)


def test_a_query_has_gfns_sizes_and_single_values_too() -> None:
    assert GFN.validate_python("0x40000") == 262144
    assert GFN.validate_python("7") == 7
    assert SIZE.validate_python("2MiB") == 2 << 20
    assert PROTECT.validate_python("3") == 3
    assert PAGE64.validate_python("128") == 128

    with pytest.raises(ValidationError, match="multiple of 64"):
        PAGE64.validate_python("33")


def test_an_integer_or_a_boolean_passes() -> None:
    assert COUNT.validate_python(7) == 7
    assert TRUTH.validate_python(True) is True  # noqa: FBT003 - a default of a route


def test_a_boolean_of_a_query_is_one_of_two_words() -> None:
    assert TRUTH.validate_python("true") is True
    assert TRUTH.validate_python("false") is False

    for text in ("1", "yes", "True", ""):
        with pytest.raises(ValidationError):
            TRUTH.validate_python(text)


@pytest.mark.parametrize("text", [b"1", b'"true"', b"null"])
def test_a_boolean_of_a_body_is_nothing_else(text: bytes) -> None:
    with pytest.raises(ValidationError):
        TRUTH.validate_json(text)


def test_numbers_have_one_form_when_they_are_written() -> None:
    assert ADDRESS.dump_json(0xABC) == b'"0xabc"'
    assert TypeAdapter[Any](kinds.Register).dump_json(0) == b'"0x0"'
    assert SIZE.dump_json(2 << 30) == b"2147483648"
    assert GFN.dump_json(262144) == b"262144"
    assert FLAGS.dump_json(3) == b'["LOG_DIRTY_PAGES","READONLY"]'


def test_a_schema_states_both_forms_of_an_address_that_is_read() -> None:
    read = ADDRESS.json_schema()
    written = ADDRESS.json_schema(mode="serialization")

    assert read == {
        "anyOf": [
            {"type": "integer", "format": "int64", "minimum": 0, "maximum": (1 << 53) - 1},
            {"type": "string", "pattern": "^0[xX][0-9a-fA-F]{1,16}$"},
        ]
    }
    assert written == {"type": "string", "pattern": "^0x[0-9a-f]{1,16}$"}
