"""Kinds of value: what a field may hold, stated once, with its bounds.

A kind is an annotation. The core ignores it; `hacdbs_sim.wire` reads it and knows each form once:
how the kind is written as JSON, how a text of a query is read, and how a schema describes it. The
model imports neither pydantic nor the wire, so a kind asks a hook that the wire fills.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final, TypeVar

from annotated_types import Ge, Le, Len

from hacdbs_sim.model.units import (
    MAX_CPUS,
    MAX_IPA_BITS,
    MAX_VCPUS,
    MIN_IPA_BITS,
    PAGE_SIZES_BYTES,
)

MAX_JSON_INTEGER: Final = (1 << 53) - 1
"""The greatest integer that each JSON reader has exactly."""

MAX_SLOT: Final = 32_766
"""KVM_USER_MEM_SLOTS - 1 (docs/kernel.md A.0)."""

MAX_NS: Final = 10**15
"""The longest time in a request: some 11 days."""


class Form(StrEnum):
    """How a kind is written."""

    INTEGER = "integer"
    """A JSON integer. A number that is whole, such as 1.0, is one; true and "1" are not."""

    GFN = "gfn"
    """Written as a JSON integer; read as one, or as a string such as "0x40000"."""

    ADDRESS = "address"
    """Written as a lowercase string such as "0x40000000"; read as one, or as an integer."""

    SIZE = "size"
    """Written as a JSON integer of bytes; read as one, or as a string such as "2GiB"."""

    REGISTER = "register"
    """Written as a lowercase hexadecimal string; never read by the service."""

    BOOLEAN = "boolean"
    """true or false, and nothing that resembles them."""

    FLAGS = "flags"
    """Written as a list of the names of an IntFlag's members."""


SchemaHook = Callable[[Any, Any, Any], Any]
"""Turns a model class or an annotation into a schema of pydantic, as the wire does."""

_hook: SchemaHook | None = None


def fill_hook(hook: SchemaHook) -> None:
    """Let kinds and classes be described by `hook`; called once, by the wire."""
    global _hook  # noqa: PLW0603 - one hook for the process, filled at import
    _hook = hook


def core_schema(described: Any, source: Any, handler: Any) -> Any:  # noqa: ANN401 - pydantic's own
    """Return the validator and serializer of a model class, or of an annotation.

    Raises:
        RuntimeError: `hacdbs_sim.wire` has not been imported.
    """
    if _hook is None:
        raise RuntimeError("import hacdbs_sim.wire before a model class is given to pydantic")
    return _hook(described, source, handler)


class Annotation:
    """A part of an annotation that the wire knows how to write."""

    __slots__ = ()

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:  # noqa: ANN401
        """Ask the hook, as pydantic asks each annotation."""
        return core_schema(self, source, handler)


@dataclass(frozen=True, slots=True)
class Kind(Annotation):
    """A form and its bounds, both included."""

    form: Form
    """How it is written."""
    ge: int = 0
    """Least value."""
    le: int = MAX_JSON_INTEGER
    """Greatest value."""
    multiple_of: int | None = None
    """What the value must be a multiple of."""
    one_of: tuple[int, ...] = ()
    """The only values allowed, where there are few."""
    flags: Any = None
    """The IntFlag of a FLAGS kind."""


def whole(ge: int = 0, le: int = MAX_JSON_INTEGER, multiple_of: int | None = None) -> Kind:
    """Return the kind of an integer within bounds."""
    return Kind(Form.INTEGER, ge, le, multiple_of)


Count = Annotated[int, whole()]
PositiveCount = Annotated[int, whole(1)]
Gfn = Annotated[int, Kind(Form.GFN)]
SlotId = Annotated[int, whole(le=MAX_SLOT)]
Page64 = Annotated[int, whole(multiple_of=64)]
"""A page that begins a word of a dirty bitmap."""

Address = Annotated[int, Kind(Form.ADDRESS, le=(1 << 64) - 1)]
Size = Annotated[int, Kind(Form.SIZE)]
"""Bytes."""

PositiveSize = Annotated[int, Kind(Form.SIZE, ge=1)]
Gpa = Annotated[int, Kind(Form.ADDRESS, le=(1 << 52) - 1)]
"""A guest physical address; FEAT_LPA2 and 64 KiB granules have 52 bits of them."""

Register = Annotated[int, Kind(Form.REGISTER, le=(1 << 64) - 1)]
"""A raw 64-bit register or descriptor."""

PageSize = Annotated[int, Kind(Form.SIZE, one_of=PAGE_SIZES_BYTES)]
IpaBits = Annotated[int, whole(MIN_IPA_BITS, MAX_IPA_BITS)]
VcpuCount = Annotated[int, whole(1, MAX_VCPUS)]
CpuCount = Annotated[int, whole(1, MAX_CPUS)]
ManualProtect = Annotated[int, Kind(Form.INTEGER, one_of=(0, 1, 3))]
"""KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: off, ENABLE, ENABLE | INITIALLY_SET (docs/kernel.md A.4)."""

Nanoseconds = Annotated[int, whole(1, MAX_NS)]
"""A duration that is not nothing."""

Boolean = Annotated[bool, Kind(Form.BOOLEAN)]
Fraction = Annotated[float, Ge(0), Le(1)]
Label = Annotated[str, Len(0, 128)]
ObjectId = Annotated[str, Len(0, 20)]
"""An id that the service gave: f1, w2."""


@dataclass(frozen=True, slots=True)
class OmitIfNone:
    """Marks a field of an outcome that is left out where it is None, instead of written as null."""


T = TypeVar("T")
Omitted = Annotated[T | None, OmitIfNone()]
"""A field that is left out where it does not apply."""


@dataclass(frozen=True, slots=True)
class Pattern(Annotation):
    """A text must match `regex`, an expression of JSON Schema."""

    regex: str


class ArrayForm(Annotation):
    """How an array is written; the wire knows each subclass."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Tagged(Annotation):
    """A union of classes, each with another constant in `field`."""

    field: str
