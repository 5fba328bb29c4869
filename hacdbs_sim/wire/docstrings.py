"""Descriptions from the model: a class' docstring, and the strings below its fields."""

import ast
import dataclasses
import inspect
import sys
from functools import lru_cache
from itertools import pairwise
from typing import Any


def summary_of(cls: type) -> str:
    """Return a class' docstring on one line."""
    return " ".join(_own_doc(cls).split())


def description_of(cls: type, field: "dataclasses.Field[Any]") -> str | None:
    """Return the description of a field; of a knob, where its default comes from."""
    source: str | None = field.metadata.get("source")
    return source or _descriptions_of(cls).get(field.name)


@lru_cache(1024)
def _descriptions_of(cls: type) -> dict[str, str]:
    described: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        if dataclasses.is_dataclass(each):
            described |= _strings_below_fields(each)
    return described


def _strings_below_fields(cls: type) -> dict[str, str]:
    return _strings_of_module(cls.__module__).get(cls.__name__, {})


@lru_cache(64)
def _strings_of_module(module: str) -> dict[str, dict[str, str]]:
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    classes = (node for node in tree.body if isinstance(node, ast.ClassDef))
    return {node.name: _strings_of_class(node) for node in classes}


def _strings_of_class(node: ast.ClassDef) -> dict[str, str]:
    described = {}
    for field, below in pairwise(node.body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                described[name] = " ".join(text.split())
            case _:
                pass
    return described


def _own_doc(cls: type) -> str:
    doc = cls.__dict__.get("__doc__")
    return inspect.cleandoc(doc) if doc else ""
