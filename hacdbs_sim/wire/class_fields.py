"""The fields of a model class as the wire has them."""

from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from functools import lru_cache
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    get_args,
    get_origin,
    get_type_hints,
)

from hacdbs_sim.model.base import Action
from hacdbs_sim.model.kinds import Form, Kind, OmitIfNone
from hacdbs_sim.model.operations import ACTIONS
from hacdbs_sim.model.pages import PageForm


class WireField(NamedTuple):
    """A field of a class."""

    name: str
    """The attribute."""
    wire: str
    """Its name on the wire: without the underscore that keeps it apart from a keyword, and spelled
    as the class has it."""
    hint: Any
    """Its annotation."""
    field: "Field[Any]"
    """The dataclass' own field."""
    pages: tuple[str, ...]
    """The fields that it is written as, if it is a set of pages."""
    tag: str | None
    """Its constant, if it distinguishes the class from the others of a union."""
    omitted: bool
    """Whether it is left out where it is None."""

    @property
    def is_required(self) -> bool:
        """Whether a reader must be given it."""
        has_none = self.field.default is MISSING and self.field.default_factory is MISSING
        return self.tag is not None or has_none


@lru_cache(1024)
def fields_of(cls: type) -> tuple[WireField, ...]:
    """Return the fields of a model class, in the order in which they are written."""
    hints = get_type_hints(cls, include_extras=True)
    own = {field.name: field for field in fields(cls)}
    first: tuple[str, ...] = getattr(cls, "written_first", ())
    return tuple(_wire_field(cls, own[name], hints[name]) for name in dict.fromkeys((*first, *own)))


def _wire_field(cls: type, field: "Field[Any]", hint: Any) -> WireField:  # noqa: ANN401
    metadata = hint.__metadata__ if get_origin(hint) is Annotated else ()
    return WireField(
        name=field.name,
        wire=_spelling_of(cls)(field.name.rstrip("_")),
        hint=hint,
        field=field,
        pages=next((each.fields for each in metadata if isinstance(each, PageForm)), ()),
        tag=_tag_of(field, hint),
        omitted=any(isinstance(each, OmitIfNone) for each in metadata),
    )


def kind_of(hint: Any, form: Form) -> Kind | None:  # noqa: ANN401 - a type
    """Return the kind of an annotation, if it has one of this form."""
    metadata = hint.__metadata__ if get_origin(hint) is Annotated else ()
    kinds = (each for each in metadata if isinstance(each, Kind))
    return next((kind for kind in kinds if kind.form is form), None)


def _spelling_of(cls: type) -> Callable[[str], str]:
    """Return how a class spells its fields on the wire: as they are, but for those of QMP."""
    config: dict[str, Any] = getattr(cls, "__pydantic_config__", {})
    spelling: Callable[[str], str] = config.get("alias_generator", str)
    return spelling


def _tag_of(field: "Field[Any]", hint: Any) -> str | None:  # noqa: ANN401 - a type
    """Return the only value that a field can have, if its default is that."""
    if get_origin(hint) is Literal and get_args(hint) == (field.default,):
        return str(field.default)
    return None


def tag_field_of(cls: type) -> WireField:
    """Return the field that distinguishes a class from the others of its union."""
    (field,) = (field for field in fields_of(cls) if field.tag is not None)
    return field


def page_field_of(cls: type) -> WireField | None:
    """Return the field that is a set of pages, if there is one."""
    return next((field for field in fields_of(cls) if field.pages), None)


def one_of_names(cls: type) -> tuple[str, ...]:
    """Return the fields on the wire of which a request has exactly one; none without such a rule."""
    declared: tuple[str, ...] = getattr(cls, "one_of", ())
    pages = page_field_of(cls)
    return pages.pages if pages is not None and pages.is_required else declared


def is_request(cls: type) -> bool:
    """Whether a field that the class does not have is refused."""
    config: dict[str, Any] = getattr(cls, "__pydantic_config__", {})
    return config.get("extra") == "forbid"


def members_of(cls: type) -> tuple[type[Action[Any]], ...]:
    """Return the actions that an abstract one stands for, internal ones apart; none of any other class."""
    if not issubclass(cls, Action) or cls in ACTIONS:
        return ()
    return tuple(action for action in ACTIONS if issubclass(action, cls) and not action.is_internal)
