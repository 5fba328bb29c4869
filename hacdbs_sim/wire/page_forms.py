"""How sets of pages and arrays are read and written."""

from collections.abc import Mapping
from itertools import chain, pairwise
from typing import Any, Final, Self, get_args

import numpy as np
import orjson
from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema
from pydantic_core.core_schema import SerializationInfo

from hacdbs_sim.model.batches import LogFormat
from hacdbs_sim.model.kinds import ArrayForm, Form, Kind, whole
from hacdbs_sim.model.pages import (
    Bitmap,
    CountsForm,
    Gfns,
    IntervalForm,
    Intervals,
    PageRanges,
)
from hacdbs_sim.wire.codec import (
    base64_from_words,
    base64_octets,
    bitmap_from_ranges,
    range_columns,
    range_table,
    words_from_base64,
)
from hacdbs_sim.wire.kind_forms import whole_schema

BASE64_PATTERN: Final = r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
MAX_WORD: Final = (1 << 64) - 1

PAGE_DESCRIPTIONS: Final[Mapping[str, str]] = {
    "gfns": "Guest frames, one by one; order is free, repeats count.",
    "gfn_ranges": "Guest frames as ranges [first, count].",
    "page_ranges": "Ranges [first, count] of pages, counted from the slot's start.",
    "bitmap": "Base64 of little-endian 64-bit words; bit 0 is the window's first page.",
    "words": "64-bit words; bit 0 of the first is the window's first page.",
}


class JsonArray:
    """An array that is written as JSON already."""

    def __init__(self, octets: bytes) -> None:
        self.octets = octets


class JsonString(str):
    """A text that is written as JSON already; its own characters are of no use."""

    __slots__ = ("octets",)
    octets: bytes

    def __new__(cls, octets: bytes) -> Self:
        """Keep the JSON."""
        made = super().__new__(cls)
        made.octets = octets
        return made


ROWS_AT_ONCE: Final = 1 << 16
"""The most rows of an array that are written in one call: some milliseconds."""


def _as_list(value: Any, info: SerializationInfo) -> Any:  # noqa: ANN401 - an array, or a list
    """Write an array: as it is for orjson, else as a list."""
    if info.mode != "python":
        return value if isinstance(value, list) else value.tolist()
    return _written(value) if len(value) > ROWS_AT_ONCE else value


def _written(array: Any) -> "JsonArray":  # noqa: ANN401 - an array
    """Write a long array piece by piece: each is one call into C that holds the interpreter."""
    starts = range(0, len(array), ROWS_AT_ONCE)
    option = orjson.OPT_SERIALIZE_NUMPY
    pieces = [orjson.dumps(array[at : at + ROWS_AT_ONCE], option=option)[1:-1] for at in starts]
    # A join lets others run while it copies; a sum of two texts does not
    pieces[0], pieces[-1] = b"[" + pieces[0], pieces[-1] + b"]"
    return JsonArray(b",".join(pieces))


_ARRAY: Final = core_schema.plain_serializer_function_ser_schema(_as_list, info_arg=True)


def _ranges_schema(first: Kind) -> CoreSchema:
    pair = core_schema.tuple_schema([whole_schema(first), whole_schema(whole(1))])
    return core_schema.list_schema(pair, fail_fast=True, serialization=_ARRAY)


def _words_schema() -> CoreSchema:
    def describe(_: object, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        described = {"type": "integer", "format": "uint64", "minimum": 0}
        written = handler.mode == "serialization"
        return described if written else {**described, "maximum": MAX_WORD}

    word: Any = {
        **whole_schema(whole(0, MAX_WORD)),
        "metadata": {"pydantic_js_functions": [describe]},
    }
    return core_schema.list_schema(word, fail_fast=True, serialization=_ARRAY)


def page_field_schema(name: str) -> CoreSchema:
    """Return the validator and serializer of one of the fields that a set of pages is written as."""
    match name:
        case "gfns":
            gfn = whole_schema(Kind(Form.GFN))
            return core_schema.list_schema(gfn, fail_fast=True, serialization=_ARRAY)
        case "gfn_ranges":
            return _ranges_schema(Kind(Form.GFN))
        case "page_ranges":
            return _ranges_schema(whole())
        case "bitmap":
            return core_schema.str_schema(pattern=BASE64_PATTERN)
        case "words":
            return _words_schema()
        case _:
            raise AssertionError(f"no form of pages has a field {name}")


def pages_from(name: str, given: Any) -> Gfns | PageRanges | Bitmap:  # noqa: ANN401 - by name
    """Build pages from the field that was given (InvalidArgumentError if words are not whole).

    Those of a long text are there already.
    """
    if isinstance(given, Gfns | PageRanges | Bitmap):
        return given
    match name:
        case "gfns":
            return Gfns(np.asarray(given, dtype=np.uint64))
        case "bitmap":
            return Bitmap(words_from_base64(given, name))
        case "words":
            return Bitmap(np.asarray(given, dtype=np.uint64))
        case _:
            return PageRanges(*range_columns(given))


def log_from(name: str, given: Any, num_pages: int) -> Bitmap:  # noqa: ANN401 - by name
    """Build the bitmap of a log from the field that was given."""
    pages = pages_from(name, given)
    if isinstance(pages, PageRanges):
        return Bitmap(bitmap_from_ranges(pages, num_pages))
    assert isinstance(pages, Bitmap), "a log has no gfns"
    return pages


def is_log(hint: Any) -> bool:  # noqa: ANN401 - a type
    """Whether the pages are those of an outcome, which are a bitmap or nothing."""
    (pages, *_) = get_args(hint) or (None,)
    return Bitmap in get_args(pages) and PageRanges not in get_args(pages)


def explode(pages: Gfns | PageRanges | Bitmap, form: tuple[str, ...]) -> dict[str, Any]:
    """Write a request's pages as the field that they were given in."""
    match pages:
        case Gfns():
            return {"gfns": pages.gfns}
        case PageRanges():
            (name,) = (name for name in form if name.endswith("_ranges"))
            return {name: np.stack((pages.first, pages.count), axis=1)}
        case Bitmap():
            return {"bitmap": base64_from_words(pages.words)}


def explode_log(bitmap: Bitmap | None, info: SerializationInfo) -> dict[str, Any]:
    """Write an outcome's pages in the requested format."""
    if bitmap is None:
        return {}
    match info.context or LogFormat.RANGES:
        case LogFormat.RANGES:
            return {"page_ranges": range_table(bitmap.words)}
        case LogFormat.BASE64:
            if info.mode == "python" and len(bitmap) > ROWS_AT_ONCE:
                return {"bitmap": JsonString(b"".join((b'"', base64_octets(bitmap.words), b'"')))}
            return {"bitmap": base64_from_words(bitmap.words)}
        case LogFormat.WORDS:
            return {"words": np.ascontiguousarray(bitmap.words)}
        case _:
            return {}


def array_core_schema(form: ArrayForm) -> CoreSchema:
    """Return the validator and serializer of an array."""
    if isinstance(form, IntervalForm):
        return _intervals_schema(form)
    assert isinstance(form, CountsForm)
    dtype = np.dtype(form.dtype)

    def build(counts: list[int]) -> Any:  # noqa: ANN401 - an array of the form's type
        return np.array(counts, dtype)

    counts = core_schema.list_schema(whole_schema(whole()), fail_fast=True)
    return _json_or_instance(
        core_schema.no_info_after_validator_function(build, counts), np.ndarray, _ARRAY
    )


def _intervals_schema(form: IntervalForm) -> CoreSchema:
    interval = core_schema.list_schema(whole_schema(whole(0, form.max_page)), fail_fast=True)
    intervals = core_schema.list_schema(
        interval, min_length=1, max_length=form.max_intervals, fail_fast=True
    )
    return _json_or_instance(
        core_schema.no_info_after_validator_function(_join, intervals),
        Intervals,
        core_schema.plain_serializer_function_ser_schema(_part),
    )


def _json_or_instance(json: CoreSchema, cls: type, ser: core_schema.SerSchema) -> CoreSchema:
    return core_schema.json_or_python_schema(
        json, core_schema.is_instance_schema(cls), serialization=ser
    )


def _join(intervals: list[list[int]]) -> Intervals:
    lengths = np.array([len(interval) for interval in intervals], np.int64)
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    pages = np.fromiter(chain.from_iterable(intervals), np.uint32, count=int(starts[-1]))
    return Intervals(starts, pages)


def _part(intervals: Intervals) -> list[list[int]]:
    pages = intervals.pages.tolist()
    starts = intervals.starts.tolist()
    return [pages[at:end] for at, end in pairwise(starts)]
