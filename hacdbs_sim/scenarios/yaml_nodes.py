"""YAML as a tree of values and their lines, read from libyaml's events, with bounds on their number.

Only what JSON can express is read: no tags, no aliases, no keys but text, and no scalar that the
versions of YAML read in different ways (`010` is 8 in 1.1 and 10 in 1.2, `on` is true or text).
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)

from hacdbs_sim.files import first_line_of

MAX_DEPTH: Final = 64
MAX_CHARS: Final = 1 << 20
MAX_EVENTS: Final = 100_000
"""Less than a second of a quiet machine. What is longer must be JSON."""

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG: Final = "tag:yaml.org,2002:"
_WORDS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\Z", re.ASCII)
_HEX: Final = re.compile(r"[-+]?0x[0-9a-fA-F]+\Z", re.ASCII)
_NUMBER: Final = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|(?:0|[1-9][0-9]*)(?=[eE]))(?:[eE][-+]?[0-9]+)?\Z", re.ASCII
)
_NO_NUMBER: Final = re.compile(r"[-+]?\.(?:inf|nan)\Z", re.ASCII | re.IGNORECASE)
_OF_VERSION_1_2: Final = re.compile(r"[-+]?(?:0o[0-7]+|0[0-9]+(?:[eE][-+]?[0-9]+)?)\Z", re.ASCII)
_OF_VERSION_1_1: Final = {
    first: [pattern for tag, pattern in resolvers if tag.endswith((":int", ":float", ":bool"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_MERGE: Final = "<<"
_MAX_DIGITS: Final = 21
_LEAST: Final = -(1 << 63)
_MOST: Final = (1 << 64) - 1


class BadDocumentError(ValueError):
    """A document that cannot be read; `line` is where, from 1."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


@dataclass(slots=True)
class Node:
    """A value and its line, that of its name where it is a field: an object, an array or a scalar."""

    line: int
    scalar: Any = None
    fields: "dict[str, Node] | None" = None
    items: "list[Node] | None" = None

    def value(self) -> Any:  # noqa: ANN401 - JSON
        """Return the value as JSON has it."""
        if self.fields is not None:
            return {name: node.value() for name, node in self.fields.items()}
        if self.items is not None:
            return [node.value() for node in self.items]
        return self.scalar

    def child(self, name: str) -> "Node | None":
        """Return a field, or an element by its number; None if there is none."""
        if self.fields is not None:
            return self.fields.get(name)
        if self.items is not None and name.isdecimal() and int(name) < len(self.items):
            return self.items[int(name)]
        return None


def compose(text: str) -> Node:
    """Read one document, which must be an object.

    Raises:
        BadDocumentError: It cannot be read, or exceeds a bound.
    """
    if len(text) > MAX_CHARS:
        raise BadDocumentError(1, f"has more than {MAX_CHARS} characters: write it as JSON")
    try:
        return _Composer(yaml.parse(text, Loader=_LOADER)).document()
    except yaml.MarkedYAMLError as wrong:
        mark = wrong.problem_mark or wrong.context_mark
        # libyaml puts the end of a text behind its last line
        line = 1 if mark is None else min(mark.line, text.count("\n")) + 1
        raise BadDocumentError(line, f"cannot be read: {wrong.problem or wrong.context}") from None
    except (yaml.YAMLError, ValueError) as wrong:
        if isinstance(wrong, BadDocumentError):
            raise
        raise BadDocumentError(1, f"cannot be read: {first_line_of(wrong)}") from None


def _line(event: Any) -> int:  # noqa: ANN401 - an event, which has a mark if it is of a text
    return int(event.start_mark.line) + 1


@dataclass(slots=True)
class _Composer:
    """Builds nodes of events."""

    events: Iterator[Event]
    _count: int = field(default=0, init=False)

    def _next(self) -> Event:
        event = next(self.events)
        self._count += 1
        if self._count > MAX_EVENTS:
            what = f"has more than {MAX_EVENTS} values, names and ends of lists: write it as JSON"
            raise BadDocumentError(_line(event), what)
        if isinstance(event, AliasEvent):  # a few could stand for gigabytes
            raise BadDocumentError(_line(event), "an alias (*name) is not read here")
        return event

    def document(self) -> Node:
        event = self._next()
        while isinstance(event, StreamStartEvent | DocumentStartEvent):
            event = self._next()
        if isinstance(event, StreamEndEvent):
            raise BadDocumentError(1, "the file is empty")
        if not isinstance(event, MappingStartEvent):
            raise BadDocumentError(1, "must be an object")
        node = self._node(event, _line(event), 1)
        self._next()  # the document's end
        if not isinstance(event := self._next(), StreamEndEvent):
            raise BadDocumentError(_line(event), "must be one document, and another begins here")
        return node

    def _node(self, event: Event, line: int, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise BadDocumentError(_line(event), f"is nested deeper than {MAX_DEPTH}")
        match event:
            case MappingStartEvent():
                _check_tag(event, "map")
                return Node(line, fields=self._fields(depth))
            case SequenceStartEvent():
                _check_tag(event, "seq")
                return Node(line, items=self._items(depth))
            case ScalarEvent():
                return Node(line, _scalar(event))
            case _:
                raise AssertionError(f"{event} is no node")

    def _fields(self, depth: int) -> dict[str, Node]:
        fields: dict[str, Node] = {}
        while not isinstance(key := self._next(), MappingEndEvent):
            name = _name(key)
            if name in fields:
                raise BadDocumentError(_line(key), f"the field {name!r} is there twice")
            fields[name] = self._node(self._next(), _line(key), depth + 1)
        return fields

    def _items(self, depth: int) -> list[Node]:
        items = []
        while not isinstance(event := self._next(), SequenceEndEvent):
            items.append(self._node(event, _line(event), depth + 1))
        return items


def _check_tag(event: Any, kind: str) -> None:  # noqa: ANN401 - of a node
    if event.tag not in {None, _TAG + kind}:
        raise BadDocumentError(_line(event), f"the tag {event.tag} is not read here")


def _name(key: Event) -> str:
    """Read the name of a field."""
    if not isinstance(key, ScalarEvent):
        raise BadDocumentError(_line(key), "a field's name must be text")
    try:
        name = _scalar(key)
    except BadDocumentError:
        name = None
    is_merge = key.implicit[0] and key.value == _MERGE
    if is_merge or not isinstance(name, str):
        _check_tag(key, "str")
        shown = key.value[:MAX_DEPTH]
        raise BadDocumentError(_line(key), f"a field's name must be text, not {shown!r}")
    return name


def _scalar(event: ScalarEvent) -> Any:  # noqa: ANN401 - JSON
    if not event.implicit[0]:  # quoted, or with a tag
        if event.tag != "!":
            _check_tag(event, "str")
        return event.value
    return _plain(event.value, _line(event))


def _plain(text: str, line: int) -> Any:  # noqa: ANN401 - JSON
    """Read a scalar that is not quoted."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.match(text) or _HEX.match(text):
        return _integer(text, line)
    if _NUMBER.match(text):
        return _number(text, line)
    if _NO_NUMBER.match(text):
        raise BadDocumentError(line, f"{text} is no number of JSON")
    older = _OF_VERSION_1_1.get(text[:1], ())
    if _OF_VERSION_1_2.match(text) or any(pattern.match(text) for pattern in older):
        what = "is read in two ways by YAML 1.1 and 1.2: quote it, or write a decimal number or true or false"
        raise BadDocumentError(line, f"{text[:MAX_DEPTH]!r} {what}")
    return text


def _integer(text: str, line: int) -> int:
    if len(text) <= _MAX_DIGITS:
        value = int(text, 16 if "x" in text else 10)
        if _LEAST <= value <= _MOST:
            return value
    raise BadDocumentError(line, f"{text[:MAX_DEPTH]} is an integer beyond 64 bits")


def _number(text: str, line: int) -> float:
    value = float(text)
    if math.isinf(value):
        raise BadDocumentError(line, f"{text[:MAX_DEPTH]} is beyond the numbers of JSON")
    return value


class _Dumper(yaml.SafeDumper):
    """Quotes each text that this module, or YAML 1.1, would read as something else."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    try:
        is_plain = _plain(text, 1) == text
    except BadDocumentError:
        is_plain = False
    return dumper.represent_scalar(f"{_TAG}str", text, style=None if is_plain else "'")


_Dumper.add_representer(str, _represent_text)


def dump(document: Mapping[str, Any]) -> str:
    """Write a document as YAML that `compose` reads."""
    written: str = yaml.dump(dict(document), Dumper=_Dumper, sort_keys=False, width=100)
    return written
