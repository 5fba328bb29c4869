"""How each kind of number is read from JSON, from a text of a URL, written, and described.

JSON integers stay below 2^53, where every client is exact; addresses beyond are written as
"0x..." strings, sizes as "2GiB". JSON does not distinguish 1.0 from 1, so both are the integer; true, "1"
and 1.5 are none. A path or a query has texts only: there an integer is decimal digits, with no
sign, space or underscore.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any, Final, LiteralString

from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from hacdbs_sim.model.kinds import MAX_JSON_INTEGER, Form, Kind, whole
from hacdbs_sim.model.units import GIB, KIB, MIB

HEX_PATTERN: Final = r"^0x[0-9a-f]{1,16}$"
"""As this service writes addresses and registers."""

GFN_PATTERN: Final = r"^0[xX][01]?[0-9a-fA-F]{1,13}$"
"""Up to 2^53 - 1."""

_UNITS: Final = {"KiB": KIB, "MiB": MIB, "GiB": GIB, "TiB": GIB << 10}
_DIGITS: Final = re.compile(r"(0|[1-9][0-9]{0,15})\Z", re.ASCII)
_GFN: Final = re.compile(GFN_PATTERN.replace("$", r"\Z"))

Parse = Callable[[object], object]


def address_pattern(kind: Kind) -> str:
    """Return the pattern of an address as text: as many digits as its greatest value has."""
    return rf"^0[xX][0-9a-fA-F]{{1,{len(hex(kind.le)) - 2}}}$"


def size_pattern(kind: Kind) -> str:
    """Return the pattern of a size as text; 0 only where it is allowed."""
    number = "[1-9][0-9]{0,6}" if kind.ge else "(0|[1-9][0-9]{0,6})"
    return rf"^{number}(KiB|MiB|GiB|TiB)$"


def bounds_of(kind: Kind) -> str:
    """Return the bounds of a kind as a problem shows them."""
    bound = f"{kind.ge}..{kind.le}"
    return bound if kind.multiple_of is None else f"{bound}, multiples of {kind.multiple_of}"


def kind_core_schema(kind: Kind) -> CoreSchema:
    """Return the validator and serializer of a kind: one for JSON, one for texts of a URL."""
    json: CoreSchema
    python: CoreSchema
    match kind.form:
        case Form.BOOLEAN:
            json = core_schema.bool_schema(strict=True)
            python = core_schema.no_info_before_validator_function(_parse_truth, json)
        case Form.FLAGS:
            json = _flags_schema(kind)
            python = core_schema.int_schema(strict=True)
        case Form.ADDRESS | Form.REGISTER:
            json = core_schema.no_info_plain_validator_function(_address_parser(kind))
            python = json
        case _ if kind.one_of:
            json = core_schema.no_info_plain_validator_function(_one_of(kind, _allowed_json))
            python = core_schema.no_info_plain_validator_function(_one_of(kind, _allowed_text))
        case Form.SIZE:
            json = core_schema.no_info_plain_validator_function(_size_parser(kind))
            python = json
        case _:
            json = whole_schema(kind)
            python = _text_schema(kind)
    return core_schema.json_or_python_schema(
        json, python, serialization=_serialization(kind), metadata=_described(kind)
    )


def whole_schema(kind: Kind) -> CoreSchema:
    """Return the validator of a JSON integer: no call into Python for each."""
    bounds: dict[str, Any] = {"ge": kind.ge, "le": kind.le, "multiple_of": kind.multiple_of}
    whole = core_schema.chain_schema(
        [core_schema.float_schema(strict=True), core_schema.int_schema(strict=False, **bounds)]
    )
    choices: list[CoreSchema] = [core_schema.int_schema(strict=True, **bounds), whole]
    text = f"must be an integer of {kind.ge}..{kind.le}"
    if kind.multiple_of is not None:
        text += f" and a multiple of {kind.multiple_of}"
    if kind.form is Form.GFN:
        choices.append(core_schema.no_info_plain_validator_function(_parse_hex_gfn))
        text += ' or a string like "0x40000"'
    return core_schema.custom_error_schema(
        core_schema.union_schema([*choices], mode="left_to_right"),
        "integer",
        custom_error_message=text,
        custom_error_context={"bound": bounds_of(kind)},
        metadata=_described(kind),
    )


def _text_schema(kind: Kind) -> CoreSchema:
    bounded = core_schema.int_schema(
        strict=True, ge=kind.ge, le=kind.le, multiple_of=kind.multiple_of
    )
    read_hex = _GFN if kind.form is Form.GFN else None

    def parse(value: object) -> object:
        # Only text comes from a URL; a default arrives as the integer that it is.
        if not isinstance(value, str):
            return value
        if _DIGITS.match(value) and kind.ge <= int(value) <= kind.le:
            return int(value)
        if read_hex is not None and read_hex.match(value):
            return int(value, 16)
        raise PydanticCustomError(
            "integer_text",
            "must be an integer of {bound} in decimal digits",
            {"bound": f"{kind.ge}..{kind.le}"},
        )

    return core_schema.no_info_before_validator_function(parse, bounded)


def _parse_truth(value: object) -> object:
    if isinstance(value, str):
        if value not in {"true", "false"}:
            raise PydanticCustomError(
                "boolean_text", "must be true or false", {"bound": "true, false"}
            )
        return value == "true"
    return value


def _parse_hex_gfn(value: object) -> int:
    if isinstance(value, str) and _GFN.match(value):
        return int(value, 16)
    raise PydanticCustomError("gfn", "not a gfn")


def _integer(value: object) -> int | None:
    """Return a JSON integer; a boolean is none, a number that is whole is one."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _bounded(kind: Kind, value: int) -> int:
    le = min(kind.le, MAX_JSON_INTEGER)
    if not kind.ge <= value <= le:
        most = "2^53 - 1" if le == MAX_JSON_INTEGER else str(le)
        raise PydanticCustomError(
            "integer_out_of_range",
            "an integer here must lie in {least}..{most}; larger ones are written as strings",
            {"bound": f"{kind.ge}..{le}", "least": kind.ge, "most": most},
        )
    return value


def _address_parser(kind: Kind) -> Parse:
    bits = kind.le.bit_length()
    what = f'an address must be an integer or a string like "0x40000000", up to {bits} bits'
    return _parser(kind, address_pattern(kind), lambda text: int(text, 16), "address", what)


def _size_parser(kind: Kind) -> Parse:
    def size_of(text: str) -> int:
        return int(text[:-3]) * _UNITS[text[-3:]]

    what = 'a size must be an integer of bytes or a string like "2GiB" (KiB, MiB, GiB, TiB)'
    return _parser(kind, size_pattern(kind), size_of, "size", what)


def _parser(
    kind: Kind, pattern: str, read: Callable[[str], int], code: LiteralString, what: str
) -> Parse:
    text = re.compile(pattern.replace("$", r"\Z"))

    def parse(value: object) -> int:
        if (integer := _integer(value)) is not None:
            return _bounded(kind, integer)
        if isinstance(value, str) and text.match(value):
            return read(value)
        raise PydanticCustomError(code, "{what}", {"bound": pattern, "what": what})

    return parse


def _allowed_json(kind: Kind, value: object) -> int | None:
    if kind.form is Form.SIZE and isinstance(value, str):
        return next((size for size in kind.one_of if value == size_name(size)), None)
    return _integer(value)


def _allowed_text(kind: Kind, value: object) -> int | None:
    if isinstance(value, str) and _DIGITS.match(value):
        return int(value)
    return _allowed_json(kind, value)


def _one_of(kind: Kind, integer_of: Callable[[Kind, object], int | None]) -> Parse:
    names = ", ".join(map(str, kind.one_of))

    def check(value: object) -> object:
        if (integer := integer_of(kind, value)) not in kind.one_of:
            raise PydanticCustomError("one_of", "must be one of {bound}", {"bound": names})
        return integer

    return check


def size_name(size_bytes: int) -> str:
    """Return a size of whole KiB as a text."""
    return f"{size_bytes // KIB}KiB"


def _flags_schema(kind: Kind) -> CoreSchema:
    members = {member.name: member for member in kind.flags}

    def join(names: list[str]) -> int:
        flags = 0
        for name in names:
            flags |= members[name]
        return int(flags)

    names = core_schema.list_schema(
        core_schema.literal_schema([*members]), max_length=len(members), fail_fast=True
    )
    return core_schema.no_info_after_validator_function(join, names)


def names_of(kind: Kind, flags: int) -> list[str]:
    """Write flags as the names of those that are set (ValueError if a bit has no name)."""
    kind.flags(flags)
    return [member.name for member in kind.flags if flags & member]


def _serialization(kind: Kind) -> core_schema.SerSchema:
    match kind.form:
        case Form.BOOLEAN:
            return core_schema.simple_ser_schema("bool")
        case Form.ADDRESS | Form.REGISTER:
            return core_schema.plain_serializer_function_ser_schema(
                hex, return_schema=core_schema.str_schema()
            )
        case Form.FLAGS:
            return core_schema.plain_serializer_function_ser_schema(partial(names_of, kind))
        case _:
            return core_schema.simple_ser_schema("int")


def _described(kind: Kind) -> dict[str, Any]:
    """Return the metadata by which pydantic describes a kind."""

    def describe(core: Any, handler: Any) -> dict[str, Any]:  # noqa: ANN401 - pydantic's own
        # With what an annotation adds: `Path(examples=[0])`
        added: dict[str, Any] = core["metadata"].get("pydantic_js_updates", {})
        return kind_json_schema(kind, handler.mode) | added

    return {"pydantic_js_functions": [describe]}


def kind_json_schema(kind: Kind, mode: str) -> dict[str, Any]:
    """Return the JSON schema of a kind, as it is read (`validation`) or written."""
    match kind.form:
        case Form.BOOLEAN:
            return {"type": "boolean"}
        case Form.FLAGS:
            names = [member.name for member in kind.flags]
            items = {"type": "string", "enum": names}
            return {"type": "array", "items": items, "maxItems": len(names)}
        case Form.ADDRESS | Form.REGISTER if mode == "serialization":
            return {"type": "string", "pattern": HEX_PATTERN}
        case _ if mode == "serialization":
            return _integer_schema(kind)
        case _:
            return _read_json_schema(kind)


def _read_json_schema(kind: Kind) -> dict[str, Any]:
    """Describe what may be given: an integer, or a text."""
    integer = _integer_schema(kind)
    match kind.form:
        case Form.ADDRESS | Form.REGISTER:
            text: dict[str, Any] = {"pattern": address_pattern(kind)}
            integer = _integer_schema(whole(kind.ge, min(kind.le, MAX_JSON_INTEGER)))
        case Form.SIZE if kind.one_of:
            # Not one enum: many generators of clients want its values to be of one type.
            text = {"enum": [size_name(size) for size in kind.one_of]}
        case Form.SIZE:
            text = {"pattern": size_pattern(kind)}
        case Form.GFN:
            text = {"pattern": GFN_PATTERN}
        case _:
            return integer
    return {"anyOf": [integer, {"type": "string", **text}]}


def _integer_schema(kind: Kind) -> dict[str, Any]:
    described: dict[str, Any] = {"type": "integer", "format": "int64"}
    if kind.one_of:
        return {**described, "enum": [*kind.one_of]}
    described |= {"minimum": kind.ge, "maximum": kind.le}
    if kind.multiple_of is not None:
        described["multipleOf"] = kind.multiple_of
    return described
