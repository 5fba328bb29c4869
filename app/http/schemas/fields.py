"""Kinds of number on the wire: counts, addresses, sizes; as JSON in bodies, as text in queries.

JSON integers stay below 2^53, where every client is exact; addresses beyond are written as
"0x..." strings, sizes as "2GiB". JSON does not tell 1.0 from 1, so both are the integer; true, "1"
and 1.5 are none.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Any, Final

from annotated_types import Ge, Le, MultipleOf
from pydantic import BeforeValidator, PlainValidator, WithJsonSchema
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from hacdbs_sim.model.units import GIB, KIB, MIB
from hacdbs_sim.sim.machine import MAX_BINS

MAX_JSON_INTEGER: Final = (1 << 53) - 1
MAX_SLOT: Final = 32_766
"""KVM_USER_MEM_SLOTS - 1 (domain.md A.0)."""

MAX_WAIT_SECONDS: Final = 60
"""The longest that a call waits for something to happen."""

_ADDRESS_PATTERN: Final = r"^0[xX][0-9a-fA-F]{1,16}$"
_SIZE_PATTERN: Final = r"^(0|[1-9][0-9]{0,6})(KiB|MiB|GiB|TiB)$"
_UNITS: Final = {"KiB": KIB, "MiB": MIB, "GiB": GIB, "TiB": GIB << 10}
_DIGITS: Final = re.compile(r"(0|[1-9][0-9]{0,15})\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Whole:
    """An integer within bounds, in a body; checked without a call into Python for each."""

    ge: int = 0
    le: int = MAX_JSON_INTEGER
    multiple_of: int | None = None

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> CoreSchema:
        """Make the validator: a JSON integer, or a number that is whole."""
        bounds: dict[str, Any] = {"ge": self.ge, "le": self.le, "multiple_of": self.multiple_of}
        whole = core_schema.chain_schema(
            [core_schema.float_schema(strict=True), core_schema.int_schema(strict=False, **bounds)]
        )
        either = core_schema.union_schema(
            [core_schema.int_schema(strict=True, **bounds), whole], mode="left_to_right"
        )
        text = f"must be an integer of {self.ge}..{self.le}"
        if self.multiple_of is not None:
            text += f" and a multiple of {self.multiple_of}"
        bound = f"{self.ge}..{self.le}"
        if self.multiple_of is not None:
            bound += f", multiples of {self.multiple_of}"
        return core_schema.custom_error_schema(
            either, "integer", custom_error_message=text, custom_error_context={"bound": bound}
        )

    def __get_pydantic_json_schema__(self, schema: object, handler: object) -> dict[str, Any]:
        """Describe the integer."""
        described: dict[str, Any] = {"type": "integer", "minimum": self.ge, "maximum": self.le}
        if self.multiple_of is not None:
            described["multipleOf"] = self.multiple_of
        return described


def _integer(value: object) -> int | None:
    """Give a JSON integer; a boolean is none, a number that is whole is one."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _bounded(value: int) -> int:
    if not 0 <= value <= MAX_JSON_INTEGER:
        raise PydanticCustomError(
            "integer_out_of_range",
            "an integer here must lie in 0..2^53 - 1; larger ones are written as strings",
            {"bound": f"0..{MAX_JSON_INTEGER}"},
        )
    return value


def _parse_address(value: object) -> int:
    if (integer := _integer(value)) is not None:
        return _bounded(integer)
    if isinstance(value, str) and re.match(_ADDRESS_PATTERN.replace("$", r"\Z"), value):
        return int(value, 16)
    raise PydanticCustomError(
        "address",
        'an address must be an integer or a string like "0x40000000", up to 64 bits',
        {"bound": _ADDRESS_PATTERN},
    )


def _parse_size(value: object) -> int:
    if (integer := _integer(value)) is not None:
        return _bounded(integer)
    if isinstance(value, str) and (match := re.match(_SIZE_PATTERN.replace("$", r"\Z"), value)):
        return int(match[1]) * _UNITS[match[2]]
    raise PydanticCustomError(
        "size",
        'a size must be an integer of bytes or a string like "2GiB" (KiB, MiB, GiB, TiB)',
        {"bound": _SIZE_PATTERN},
    )


def _integer_or(pattern: str, description: str) -> WithJsonSchema:
    return WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": MAX_JSON_INTEGER},
                {"type": "string", "pattern": pattern},
            ],
            "description": description,
        }
    )


Count = Annotated[int, Whole()]
"""A count, gfn or page number in a body."""

PositiveCount = Annotated[int, Whole(ge=1)]
Slot = Annotated[int, Whole(le=MAX_SLOT)]

Address = Annotated[
    int,
    PlainValidator(_parse_address),
    _integer_or(_ADDRESS_PATTERN, "Bytes; beyond 2^53 as a hexadecimal string."),
]
SizeBytes = Annotated[
    int,
    PlainValidator(_parse_size),
    _integer_or(_SIZE_PATTERN, 'Bytes, or with a unit as in "2GiB".'),
]

_BLOCKS: Final = {4 * KIB: "4KiB", 16 * KIB: "16KiB", 64 * KIB: "64KiB"}


def _parse_page_size(value: object) -> int:
    for size_bytes, name in _BLOCKS.items():
        if _integer(value) == size_bytes or value == name:
            return size_bytes
    raise PydanticCustomError(
        "page_size",
        "page_size must be one of {bound}",
        {"bound": ", ".join(map(str, _BLOCKS))},
    )


PageSize = Annotated[
    int,
    PlainValidator(_parse_page_size),
    WithJsonSchema(
        {
            # Not one enum: many generators of clients want its values to be of one type.
            "anyOf": [
                {"type": "integer", "enum": [*_BLOCKS]},
                {"type": "string", "enum": [*_BLOCKS.values()]},
            ],
            "description": "The granule, bytes.",
        }
    ),
]


def one_of_integers(*allowed: int) -> PlainValidator:
    """Allow these integers only; an enum in the schema, but never equal to a boolean."""

    def check(value: object) -> int:
        if (integer := _integer(value)) not in allowed:
            names = ", ".join(map(str, allowed))
            raise PydanticCustomError("one_of", "must be one of {bound}", {"bound": names})
        return integer

    return PlainValidator(check)


ManualProtect = Annotated[
    int,
    one_of_integers(0, 1, 3),
    WithJsonSchema({"enum": [0, 1, 3], "type": "integer"}),
]
"""KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: off, ENABLE, ENABLE | INITIALLY_SET (domain.md A.4)."""


def _digits(ge: int = 0, le: int = MAX_JSON_INTEGER) -> BeforeValidator:
    def parse(value: object) -> object:
        # Only text comes from a URL; a default arrives as the integer that it is.
        if not isinstance(value, str):
            return value
        if _DIGITS.match(value) and ge <= int(value) <= le:
            return int(value)
        raise PydanticCustomError(
            "integer_text",
            "must be an integer of {bound} in decimal digits",
            {"bound": f"{ge}..{le}"},
        )

    return BeforeValidator(parse)


def _parse_truth(value: object) -> object:
    if isinstance(value, str):
        if value not in {"true", "false"}:
            raise PydanticCustomError(
                "boolean_text", "must be true or false", {"bound": "true, false"}
            )
        return value == "true"
    return value


CountText = Annotated[int, Ge(0), Le(MAX_JSON_INTEGER), _digits()]
"""An integer of a path or query: digits and nothing else (no sign, space or underscore)."""

PositiveCountText = Annotated[int, Ge(1), Le(MAX_JSON_INTEGER), _digits(ge=1)]
SlotText = Annotated[int, Ge(0), Le(MAX_SLOT), _digits(le=MAX_SLOT)]
BinsText = Annotated[int, Ge(1), Le(MAX_BINS), _digits(1, MAX_BINS)]
WaitSecondsText = Annotated[int, Ge(0), Le(MAX_WAIT_SECONDS), _digits(le=MAX_WAIT_SECONDS)]
FirstPageText = Annotated[int, Ge(0), Le(MAX_JSON_INTEGER), MultipleOf(64), _digits()]

TruthText = Annotated[bool, BeforeValidator(_parse_truth)]
"""A boolean of a query: `true` or `false`, no other word."""
