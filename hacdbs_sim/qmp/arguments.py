"""The arguments of commands: their types, and QEMU's refusals of what does not fit."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, Final

from typing_extensions import override

from hacdbs_sim.qmp.errors import QmpError
from hacdbs_sim.qmp.json_stream import Json

_UINT64: Final = 1 << 64
_ELEMENT: Final = "null"
"""QEMU's name of an element of an array."""


class Kind(ABC):
    """The type of an argument."""

    @abstractmethod
    def read(self, value: Json, path: str) -> Any:  # noqa: ANN401 - each kind has its own
        """Return an argument's value.

        Args:
            value: As it was sent.
            path: Where it is: `capabilities[0].state`.

        Raises:
            QmpError: It does not fit.
        """


def _expected(path: str, what: str) -> QmpError:
    return QmpError(f"Invalid parameter type for '{path}', expected: {what}")


class String(Kind):
    """A string."""

    @override
    def read(self, value: Json, path: str) -> str:
        if not isinstance(value, str):
            raise _expected(path, "string")
        return value


class StringOrNull(Kind):
    """A string, where null means the empty one."""

    @override
    def read(self, value: Json, path: str) -> str:
        return "" if value is None else String().read(value, path)


class Boolean(Kind):
    """A boolean."""

    @override
    def read(self, value: Json, path: str) -> bool:
        if not isinstance(value, bool):
            raise _expected(path, "boolean")
        return value


class Integer(Kind):
    """An int64."""

    @override
    def read(self, value: Json, path: str) -> int:
        if (
            not isinstance(value, int)
            or isinstance(value, bool)
            or not -(1 << 63) <= value < 1 << 63
        ):
            raise _expected(path, "integer")
        return value


class Unsigned(Kind):
    """An unsigned integer; a negative one wraps around, as QEMU's does.

    Args:
        bits: Its width.
    """

    def __init__(self, bits: int = 64) -> None:
        self._bits = bits

    @override
    def read(self, value: Json, path: str) -> int:
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if not is_whole or not -(_UINT64 >> 1) <= value < _UINT64:
            raise QmpError(f"Parameter '{path}' expects uint64")
        wrapped: int = value % _UINT64
        if wrapped >= 1 << self._bits:
            raise QmpError(f"Parameter '{path}' expects uint{self._bits}_t")
        return wrapped


class Enumeration(Kind):
    """One of some names."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)

    @override
    def read(self, value: Json, path: str) -> str:
        name = String().read(value, path)
        if name not in self.names:
            leaf = _ELEMENT if path.endswith("]") else path.rpartition(".")[2]
            raise QmpError(f"Parameter '{leaf}' does not accept value '{name}'")
        return name


class Array(Kind):
    """An array of one type."""

    def __init__(self, of: Kind) -> None:
        self._of = of

    @override
    def read(self, value: Json, path: str) -> list[Any]:
        if not isinstance(value, list):
            raise _expected(path, "array")
        return [self._of.read(each, f"{path}[{index}]") for index, each in enumerate(value)]


class Struct(Kind):
    """An object.

    Args:
        required: Members that it must have.
        optional: Others that it may have.
    """

    def __init__(
        self, required: Mapping[str, Kind] | None = None, optional: Mapping[str, Kind] | None = None
    ) -> None:
        self.required = dict(required or {})
        self.optional = dict(optional or {})

    @override
    def read(self, value: Json, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _expected(path, "object")
        prefix = f"{path}." if path else ""
        found = {}
        for name, kind in {**self.required, **self.optional}.items():
            if name in value:
                found[name] = kind.read(value[name], f"{prefix}{name}")
            elif name in self.required:
                raise QmpError(f"Parameter '{prefix}{name}' is missing")
        for name in value:
            if name not in found:
                raise QmpError(f"Parameter '{prefix}{name}' is unexpected")
        return found


class Tagged(Kind):
    """An object whose other members depend on one of them.

    Args:
        tag: The name of that one.
        branches: The members for each of its values.
    """

    def __init__(self, tag: str, branches: Mapping[str, "Struct | Tagged"]) -> None:
        self._tag = tag
        self._branches = dict(branches)

    @override
    def read(self, value: Json, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _expected(path, "object")
        if self._tag not in value:
            raise QmpError(f"Parameter '{path}.{self._tag}' is missing")
        name = Enumeration(self._branches).read(value[self._tag], f"{path}.{self._tag}")
        rest = {member: each for member, each in value.items() if member != self._tag}
        return {self._tag: name, **self._branches[name].read(rest, path)}
