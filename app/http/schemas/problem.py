"""The problem document of RFC 9457, and what a problem means."""

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from .base import answer

Place = Literal["body", "query", "path", "header"]

# "in" is a keyword, so this one needs the functional form.
ProblemErrorOut = TypedDict(
    "ProblemErrorOut",
    {
        "in": Place,
        "pointer": Annotated[
            str, Field(description="JSON pointer in the body; elsewhere the parameter's name.")
        ],
        "detail": str,
        "bound": int | float | str | None,
        "value": int | float | bool | str | None,
    },
)
ProblemErrorOut.__doc__ = "One part of the request at fault, the bound it broke and its value."


@answer
class ProblemOut(TypedDict):
    """A refusal: `code` names it; `errno` and `ioctl` where an ioctl is what was refused."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    errno: NotRequired[str]
    ioctl: NotRequired[str]
    errors: NotRequired[list[ProblemErrorOut]]


@answer
class ProblemTypeOut(TypedDict):
    """What a problem means."""

    type: str
    code: str
    title: str
    status: int
    meaning: str
