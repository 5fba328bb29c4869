"""Instances of any model class, drawn from what its annotations allow."""

from collections.abc import Mapping
from enum import Enum
from functools import partial
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import numpy as np
from annotated_types import Ge, Le, Len
from hypothesis import strategies as st

from hacdbs_sim.model.base import Action, Operation, Query
from hacdbs_sim.model.batches import BatchAction
from hacdbs_sim.model.kinds import MAX_JSON_INTEGER, Form, Kind, Pattern
from hacdbs_sim.model.pages import Bitmap, CountsForm, Gfns, IntervalForm, Intervals, PageRanges
from hacdbs_sim.wire import json_schemas
from hacdbs_sim.wire.class_fields import fields_of, members_of, page_field_of

COUNTS = st.integers(0, MAX_JSON_INTEGER)
SCALARS: dict[type, list[Any]] = {str: ["", "x"], bool: [True], int: [7], float: [0.5]}
WORD = st.integers(0, (1 << 64) - 1)


def outcome_of(operation: type[Operation[Any]]) -> Any:
    """Return what an action or a query returns: its type parameter."""
    for cls in operation.__mro__:
        for base in cls.__dict__.get("__orig_bases__", ()):
            if get_origin(base) in {Action, Query}:
                return get_args(base)[0]
    raise AssertionError(f"{operation.__name__} declares its outcome")


def json_schema(kind: Any, mode: Any = "validation") -> tuple[dict[str, Any], dict[str, Any]]:
    (schema,), definitions = json_schemas([(kind, mode)])
    return schema, definitions


def words(values: list[int]) -> Any:
    return np.array(values, np.uint64)


def of_kind(kind: Kind) -> st.SearchStrategy[Any]:
    match kind.form:
        case Form.BOOLEAN:
            return st.booleans()
        case Form.FLAGS:
            return st.integers(0, 3)
        case _ if kind.one_of:
            return st.sampled_from(kind.one_of)
        case _:
            step = kind.multiple_of or 1
            return st.integers(-(-kind.ge // step), kind.le // step).map(lambda n: n * step)


def of_metadata(hint: Any) -> st.SearchStrategy[Any] | None:
    for each in hint.__metadata__:
        match each:
            case Kind():
                return of_kind(each)
            case Pattern():
                return st.from_regex(each.regex.replace("$", r"\Z"), fullmatch=True)
            case IntervalForm():
                inner = st.lists(st.integers(0, each.max_page), max_size=3)
                return st.lists(inner, min_size=1, max_size=3).map(intervals)
            case CountsForm():
                counts = st.lists(st.integers(0, 1000), max_size=3)
                return counts.map(partial(np.array, dtype=each.dtype))
            case _:
                pass
    return None


def intervals(lists: list[list[int]]) -> Intervals:
    starts = np.cumsum([0, *map(len, lists)]).astype(np.int64)
    return Intervals(starts, np.array([page for pages in lists for page in pages], np.uint32))


def of_pages(cls: type) -> st.SearchStrategy[Any]:
    pair = st.tuples(COUNTS, st.integers(1, MAX_JSON_INTEGER))
    if cls is Gfns:
        return st.lists(COUNTS, max_size=4).map(lambda given: Gfns(words(given)))
    if cls is Bitmap:
        return st.lists(WORD, max_size=4).map(lambda given: Bitmap(words(given)))
    return st.lists(pair, max_size=4).map(
        lambda pairs: PageRanges(words([a for a, _ in pairs]), words([b for _, b in pairs]))
    )


def of_annotated(hint: Any) -> st.SearchStrategy[Any]:
    known = of_metadata(hint)
    if known is not None:
        return known
    inner = get_args(hint)[0]
    lengths = [each for each in hint.__metadata__ if isinstance(each, Len)]
    if lengths and get_origin(inner) is tuple:
        (length,) = lengths
        items = st.lists(of_type(get_args(inner)[0]), min_size=length.min_length, max_size=2)
        return items.map(tuple)
    for each in hint.__metadata__:
        if isinstance(each, Len) and inner is str:
            return st.text("a:é\u2028", max_size=each.max_length)
    if inner is float:
        (low,) = (each.ge for each in hint.__metadata__ if isinstance(each, Ge))
        (high,) = (each.le for each in hint.__metadata__ if isinstance(each, Le))
        return st.floats(low, high)  # type: ignore[arg-type]
    return of_type(inner)


def of_type(hint: Any) -> st.SearchStrategy[Any]:  # noqa: PLR0911 - one return a kind of type
    origin = get_origin(hint)
    args = get_args(hint)
    if origin is Annotated:
        return of_annotated(hint)
    if origin is Literal:
        return st.sampled_from(args)
    if origin in {Union, UnionType}:
        return st.one_of(*map(of_type, args))
    if origin is tuple and args[-1] is not ...:
        return st.tuples(*map(of_type, args))
    if origin is tuple:
        return st.lists(of_type(args[0]), max_size=2).map(tuple)
    if hint is Any:
        return st.sampled_from([None, 1, "x", [True], {"y": 0.5}])
    if origin in {dict, Mapping}:
        return st.dictionaries(of_type(args[0]), of_type(args[1]), max_size=3)
    if members := members_of(origin or hint):
        return st.sampled_from(members).flatmap(of_type)
    return of_class(hint)


def of_class(hint: Any) -> st.SearchStrategy[Any]:
    if hint is NoneType:
        return st.none()
    if hint in {Gfns, PageRanges, Bitmap}:
        return of_pages(hint)
    if issubclass(hint, Enum):
        return st.sampled_from([*hint])
    if hint in {str, bool, int, float}:
        return st.sampled_from(SCALARS[hint])
    return of_model(hint)


def of_model(cls: Any) -> st.SearchStrategy[Any]:
    if cls is BatchAction:
        return of_type(Action[Any]).map(lambda action: BatchAction(action=action))
    values = {field.name: of_type(field.hint) for field in fields_of(cls)}
    for one, _ in getattr(cls, "not_with", ()):
        values[one] = st.none()
    for name in getattr(cls, "one_of", ())[1:]:
        values[name] = st.none()
    for name in getattr(cls, "one_of", ())[:1]:
        values[name] = values[name].filter(lambda value: value is not None)
    pages = page_field_of(cls)
    if pages is not None and not pages.is_required:  # a log's bitmap has as many words as pages
        values["num_pages"] = st.just(256)
        values[pages.name] = st.none() | st.lists(WORD, min_size=4, max_size=4).map(
            lambda given: Bitmap(words(given))
        )
    return st.builds(cls, **values)
