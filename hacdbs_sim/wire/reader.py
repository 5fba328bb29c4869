"""Values of the model from JSON, validated by the schema in one pass (jiter inside pydantic).

So text that is not JSON is refused otherwise than JSON that the schema refuses, and nothing is
decoded twice.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from types import UnionType
from typing import Annotated, Any, Final, Generic, Literal, TypeVar, Union, get_args, get_origin

from annotated_types import Len
from pydantic import GetCoreSchemaHandler, GetPydanticSchema, TypeAdapter, ValidationError
from pydantic_core import CoreSchema, from_json

from hacdbs_sim.wire.class_fields import WireField, fields_of, is_request, members_of
from hacdbs_sim.wire.class_schema import FlatForm, builder_of, flat_schema
from hacdbs_sim.wire.errors import InvalidRequestError, MalformedBodyError, body_errors, error_at
from hacdbs_sim.wire.long_json import read_long, read_long_fields
from hacdbs_sim.wire.pages_json import pages_of
from hacdbs_sim.wire.repeated import check_fields_once

PIECEWISE_BYTES: Final = 1 << 18
"""Bodies longer than this that are one set of pages are read piece by piece."""

UNCOUNTED_BYTES: Final = 1 << 16
"""Bodies longer than this are refused unread where they have too many fields."""

MIN_COLONS: Final = 256
UNBOUNDED: Final = 1 << 62
"""More colons than any body has."""

Body = bytes | memoryview | str
T = TypeVar("T")


class Reader(Generic[T]):
    """Reads one type.

    Args:
        kind: A class of the model, or an annotation of such.
        max_colons: As many as a body has that the schema takes: each unknown field costs an error.
        ignores_unknown: Whether fields that no class has are passed over, at any depth.
        pages: The set of pages that a body is, if it is nothing else: a long one is read piece by
            piece.
        read_long: What reads a long body of another kind piece by piece.
    """

    def __init__(
        self,
        kind: Any,  # noqa: ANN401 - a type
        max_colons: int,
        *,
        ignores_unknown: bool = False,
        pages: WireField | None = None,
        read_long: Callable[[bytes], T] | None = None,
    ) -> None:
        self.adapter: TypeAdapter[T] = TypeAdapter(kind)
        self.max_colons = max(MIN_COLONS, max_colons)
        self._extra: Literal["ignore"] | None = "ignore" if ignores_unknown else None
        self._pages = pages
        self._read_long = read_long

    def __call__(self, body: Body) -> T:
        """Read a JSON text.

        Raises:
            MalformedBodyError: It is not JSON.
            InvalidRequestError: The schema refuses it, or an object has a field twice.
            InvalidArgumentError: A bitmap's words are not whole.
        """
        if self._pages is not None and isinstance(body, bytes) and len(body) > PIECEWISE_BYTES:
            found = pages_of(body, self._pages.pages)
            if found is not None:
                fields: Any = {self._pages.name: found}
                return fields  # type: ignore[no-any-return]
        if self._read_long is not None and isinstance(body, bytes) and len(body) > PIECEWISE_BYTES:
            self._check_colons(body)
            return self._read_long(body)
        octets = bytes(body) if isinstance(body, memoryview) else body
        # A short body cannot hold many unknown fields, so only a long one is counted.
        if len(octets) > UNCOUNTED_BYTES and self._extra is None:
            self._check_colons(octets)
        try:
            value: T = self.adapter.validator.validate_json(octets, extra=self._extra)
        except ValidationError as refused:
            # No schema lets NaN through, but pydantic reads it; it is not JSON, so refuse it as such.
            try:
                from_json(octets, allow_inf_nan=False)
            except ValueError as malformed:
                raise MalformedBodyError(f"the body is not JSON: {malformed}") from None
            raise InvalidRequestError(body_errors(refused, self.adapter.core_schema)) from None
        if self._extra is None:
            check_fields_once(octets)
        return value

    def _check_colons(self, body: bytes | str) -> None:
        colons = body.count(":") if isinstance(body, str) else body.count(b":")
        if colons > self.max_colons:
            detail = "the body has more fields than the schema could take"
            error = error_at("body", "", detail, bound=self.max_colons, value=colons)
            raise InvalidRequestError((error,))


def reader_of(kind: type[T]) -> Reader[T]:
    """Return the reader of a class of the model, or of an annotation of such."""
    known: Reader[T] | None = _READERS.get(kind)
    if known is None:
        hint: Any = kind
        requests = _has_requests(hint)
        known = _READERS[kind] = Reader(
            hint,
            count_colons(hint),
            ignores_unknown=not requests,
            read_long=partial(read_long, hint) if requests else None,
        )
    return known


_READERS: Final[dict[Any, Any]] = {}


def _has_requests(hint: Any) -> bool:  # noqa: ANN401 - a type
    """Whether a type is of requests, of which an unknown field is refused."""
    origin = get_origin(hint) or hint
    if origin is Annotated or origin in {tuple, Union, UnionType}:
        return any(map(_has_requests, get_args(hint)))
    return isinstance(origin, type) and is_request(origin)


def read(kind: type[T], body: Body) -> T:
    """Read an instance of a class from a JSON text; raises as `Reader` does."""
    return reader_of(kind)(body)


@lru_cache(256)
def body_class(cls: type, *, without: frozenset[str]) -> Reader[dict[str, Any]]:
    """Return the reader of a route's body: a request without what path and query carry.

    It returns the fields that are left, sets of pages built; `json_schema` takes it too.
    """
    assert without <= {field.name for field in fields_of(cls)}, f"{cls.__name__} has {without}"
    form = FlatForm(cls, f"{cls.__name__}Body", without=without)

    def schema(_: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return flat_schema(form, handler.generate_schema, builder_of(cls, without))

    left = [field for field in fields_of(cls) if field.name not in without]
    pages = left[0] if len(left) == 1 and left[0].pages else None
    return Reader(
        Annotated[dict, GetPydanticSchema(schema)],
        count_colons(cls),
        pages=pages,
        read_long=lambda body: read_long_fields(cls, body, without),
    )


@lru_cache(512)
def count_colons(hint: Any) -> int:  # noqa: ANN401 - a type
    """Return at most how many colons a text has that is read as this type."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        most = next((each.max_length for each in hint.__metadata__ if isinstance(each, Len)), None)
        inner = count_colons(args[0])
        if most is None:
            return inner
        # Numbers have none, a text may be all colons
        return most if args[0] is str else most * inner
    if origin in {Union, UnionType}:
        return max(map(count_colons, args))
    if origin is tuple:
        return count_colons(args[0])
    if origin in {dict, Mapping} or hint is Any:
        return UNBOUNDED
    return _count_of_class(hint)


def _count_of_class(hint: Any) -> int:  # noqa: ANN401 - a type
    cls = get_origin(hint) or hint
    members: tuple[Any, ...] = members_of(cls) if isinstance(cls, type) else ()
    if members:
        return 1 + max(map(count_colons, members))
    own = fields_of(hint) if hasattr(hint, "__dataclass_fields__") else ()
    return sum(max(1, len(field.pages)) + count_colons(field.hint) for field in own)
