"""Long requests in JSON, read piece by piece into the classes of the model.

Validating a text is one call into C that holds the interpreter: a batch of 56 MiB would keep every other
request, health checks included, waiting for a second. So a long text is cut into the members of its
objects and the elements of its arrays until a part is short; those are read in the ordinary way, and
long sets of pages become arrays at once. What is wrong is described as the ordinary way would describe
it, up to the first piece that has something wrong in it.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from types import UnionType
from typing import Annotated, Any, Final, NamedTuple, NoReturn, Union, get_args, get_origin

from annotated_types import Len
from pydantic import GetCoreSchemaHandler, GetPydanticSchema, TypeAdapter
from pydantic_core import CoreSchema, PydanticCustomError

from hacdbs_sim.model.base import Action
from hacdbs_sim.model.batches import BatchAction
from hacdbs_sim.model.dirty_log import GetDirtyLog
from hacdbs_sim.model.errors import InvalidArgumentError
from hacdbs_sim.model.kinds import Tagged
from hacdbs_sim.model.pages import IntervalForm
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
    Span,
    decode,
    is_empty_array,
    is_object,
    members,
    whole,
)
from hacdbs_sim.wire.errors import (
    InvalidRequestError,
    error_at,
    pointer_to,
    unknown_field,
)
from hacdbs_sim.wire.long_pages import LongPages
from hacdbs_sim.wire.long_text import Where, adapter_for, object_of
from hacdbs_sim.wire.repeated import field_twice

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


class _Long(LongPages):
    """A long text, read into the classes of the model."""

    def value(self, hint: Any, span: Span, where: Where) -> Any:  # noqa: ANN401
        """Read a part as an annotation."""
        if span.is_long and is_empty_array(self._body, span):
            return self._at_once(adapter_for(hint), b"[]", span, where)
        if span.is_long:
            if (read := self._reader_of(hint)) is not None:
                return read(span, where)
            if not _takes_anything(hint) and self._has_parts(span):
                self._refuse(adapter_for(hint), span, where)
        return self._at_once(adapter_for(hint), self._text(span), span, where)

    def _reader_of(self, hint: Any) -> Callable[[Span, Where], Any] | None:  # noqa: ANN401
        """Return what reads a long part as an annotation; None if nothing of that kind is long."""
        inner, metadata = _unwrapped(hint)
        for each in metadata:
            if isinstance(each, IntervalForm):
                form = each
                return lambda span, where: self.intervals(form, span, where)
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

    def _list(self, hint: Any, most: int, span: Span, where: Where) -> tuple[Any, ...]:  # noqa: ANN401
        adapter = adapter_for(list[hint])
        self._check_array(adapter, span, where)
        read: list[Any] = []
        for group in self._groups(span):
            if group.is_long:
                read.append(self.value(hint, group, (*where, len(read))))
            else:
                text = self._elements(group)
                read += self._at_once(adapter, text, group, where, len(read))
            if len(read) > most:
                self._refuse_length(most, span, where)
        return tuple(read)

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
        return self._refuse(adapter_for(hint), span, where)

    def _one_of(self, hint: Any, choices: tuple[type, ...], span: Span, where: Where) -> Any:  # noqa: ANN401
        """Read one of several classes, by the constant that distinguishes them."""
        given = self._constants(span).get(tag_field_of(choices[0]).wire)
        for cls in choices:
            if tag_of(cls) == given:
                return self.fields(Form(cls), span, where)
        return self._refuse(adapter_for(hint), span, where)

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
            return self._refuse(_adapter_of(form, frozenset()), span, where)
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
        given = self._at_once(_adapter_of(form, left), object_of(short), span, where)
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
                detail, value = unknown_field(name, known), self._shown(part)
                error = error_at("body", pointer, detail, value=value)
                raise InvalidRequestError((error,))

    def _shown(self, span: Span) -> str | None:
        """Return what stands for a long part in a problem document."""
        if self._has_parts(span):
            return None
        return str(self._body[span.begin + 1 : span.begin + 65], "utf-8", "replace")

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
        error = error_at("body", pointer_to(where), detail, bound=bound)
        raise InvalidRequestError((error,))

    def _field(self, field: WireField, name: str, span: Span, where: Where) -> Any:  # noqa: ANN401
        return self.pages(name, span, where) if field.pages else self.value(field.hint, span, where)


def _tags_of(cls: type) -> list[tuple[str, str]]:
    """Return the constants of a class, by field."""
    return [(field.wire, field.tag) for field in fields_of(cls) if field.tag is not None]


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
def _adapter_of(form: Form, left: frozenset[str]) -> TypeAdapter[Any]:
    """Return what reads the fields of a form as a dict, but for some that are left out."""
    flat = FlatForm(form.cls, form.cls.__name__, op=form.op, without=form.without | left)

    def schema(_: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return flat_schema(flat, handler.generate_schema, dict)

    return adapter_for(Annotated[dict, GetPydanticSchema(schema)])
