"""Long texts in JSON, read piece by piece: the pieces, and how what is wrong in one is described."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, NoReturn

import orjson
from pydantic import TypeAdapter, ValidationError

from hacdbs_sim.wire.cutting import PIECE_BYTES, Span, decode, is_array, is_object, members, parts
from hacdbs_sim.wire.errors import InvalidRequestError, body_errors, error_at, pointer_to
from hacdbs_sim.wire.repeated import check_fields_once

Where = tuple[str | int, ...]
"""The names and indices that lead to a part."""


class LongText:
    """A long text, whose parts are read at once where they are short."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def _text(self, span: Span) -> bytes:
        return self._body[span.begin : span.end]

    def _has_parts(self, span: Span) -> bool:
        return is_array(self._body, span) or is_object(self._body, span)

    @staticmethod
    def _at_once(
        adapter: TypeAdapter[Any],
        text: bytes,
        span: Span,
        where: Where,
        before: int | None = None,
    ) -> Any:  # noqa: ANN401
        """Read a text in one call; `before` it are so many elements, if it is a piece of a list."""
        try:
            value = adapter.validator.validate_json(text)
        except ValidationError as refused:
            decode(text, Span(0, len(text)), at=span.begin)  # NaN is not JSON either
            errors = body_errors(refused, adapter.core_schema, within=where, before=before)
            raise InvalidRequestError(errors) from None
        try:
            check_fields_once(text)
        except InvalidRequestError as refused:
            (error,) = refused.errors
            pointer = pointer_to(where) + _moved(error.pointer, before)
            raise InvalidRequestError((replace(error, pointer=pointer),)) from None
        return value

    def _refuse(self, adapter: TypeAdapter[Any], span: Span, where: Where) -> Any:  # noqa: ANN401
        """Have a part refused that is not what it should be, without what is long in it."""
        return self._at_once(adapter, self._stub(span), span, where)

    def _stub(self, span: Span) -> bytes:
        """Return a text of the same kind as a part, without what is long in it."""
        if is_array(self._body, span):
            return b"[]"
        is_text = not is_object(self._body, span)
        return self._text(span) if is_text else object_of(self._short_members(span))

    def _elements(self, span: Span) -> bytes:
        """Return a list of a group of elements, of which no long one is right."""
        text = self._stub(span) if span.is_long else self._text(span)
        return b"".join((b"[", text, b"]"))

    def _short_members(self, span: Span) -> dict[str, bytes]:
        """Return the texts of the members that are not long."""
        if not is_object(self._body, span):
            return {}
        found = members(self._body, span)
        return {name: self._text(part) for name, part in found if not part.is_long}

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

    def _check_array(self, adapter: TypeAdapter[Any], span: Span, where: Where) -> None:
        """Have a part refused that is not an array."""
        if not is_array(self._body, span):
            self._refuse(adapter, span, where)

    def _refuse_length(self, most: int, span: Span, where: Where) -> NoReturn:
        count = sum(1 for _ in parts(self._body, span))
        detail = f"length must be at most {most}"
        error = error_at("body", pointer_to(where), detail, bound=most, value=count)
        raise InvalidRequestError((error,))


def _moved(pointer: str, before: int | None) -> str:
    """Return a pointer into a piece of a list as one into the list."""
    if before is None:
        return pointer
    _, index, *rest = pointer.split("/")
    return "/".join(("", str(before + int(index)), *rest))


def object_of(members: Mapping[str, bytes]) -> bytes:
    """Write an object of members that are written."""
    written = [orjson.dumps(name) + b":" + text for name, text in members.items()]
    return b"".join((b"{", b",".join(written), b"}"))


@lru_cache(256)
def adapter_for(hint: Any) -> TypeAdapter[Any]:  # noqa: ANN401 - a type
    """Return what reads an annotation."""
    return TypeAdapter(hint)
