"""ETag, If-Match, If-None-Match (RFC 9110, 13.1): no update of what another has changed since.

The ETag of a VM or a slot identifies its settings: what PUT, PATCH and DELETE change. Counters,
dirty pages and CPUs are not part of it, or no precondition would hold while a guest writes.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Final, NoReturn

from fastapi import Depends
from starlette.requests import Request

from hacdbs_sim.model import GetGenerations
from hacdbs_sim.wire import InvalidRequestError, error_at

from ..service.fleet import Vm
from .problems import PRECONDITION_FAILED, Refusal

IF_MATCH: Final = "If-Match"
IF_NONE_MATCH: Final = "If-None-Match"

_TAG: Final = r'(W/)?"[!#-~]*"'
TAGS_PATTERN: Final = rf"^(\*|{_TAG}( *, *{_TAG})*)$"
_TAGS: Final = re.compile(TAGS_PATTERN.removesuffix("$") + r"\Z")
MAX_TAGS_CHARS: Final = 1_000
_ANY: Final = "*"


def vm_etag(vm: Vm) -> str:
    """Return the entity tag of a VM's settings: capabilities and memslots."""
    now = vm.runtime.query(GetGenerations())
    return f'"{vm.incarnation}.{now.capabilities}.{now.memslots}"'


def memslot_etag(vm: Vm, slot: int) -> str | None:
    """Return the entity tag of a slot's settings; None if it is absent."""
    generation = vm.runtime.query(GetGenerations(slot=slot)).slot
    return None if generation is None else f'"{vm.incarnation}.{generation}"'


@dataclass(frozen=True, slots=True)
class Preconditions:
    """The conditions for a change: the tags of each header; None without it."""

    if_match: frozenset[str] | None = None
    if_none_match: frozenset[str] | None = None

    def check(self, etag: str | None) -> None:
        """Refuse the change if the current ETag (None: absent) does not satisfy the headers."""
        if self.if_match is not None and not _matches(self.if_match, etag):
            _refuse(IF_MATCH, "another has changed it since", self.if_match, etag)
        if self.if_none_match is not None:
            strong = frozenset(tag.removeprefix("W/") for tag in self.if_none_match)
            if _matches(strong, etag):
                _refuse(IF_NONE_MATCH, "it is there already", self.if_none_match, etag)


def read_preconditions(request: Request) -> Preconditions:
    """Read the preconditions of a change."""
    return Preconditions(_tags(request, IF_MATCH), _tags(request, IF_NONE_MATCH))


def refuse_preconditions(request: Request) -> None:
    """Refuse a condition that the operation does not check: the caller would assume that it held.

    If-None-Match of a GET is how a cache asks whether its copy is still good; it gets a new one.
    """
    names = (IF_MATCH,) if request.method in {"GET", "HEAD"} else (IF_MATCH, IF_NONE_MATCH)
    headers = request.headers
    for name in names:
        if name in headers:
            detail = "the operation checks no such condition"
            error = error_at("header", name, detail, value=headers[name])
            raise InvalidRequestError((error,))


PreconditionsDep = Annotated[Preconditions, Depends(read_preconditions)]


def _tags(request: Request, name: str) -> frozenset[str] | None:
    if not (lines := request.headers.getlist(name)):
        return None
    given = ", ".join(lines)
    if len(given) > MAX_TAGS_CHARS or _TAGS.match(given) is None:
        detail = f'{name} must be * or entity tags, as in "3"'
        error = error_at("header", name, detail, bound=TAGS_PATTERN, value=given)
        raise InvalidRequestError((error,))
    return frozenset(tag.strip(" ") for tag in given.split(","))


def _matches(tags: frozenset[str], etag: str | None) -> bool:
    # No response has a weak tag, so comparing whole tags is the strong comparison.
    return etag is not None and (_ANY in tags or etag in tags)


def _refuse(name: str, why: str, wanted: frozenset[str], etag: str | None) -> NoReturn:
    found = "nothing is there" if etag is None else f"the ETag is {etag}: {why}"
    error = error_at("header", name, found, bound=etag, value=", ".join(sorted(wanted)))
    raise Refusal(PRECONDITION_FAILED, f"{name} does not hold: {found}", (error,))
