"""Documents in JSON or YAML, which JSON is a part of: values, and their lines.

Only what JSON can say is read: no tags, no aliases, no keys but text, no dates.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

import orjson
import yaml
from typing_extensions import override
from yaml.events import AliasEvent
from yaml.nodes import MappingNode, Node, SequenceNode

MAX_DEPTH: Final = 64
_TAGS: Final = frozenset(
    f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str", "int", "float", "bool", "null")
)


class BadDocumentError(ValueError):
    """A document that cannot be read; `line` is where, from 1."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


class _Loader(yaml.SafeLoader):
    """Reads plain values; a date is text."""

    @override
    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        """Compose a node, which must not be an alias: a few could stand for gigabytes."""
        if self.check_event(AliasEvent):
            line = self.get_mark().line + 1
            raise BadDocumentError(line, "an alias (*name) is not read here")
        return super().compose_node(parent, index)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _line(marked: Any) -> int:  # noqa: ANN401 - an event or a node
    return int(marked.start_mark.line) + 1


def _compose(text: str) -> Node:
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as wrong:
        mark = wrong.problem_mark or wrong.context_mark
        line = 1 if mark is None else mark.line + 1
        raise BadDocumentError(line, f"cannot be read: {wrong.problem or wrong.context}") from None
    except yaml.YAMLError as wrong:
        raise BadDocumentError(1, f"cannot be read: {wrong}") from None
    except RecursionError:
        raise BadDocumentError(1, f"is nested deeper than {MAX_DEPTH}") from None
    if not isinstance(node, MappingNode):
        raise BadDocumentError(1, "must be an object")
    return node


def _check(node: Node, depth: int = 1) -> None:
    """Refuse what JSON cannot express."""
    if depth > MAX_DEPTH:
        raise BadDocumentError(_line(node), f"is nested deeper than {MAX_DEPTH}")
    if node.tag not in _TAGS:
        raise BadDocumentError(_line(node), f"the tag {node.tag} is not read here")
    if isinstance(node, SequenceNode):
        for item in node.value:
            _check(item, depth + 1)
    elif isinstance(node, MappingNode):
        names: set[str] = set()
        for key, value in node.value:
            if not key.tag.endswith(":str"):
                raise BadDocumentError(
                    _line(key), f"a field's name must be text, not {key.value!r}"
                )
            if key.value in names:
                raise BadDocumentError(_line(key), f"the field {key.value!r} is there twice")
            names.add(key.value)
            _check(value, depth + 1)
    elif node.tag.endswith(":float") and node.value.lower().endswith(("inf", "nan")):
        raise BadDocumentError(_line(node), f"{node.value} is no number of JSON")


def parse(text: str) -> dict[str, Any]:
    """Read a document, which must be an object.

    Raises:
        BadDocumentError: It cannot be read.
    """
    try:  # JSON first: its numbers have forms that YAML 1.1 takes for text
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        node = _compose(text)
        _check(node)
        value = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader, made stricter
    if not isinstance(value, dict):
        raise BadDocumentError(1, "must be an object")
    return cast("dict[str, Any]", value)


def line_of(text: str, pointer: str) -> int | None:
    """Return the line of a JSON pointer's target, or of the last part of it that exists."""
    try:
        node = _compose(text)
    except BadDocumentError:
        return None
    line = _line(node)
    for step in pointer.split("/")[1:]:
        found = _child(node, step.replace("~1", "/").replace("~0", "~"))
        if found is None:
            break
        node, line = found
    return line


def _child(node: Node, name: str) -> tuple[Node, int] | None:
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if key.value == name:
                return value, _line(key)
    if isinstance(node, SequenceNode) and name.isdigit() and int(name) < len(node.value):
        item = node.value[int(name)]
        return item, _line(item)
    return None


def explain(name: str, text: str, errors: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the `errors` of a problem document as lines, each with its file and line."""
    lines = []
    for error in errors:
        line = line_of(text, error["pointer"])
        where = name if line is None else f"{name}:{line}"
        lines.append(f"{where}: {error['pointer'] or 'the document'}: {error['detail']}")
    return lines
