from typing import Annotated, Any

import pytest
from app.http.schemas import fields
from pydantic import TypeAdapter, ValidationError

ADDRESS = TypeAdapter[Any](fields.Address)
SIZE = TypeAdapter[Any](fields.SizeBytes)
COUNT = TypeAdapter[Any](fields.Count)
PAGE_SIZE = TypeAdapter[Any](fields.PageSize)
TEXT = TypeAdapter[Any](fields.CountText)
TRUTH = TypeAdapter[Any](fields.TruthText)
EVEN = TypeAdapter[Any](Annotated[int, fields.Whole(2, 8, multiple_of=2)])


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
        (PAGE_SIZE, b'"16KiB"', 16384),
        (PAGE_SIZE, b"65536", 65536),
        (EVEN, b"8", 8),
    ],
)
def test_numbers_of_a_body_are_read(kind: TypeAdapter[Any], text: bytes, value: int) -> None:
    read = kind.validate_json(text)

    assert read == value
    assert type(read) is int


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *[(kind, text) for kind in (ADDRESS, SIZE, COUNT, PAGE_SIZE) for text in (
            b"true", b"-1", b"1.5", b"null", b'"4096"', b"9007199254740992", b"1e400",
            b"100000000000000000000000000", b"[]",
        )],
        (ADDRESS, b'"0x"'),
        (ADDRESS, b'"0x10000000000000000"'),
        (ADDRESS, b'"0x1\\n"'),
        (ADDRESS, b'"0x1_0"'),
        (SIZE, b'"2GB"'),
        (SIZE, b'"2 GiB"'),
        (SIZE, b'"02GiB"'),
        (SIZE, b'"10000000TiB"'),
        (PAGE_SIZE, b"8192"),
        (EVEN, b"3"),
        (EVEN, b"0"),
        (EVEN, b"10"),
    ],
)  # fmt: skip
def test_what_is_no_such_number_is_refused_with_its_bound(
    kind: TypeAdapter[Any], text: bytes
) -> None:
    with pytest.raises(ValidationError) as refused:
        kind.validate_json(text)

    (error,) = refused.value.errors()
    assert "bound" in error["ctx"]


@pytest.mark.parametrize("text", ["+1", "-1", " 1", "1 ", "1_0", "1.0", "0x1", "٣", "", "01",
                                  "9007199254740992", "9" * 5000])  # fmt: skip
def test_numbers_of_a_query_are_plain_digits(text: str) -> None:
    assert TEXT.validate_python("9007199254740991") == (1 << 53) - 1

    with pytest.raises(ValidationError):
        TEXT.validate_python(text)


def test_booleans_of_a_query_are_two_words() -> None:
    assert TRUTH.validate_python("true") is True
    assert TRUTH.validate_python("false") is False

    for text in ("1", "yes", "True", ""):
        with pytest.raises(ValidationError):
            TRUTH.validate_python(text)
