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
    """One part of the request at fault, the bound it broke and its value.

    Attributes:
        in_: Where the part is; `in` on the wire, which Python does not take as a name.
        pointer: JSON pointer in the body; elsewhere the parameter's name.
        detail: What is wrong with it.
        bound: The bound that it broke.
        value: The value that was given.
    """

    in_: Place
    pointer: str
    detail: str
    bound: Shown
    value: Shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem(Model):
    """A refusal: `code` names it; `errno` and `ioctl` where an ioctl is what was refused.

    Attributes:
        type: Where the meaning of the code is served.
        title: The code in words.
        status: The HTTP status.
        detail: What was refused, and why.
        instance: The path of the request.
        code: What kind of refusal it is.
        errno: What the kernel's ioctl returns.
        ioctl: The ioctl that the operation stands for.
        errors: The parts of the request at fault.
    """

    type: str
    title: str
    status: StatusCode
    detail: str
    instance: str
    code: str
    errno: Omitted[str] = None
    ioctl: Omitted[str] = None
    errors: Omitted[tuple[ProblemError, ...]] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemType(Model):
    """A kind of refusal.

    Attributes:
        type: Where the meaning is served.
        code: Its name.
        title: The code in words.
        status: The HTTP status.
        meaning: What it means.
    """

    type: str
    code: str
    title: str
    status: StatusCode
    meaning: str
