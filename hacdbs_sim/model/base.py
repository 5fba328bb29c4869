"""The seam: actions change a machine, queries read it, a backend does both.

Every operation is one dataclass, and what it returns is another, named by the type parameter. From
these two follow JSON, validation, OpenAPI, the batch, schedules, scenarios and the client's results
(docs/architecture.md).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar

from typing_extensions import override

from hacdbs_sim.model.errors import KvmError, snake_case
from hacdbs_sim.model.kinds import Count, core_schema

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Model:
    """A class of the model; its form on the wire is derived, never written."""

    __slots__ = ()
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "ignore"}

    one_of: ClassVar[tuple[str, ...]] = ()
    """Sets of fields of which exactly one is given."""
    not_with: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Pairs of fields that exclude each other."""
    written_first: ClassVar[tuple[str, ...]] = ()
    """Fields that are written first, in this order; the others follow in theirs."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:  # noqa: ANN401
        """Ask the hook, as pydantic asks each class."""
        return core_schema(cls, source, handler)


class Request(Model):
    """What a caller sends: a field that it does not know is refused."""

    __slots__ = ()
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}


class Operation(Request, Generic[T_co]):
    """An action or a query."""

    __slots__ = ()
    op: ClassVar[str]
    """The class' name in snake case: in a batch, as operationId, as the client's method.

    A class of a family has the family's: `add_fault`.
    """
    ioctl: ClassVar[str | None] = None
    """The ioctl that it stands for, if any."""
    refusals: ClassVar[tuple[type[KvmError], ...]] = ()
    """What it can be refused with by the machine itself; a service adds its limits."""

    @override
    def __init_subclass__(cls) -> None:
        if Operation not in cls.__bases__ and not hasattr(cls, "op"):
            cls.op = snake_case(cls.__name__)


class Action(Operation[T_co]):
    """Changes a machine; `Backend.perform` is the only way to."""

    __slots__ = ()
    is_internal: ClassVar[bool] = False
    """Whether only the library itself performs it: no batch, schedule or scenario does."""


class Query(Operation[T_co]):
    """Reads a machine, and never changes it."""

    __slots__ = ()


WORK_PER_ACTION: Final = 1 << 10
"""The work of any action apart from its pages, including decoding and response."""


@dataclass(slots=True, kw_only=True)
class Estimate(Model):
    """What an action will take, roughly."""

    work: Count
    """Words of a bitmap gone through, or as much other work."""
    pages: Count
    """Pages of all slots afterwards."""
    state_bytes: Count
    """Bytes that the machine holds afterwards."""


class BackendName(StrEnum):
    """Which backend a VM has: the simulated machine, or KVM of the host."""

    SIMULATED = "simulated"
    HOST_KVM = "host_kvm"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendCapabilities(Model):
    """What the backend of a VM can do."""

    ops: tuple[str, ...]
    """The actions and queries that it performs; others are refused with `not_supported_by_backend`.
    """
    unknown_fields: tuple[str, ...] = ()
    """Fields of outcomes that it cannot know; they are null."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendInfo(BackendCapabilities):
    """Which backend answers for a VM, and what it can do."""

    backend: BackendName
    """Its name."""

    @property
    def can(self) -> BackendCapabilities:
        """What it can do, without its name."""
        return BackendCapabilities(ops=self.ops, unknown_fields=self.unknown_fields)


def known(value: T | None) -> T:
    """Return a field of an outcome of a backend that knows all of them, as the simulated one does."""
    assert value is not None, "this backend knows all fields of its outcomes"
    return value


class Backend(Protocol):
    """A machine: simulated, or the host's own KVM."""

    @property
    def capabilities(self) -> BackendInfo:
        """What this backend can do."""
        ...

    def perform(self, action: Action[T]) -> T:
        """Change the machine, whole or not at all.

        Raises:
            KvmError: What userspace sees.
        """
        ...

    def query(self, query: Query[T]) -> T:
        """Answer a query.

        Raises:
            KvmError: What it names does not exist.
        """
        ...

    def estimate(self, action: Action[Any]) -> Estimate:
        """Estimate an action; may raise as `perform` would."""
        ...
