"""Long requests in JSON, read piece by piece into the classes of the model.

Validating a text is one call into C that holds the interpreter: a batch of 56 MiB would keep every other
request, health checks included, waiting for a second. So a long text is cut into the members of its
objects and the elements of its arrays until a part is short; those are read in the ordinary way, and
long sets of pages become arrays at once. What is wrong is described as the ordinary way would describe
it, up to the first piece that has something wrong in it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from types import UnionType
from typing import Annotated, Any, Final, NamedTuple, NoReturn, Union, get_args, get_origin

import numpy as np
import orjson
from annotated_types import Len
from pydantic import GetCoreSchemaHandler, GetPydanticSchema, TypeAdapter, ValidationError
from pydantic_core import CoreSchema, PydanticCustomError, SchemaValidator

from hacdbs_sim.model import kinds
from hacdbs_sim.model.base import Action
from hacdbs_sim.model.batches import BatchAction
from hacdbs_sim.model.dirty_log import GetDirtyLog
from hacdbs_sim.model.errors import InvalidArgumentError
from hacdbs_sim.model.kinds import Tagged
from hacdbs_sim.model.pages import IntervalForm, Intervals
from hacdbs_sim.wire.actions import classes_by_op, tag_of
from hacdbs_sim.wire.class_fields import (
    WireField,
    fields_of,
    is_request,
    members_of,
    tag_field_of,
)
from hacdbs_sim.wire.class_schema import FlatForm, builder_of, flat_schema
from hacdbs_sim.wire.cutting import (
    PIECE_BYTES,
    Span,
    decode,
    is_array,
    is_empty_array,
    is_object,
    malformed,
    members,
    parts,
    whole,
)
from hacdbs_sim.wire.errors import (
    UNKNOWN_FIELD_DETAIL,
    InvalidRequestError,
    body_errors,
    error_at,
    pointer_to,
)
from hacdbs_sim.wire.page_forms import page_field_schema, pages_from
from hacdbs_sim.wire.pages_json import bitmap_in, numbers_of
from hacdbs_sim.wire.repeated import check_fields_once, field_twice

Where = tuple[str | int, ...]
"""The names and indices that lead to a part."""

_OP: Final = "op"


class Form(NamedTuple):
    """A class as a text has it: as it is, as an action with its `op`, or without some fields."""

    cls: type
    op: str | None = None
    without: frozenset[str] = frozenset()


def read_long(hint: Any, body: bytes) -> Any:  # noqa: ANN401 - by the annotation
    """Read a long request.

    Raises:
        MalformedBodyError: It is not JSON.
        InvalidRequestError: The schema refuses a part of it.
        InvalidArgumentError: A bitmap's words are not whole.
    """
    return _Long(body).value(hint, whole(body), ())


def read_long_fields(cls: type, body: bytes, without: frozenset[str]) -> Any:  # noqa: ANN401
    """Read the fields of a class but for some; raises as `read_long`."""
    return _Long(body).fields(Form(cls, without=without), whole(body), ())


class _Long:
    """A long text."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def value(self, hint: Any, span: Span, where: Where) -> Any:  # noqa: ANN401
        """Read a part as an annotation."""
        if span.is_long and is_empty_array(self._body, span):
            return self._at_once(_validator(hint), b"[]", span, where)
        if span.is_long:
            if (read := self._reader_of(hint)) is not None:
                return read(span, where)
            if not _takes_anything(hint) and self._has_parts(span):
                self._refuse(_validator(hint), span, where)
        return self._at_once(_validator(hint), self._text(span), span, where)

    def _reader_of(self, hint: Any) -> Callable[[Span, Where], Any] | None:  # noqa: ANN401
        """Return what reads a long part as an annotation; None if nothing of that kind is long."""
        inner, metadata = _unwrapped(hint)
        for each in metadata:
            if isinstance(each, IntervalForm):
                form = each
                return lambda span, where: self._intervals(form, span, where)
        if get_origin(inner) is tuple and get_args(inner)[-1] is Ellipsis:
            element = get_args(inner)[0]
            most = next(each.max_length or 0 for each in metadata if isinstance(each, Len))
            return lambda span, where: self._list(element, most, span, where)
        if inner in (BatchAction, Action) or get_origin(inner) is Action:
            return lambda span, where: self._action(hint, span, where)
        choices = get_args(inner) if any(isinstance(each, Tagged) for each in metadata) else ()
        if isinstance(inner, type):
            choices = members_of(inner)
        if choices:
            return lambda span, where: self._one_of(hint, choices, span, where)
        if isinstance(inner, type) and is_request(inner):
            return lambda span, where: self.fields(Form(inner), span, where)
        return None

    def _text(self, span: Span) -> bytes:
        return self._body[span.begin : span.end]

    def _has_parts(self, span: Span) -> bool:
        return is_array(self._body, span) or is_object(self._body, span)

    @staticmethod
    def _at_once(
        validator: SchemaValidator,
        text: bytes,
        span: Span,
        where: Where,
        before: int | None = None,
    ) -> Any:  # noqa: ANN401
        """Read a text in one call; `before` it are so many elements, if it is a piece of a list."""
        try:
            value = validator.validate_json(text)
        except ValidationError as refused:
            decode(text, Span(0, len(text)), at=span.begin)  # NaN, too, is refused as no JSON
            errors = body_errors(refused, within=where, before=before)
            raise InvalidRequestError(errors) from None
        try:
            check_fields_once(text)
        except InvalidRequestError as refused:
            (error,) = refused.errors
            pointer = pointer_to(where) + _moved(error.pointer, before)
            raise InvalidRequestError((replace(error, pointer=pointer),)) from None
        return value

    def _refuse(self, validator: SchemaValidator, span: Span, where: Where) -> Any:  # noqa: ANN401
        """Have a part refused that is not what it should be, without what is long in it."""
        return self._at_once(validator, self._stub(span), span, where)

    def _stub(self, span: Span) -> bytes:
        """Return a text of the same kind as a part, without what is long in it."""
        if is_array(self._body, span):
            return b"[]"
        is_text = not is_object(self._body, span)
        return self._text(span) if is_text else _object_of(self._short_members(span))

    def _elements(self, span: Span) -> bytes:
        """Return a list of a group of elements, of which no long one is right."""
        return b"[" + (self._stub(span) if span.is_long else self._text(span)) + b"]"

    def _short_members(self, span: Span) -> dict[str, bytes]:
        """Return the texts of the members that are not long."""
        if not is_object(self._body, span):
            return {}
        found = members(self._body, span)
        return {name: self._text(part) for name, part in found if not part.is_long}

    def _list(self, hint: Any, most: int, span: Span, where: Where) -> tuple[Any, ...]:  # noqa: ANN401
        validator = _validator(list[hint])
        if not is_array(self._body, span):
            self._refuse(validator, span, where)
        read: list[Any] = []
        for group in self._groups(span):
            if group.is_long:
                read.append(self.value(hint, group, (*where, len(read))))
            else:
                text = b"[" + self._text(group) + b"]"
                read += self._at_once(validator, text, group, where, len(read))
            if len(read) > most:
                self._refuse_length(most, span, where)
        return tuple(read)

    def _refuse_length(self, most: int, span: Span, where: Where) -> NoReturn:
        count = sum(1 for _ in parts(self._body, span))
        detail = f"List should have at most {most} items after validation, not {count}"
        error = error_at("body", pointer_to(where), detail, bound=most, value=[])
        raise InvalidRequestError((error,))

    def _groups(self, span: Span) -> Iterator[Span]:
        """Yield groups of elements, together of about a piece; a long element by itself."""
        begin = end = -1
        for part in parts(self._body, span):
            if begin >= 0 and (part.is_long or part.end - begin > PIECE_BYTES):
                yield Span(begin, end)
                begin = -1
            if part.is_long:
                yield part
            else:
                begin, end = (part.begin if begin < 0 else begin), part.end
        if begin >= 0:
            yield Span(begin, end)

    def _intervals(self, form: IntervalForm, span: Span, where: Where) -> Intervals:
        validator = _validator(Annotated[Intervals, form])
        if not is_array(self._body, span):
            self._refuse(validator, span, where)
        lengths: list[Any] = []
        pages: list[Any] = []
        count = 0
        for group in self._groups(span):
            if group.is_long:
                interval = self._interval(form, group, (*where, count))
                lengths.append(np.array([len(interval)]))
                pages.append(interval)
            else:
                text = b"[" + self._text(group) + b"]"
                read: Intervals = self._at_once(validator, text, group, where, count)
                lengths.append(np.diff(read.starts))
                pages.append(read.pages)
            count += len(lengths[-1])
            if count > form.max_intervals:
                self._refuse_length(form.max_intervals, span, where)
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(lengths))])
        return Intervals(starts, np.concatenate(pages))

    def _interval(self, form: IntervalForm, span: Span, where: Where) -> Any:  # noqa: ANN401
        """Read the pages of one long interval."""
        validator = _validator(list[Annotated[int, kinds.whole(0, form.max_page)]])
        if not is_array(self._body, span):
            self._refuse(validator, span, where)
        arrays: list[Any] = []
        count = 0
        for group in self._groups(span):
            read = self._at_once(validator, self._elements(group), group, where, count)
            arrays.append(np.array(read, np.uint32))
            count += len(arrays[-1])
        return np.concatenate([np.zeros(0, np.uint32), *arrays])

    def _action(self, hint: Any, span: Span, where: Where) -> Any:  # noqa: ANN401
        """Read an action with its `op`."""
        given = self._constants(span)
        for cls in classes_by_op().get(str(given.get(_OP)), ()):
            if any(given.get(name) != tag for name, tag in _tags_of(cls)):
                continue
            if cls is GetDirtyLog:  # it may have a format in a batch, and no field of it is long
                _, long = self._members(span, where)
                self._check_known(long, {}, where)
                break
            action = self.fields(Form(cls, op=cls.op), span, where)
            return BatchAction(action=action) if hint is BatchAction else action
        return self._refuse(_validator(hint), span, where)

    def _one_of(self, hint: Any, choices: tuple[type, ...], span: Span, where: Where) -> Any:  # noqa: ANN401
        """Read one of several classes, by the constant that distinguishes them."""
        given = self._constants(span).get(tag_field_of(choices[0]).wire)
        for cls in choices:
            if tag_of(cls) == given:
                return self.fields(Form(cls), span, where)
        return self._refuse(_validator(hint), span, where)

    def _constants(self, span: Span) -> dict[str, object]:
        """Return the members that are texts."""
        short = self._short_members(span).items()
        return {
            name: decode(text, Span(0, len(text)), at=span.begin)
            for name, text in short
            if text.startswith(b'"')
        }

    def fields(self, form: Form, span: Span, where: Where) -> Any:  # noqa: ANN401
        """Read an object: its short members at once, its long ones each by itself."""
        if not is_object(self._body, span):
            return self._refuse(_validator_of(form, frozenset()), span, where)
        known = {
            name: field
            for field in fields_of(form.cls)
            if field.name not in form.without
            for name in field.pages or (field.wire,)
        }
        short, long = self._members(span, where)
        self._check_known(long, known, where)
        self._check_pages(known, short, long, where)
        left = frozenset(known[name].name for name in long)
        given = self._at_once(_validator_of(form, left), _object_of(short), span, where)
        if form.op is not None:
            del given[_OP]
        try:
            for name, part in long.items():
                given[name] = self._field(known[name], name, part, (*where, name))
            return builder_of(form.cls, form.without)(given)
        except PydanticCustomError as refused:
            bound = (refused.context or {}).get("bound")
            self._refuse_object(refused.message(), bound, where)
        except InvalidArgumentError as refused:
            if form.op is None:
                raise
            # Among others the action's place is part of the refusal
            self._refuse_object(refused.detail, refused.bound, where)

    def _members(self, span: Span, where: Where) -> tuple[dict[str, bytes], dict[str, Span]]:
        """Return the texts of the short members, and where the long ones are."""
        short: dict[str, bytes] = {}
        long: dict[str, Span] = {}
        for name, part in members(self._body, span):
            if name in short or name in long:
                raise field_twice(pointer_to((*where, name)))
            if part.is_long:
                long[name] = part
            else:
                short[name] = self._text(part)
        return short, long

    def _check_known(
        self, long: Mapping[str, Span], known: Mapping[str, WireField], where: Where
    ) -> None:
        for name, part in long.items():
            if name not in known:
                pointer = pointer_to((*where, name))
                value = self._shown(part)
                error = error_at("body", pointer, UNKNOWN_FIELD_DETAIL, value=value)
                raise InvalidRequestError((error,))

    def _shown(self, span: Span) -> object:
        """Return what stands for a long part in a problem document."""
        if is_array(self._body, span):
            return []
        return (
            {}
            if is_object(self._body, span)
            else str(self._body[span.begin + 1 : span.begin + 65], "utf-8", "replace")
        )

    def _check_pages(
        self,
        known: Mapping[str, WireField],
        short: dict[str, bytes],
        long: Mapping[str, Span],
        where: Where,
    ) -> None:
        """Refuse pages in two forms, of which one is long; null is as good as absent."""
        for name in long:
            for other in known[name].pages:
                if other in short and short[other] == b"null":
                    del short[other]
                if other != name and (other in short or other in long):
                    group = ", ".join(known[name].pages)
                    self._refuse_object(f"exactly one of {group} must be given", group, where)

    @staticmethod
    def _refuse_object(detail: str, bound: object, where: Where) -> NoReturn:
        error = error_at("body", pointer_to(where), detail, bound=bound, value={})
        raise InvalidRequestError((error,))

    def _field(self, field: WireField, name: str, span: Span, where: Where) -> Any:  # noqa: ANN401
        if not field.pages:
            return self.value(field.hint, span, where)
        validator = _page_validator(name)
        begin, end = span.begin + 1, span.end - 1
        if name == "bitmap":
            if self._has_parts(span):
                self._refuse(validator, span, where)
            is_quoted = self._body[span.begin : begin] == self._body[end : span.end] == b'"'
            bitmap = bitmap_in(self._body, begin, end, where) if is_quoted else None
            text = self._text(span)
            return bitmap or pages_from(name, self._at_once(validator, text, span, where))
        if not is_array(self._body, span):
            self._refuse(validator, span, where)
        if self._body[end : span.end] != b"]":
            raise malformed("expected `]`", end)
        if is_empty_array(self._body, span):
            return pages_from(name, self._at_once(validator, b"[]", span, where))
        found = numbers_of(self._body, begin, end, name, where)
        return self._pages_of_parts(validator, name, span, where) if found is None else found

    def _pages_of_parts(
        self, validator: SchemaValidator, name: str, span: Span, where: Where
    ) -> Any:  # noqa: ANN401
        """Read pages whose texts or inner lists have commas: at the latest these are refused."""
        read: list[Any] = []
        count = 0
        for group in self._groups(span):
            text = self._elements(group)
            # An array takes far less memory than a list
            read.append(np.array(self._at_once(validator, text, group, where, count), np.uint64))
            count += len(read[-1])
        return pages_from(name, np.concatenate(read))


def _moved(pointer: str, before: int | None) -> str:
    """Return a pointer into a piece of a list as one into the list."""
    if before is None:
        return pointer
    _, index, *rest = pointer.split("/")
    return "/".join(("", str(before + int(index)), *rest))


def _tags_of(cls: type) -> list[tuple[str, str]]:
    """Return the constants of a class, by field."""
    return [(field.wire, field.tag) for field in fields_of(cls) if field.tag is not None]


def _object_of(members: Mapping[str, bytes]) -> bytes:
    written = [orjson.dumps(name) + b":" + text for name, text in members.items()]
    return b"{" + b",".join(written) + b"}"


def _unwrapped(hint: Any) -> tuple[Any, tuple[Any, ...]]:  # noqa: ANN401 - a type
    """Return an annotation without what it is annotated with and without None, and that."""
    metadata: tuple[Any, ...] = ()
    while True:
        if get_origin(hint) is Annotated:
            metadata += hint.__metadata__
            hint = get_args(hint)[0]
            continue
        others = [each for each in get_args(hint) if each is not type(None)]
        is_union = get_origin(hint) in (Union, UnionType)
        if not (is_union and len(others) == 1):
            return hint, metadata
        hint = others[0]


def _takes_anything(hint: Any) -> bool:  # noqa: ANN401 - a type
    inner, _ = _unwrapped(hint)
    return inner is Any or get_origin(inner) in (dict, Mapping)


@lru_cache(256)
def _validator(hint: Any) -> SchemaValidator:  # noqa: ANN401 - a type
    return TypeAdapter(hint).validator  # type: ignore[return-value]


@lru_cache(8)
def _page_validator(name: str) -> SchemaValidator:
    return SchemaValidator(page_field_schema(name))


@lru_cache(256)
def _validator_of(form: Form, left: frozenset[str]) -> SchemaValidator:
    """Return what reads the fields of a form as a dict, but for some that are left out."""
    flat = FlatForm(form.cls, form.cls.__name__, op=form.op, without=form.without | left)

    def schema(_: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return flat_schema(flat, handler.generate_schema, dict)

    return _validator(Annotated[dict, GetPydanticSchema(schema)])
