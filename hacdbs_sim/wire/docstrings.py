"""Descriptions from the docstrings of the model: of a class, and of each of its fields."""

import re
from functools import lru_cache
from inspect import cleandoc
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import dataclasses

_SECTION: Final = "Attributes:"
_FIELD: Final = re.compile(r"^    (\w+): (.*)$")


def summary_of(cls: type) -> str:
    """Return a class' docstring before its attributes."""
    return " ".join(_own_doc(cls).partition(_SECTION)[0].split())


@lru_cache(1024)
def descriptions_of(cls: type) -> dict[str, str]:
    """Return the description of each field, from the class or a base of it."""
    described: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        described.update(_attributes(_own_doc(each)))
    return described


def description_of(cls: type, field: "dataclasses.Field[Any]") -> str | None:
    """Return the description of a field; of a knob, where its default comes from."""
    source: str | None = field.metadata.get("source")
    return source or descriptions_of(cls).get(field.name)


def _own_doc(cls: type) -> str:
    doc = cls.__dict__.get("__doc__")
    return cleandoc(doc) if doc else ""


def _attributes(doc: str) -> dict[str, str]:
    described: dict[str, str] = {}
    name = None
    for line in doc.partition(_SECTION)[2].splitlines():
        if found := _FIELD.match(line):
            name = found[1]
            described[name] = found[2]
        elif name is not None and line.strip():
            described[name] += " " + line.strip()
    return described
