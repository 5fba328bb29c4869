"""The report of a refusal: RFC 9457's problem document, with the kernel's errno where it has one."""

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from hacdbs_sim.model.base import Model
from hacdbs_sim.model.kinds import Omitted, whole

StatusCode = Annotated[int, whole(100, 599)]
Place: TypeAlias = Literal["body", "query", "path", "header"]
Shown: TypeAlias = int | float | bool | str | None
"""A bound or a value as a problem shows it: short, exact, and always valid JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemError(Model):
    """One part of the request at fault, the bound it broke and its value."""

    in_: Place
    """Where the part is; `in` on the wire, which Python does not take as a name."""
    pointer: str
    """JSON pointer in the body; elsewhere the parameter's name."""
    detail: str
    """What is wrong with it."""
    bound: Shown
    """The bound that it broke."""
    value: Shown
    """The value that was given; null for none, and for an object or an array, which `detail` names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem(Model):
    """A refusal: `code` names it; `errno` and `ioctl` where an ioctl is what was refused."""

    type: str
    """Where the meaning of the code is served."""
    title: str
    """The code in words."""
    status: StatusCode
    """The HTTP status."""
    detail: str
    """What was refused, and why."""
    instance: str
    """The path of the request."""
    code: str
    """What kind of refusal it is."""
    errno: Omitted[str] = None
    """What the kernel's ioctl returns."""
    ioctl: Omitted[str] = None
    """The ioctl that the operation stands for."""
    errors: Omitted[tuple[ProblemError, ...]] = None
    """The parts of the request at fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemType(Model):
    """A kind of refusal."""

    type: str
    """Where the meaning is served."""
    code: str
    """Its name."""
    title: str
    """The code in words."""
    status: StatusCode
    """The HTTP status."""
    meaning: str
    """What it means."""
