"""Options derived from the fields of a model class, so that a new field of the model is one of the command.

A field's name makes the option's: `timeout_ns` is `--timeout`, and takes `30s`. Its annotation makes the
reader, its description the help. Bounds are the service's: it refuses a value, and names them.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, TypeAlias, Union, get_args, get_origin

import typer

from hacdbs_sim.cli import arguments as a
from hacdbs_sim.wire.class_fields import WireField, fields_of
from hacdbs_sim.wire.docstrings import description_of

Fields: TypeAlias = dict[str, Any]
"""The fields of a request that were given, by name."""

_UNITS: Final[Mapping[str, tuple[Callable[[str], int], str]]] = {
    "_ns": (a.duration, "TIME"),
    "_bytes_per_second": (a.bandwidth, "RATE"),
}
"""Ends of names that are a unit, what reads an amount with one, and how help names it."""


@dataclass(frozen=True, slots=True)
class FieldOption:
    """An option that stands for a field: its parameter, and where its value goes in the body."""

    parameter: inspect.Parameter
    path: tuple[str, ...]
    is_flag: bool = False
    """Whether it stands for an object that has all defaults."""


def options_of(classes: Iterable[type], without: frozenset[str]) -> dict[str, FieldOption]:
    """Return the options of the fields of classes, by the parameter's name.

    A field that is an object has an option if it needs no field of its own, else one for each of those.
    Lists of objects and sets of pages have none: they are given in a file.
    """
    found: dict[str, FieldOption] = {}
    for cls in classes:
        for field in fields_of(cls):
            if field.wire not in without and field.tag is None and not field.pages:
                for option in _options(cls, field, ()):
                    found.setdefault(option.parameter.name, option)
    return found


def collect(options: Mapping[str, FieldOption], arguments: Fields) -> Fields:
    """Take the values of options from a command's arguments; return them as a body."""
    body: Fields = {}
    for name, option in options.items():
        value = arguments.pop(name)
        if value is None or (value is False and option.is_flag):
            continue
        into = body
        for part in option.path[:-1]:
            into = into.setdefault(part, {})
        into[option.path[-1]] = {} if option.is_flag else value
    return body


def _options(cls: type, field: WireField, outer: tuple[str, ...]) -> Iterator[FieldOption]:
    hint, is_many = _base(field.hint)
    path = (*outer, field.wire)
    summary = description_of(cls, field.field) or ""
    if isinstance(hint, type) and is_dataclass(hint):
        inner = () if is_many else fields_of(hint)
        if any(each.is_required for each in inner):
            for each in inner:
                yield from _options(hint, each, path)
        elif inner:
            option = typer.Option(_name(path), help=summary)
            yield FieldOption(_parameter(path, Annotated[bool, option], default=False), path, True)
    elif (annotation := _annotation(path, hint, summary, is_many=is_many)) is not None:
        yield FieldOption(_parameter(path, annotation, default=None), path)


def _annotation(path: tuple[str, ...], hint: Any, summary: str, *, is_many: bool) -> Any:  # noqa: ANN401 - annotations
    """Return the annotation of an option that has a value; None if no option can have it."""
    for end, (read, metavar) in _UNITS.items():
        if path[-1].endswith(end):
            name = _name(path).removesuffix(end.replace("_", "-"))
            return Annotated[Any, typer.Option(name, parser=read, metavar=metavar, help=summary)]
    name = _name(path)
    if hint is int and is_many:
        name = name.removesuffix("s")
        return Annotated[list[Any] | None, typer.Option(name, parser=a.number, help=summary)]
    if hint is int:
        return Annotated[Any, typer.Option(name, parser=a.number, metavar="N", help=summary)]
    if hint is bool:
        name += f"/--no-{name.removeprefix('--')}"
    is_choice = get_origin(hint) is Literal or (isinstance(hint, type) and issubclass(hint, Enum))
    if is_many or not (is_choice or hint in {bool, float, str}):
        return None
    return Annotated[hint | None, typer.Option(name, help=summary)]


def _parameter(path: tuple[str, ...], annotation: object, *, default: object) -> inspect.Parameter:
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter("_".join(path), keyword, default=default, annotation=annotation)


def _name(path: tuple[str, ...]) -> str:
    return "--" + "_".join(path).replace("_", "-")


def _base(hint: Any) -> tuple[Any, bool]:  # noqa: ANN401 - an annotation
    """Return an annotation without metadata and None, and whether it is that of a list of such."""
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if get_origin(hint) in {Union, UnionType}:
        (hint, *others) = (each for each in get_args(hint) if each is not NoneType)
        return (None, False) if others else _base(hint)
    if get_origin(hint) is tuple:
        return _base(get_args(hint)[0])[0], True
    return hint, False
