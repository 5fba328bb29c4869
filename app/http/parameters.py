"""The parameters of a route, validated by a plan that is made once.

FastAPI classifies each parameter again on every call: 16 us of CPU time for one path parameter. The plan
knows only what our routes use: path and query parameters of single values, the request itself, and
dependencies. It reports every parameter that it refuses at once, before any dependency is called, and
refuses unknown and repeated query parameters, which FastAPI ignores.

Not supported:

* Parameters that are lists, headers, cookies, forms or bodies: dependencies read those from the request.
* Endpoints that are not `async`. A dependency that is not runs on the event loop, not in a thread.
* Dependencies of dependencies, those that `yield`, and `app.dependency_overrides`.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from inspect import iscoroutinefunction
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl

from fastapi.dependencies.models import Dependant
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from hacdbs_sim.model import Place
from hacdbs_sim.wire import InvalidRequestError, error_at, parameter_errors

from .long_poll import WAIT_PARAMETER, WAITS


@dataclass(frozen=True, slots=True)
class _Parameter:
    """A path or query parameter."""

    place: Place
    name: str
    alias: str
    read: Callable[[str], Any]
    """Returns the value of a text, or raises."""

    validate: Callable[..., tuple[Any, list[dict[str, Any]]]]
    """FastAPI's own, which describes what is wrong with a text."""


class _Call:
    """A function to call, and where its arguments come from."""

    def __init__(self, dependant: Dependant) -> None:
        assert dependant.call is not None, "a dependency is a function"
        self.function: Callable[..., Any] = dependant.call
        self.is_async = iscoroutinefunction(dependant.call)
        self.name = dependant.name or ""
        self.request_name = dependant.request_param_name
        self.path_parameters = [_parameter("path", field) for field in dependant.path_params]
        self.query_parameters = [_parameter("query", field) for field in dependant.query_params]
        for field in dependant.query_params:
            assert not field.field_info.is_required(), f"{field.name} has a default"
        # Of the query's parameters: most are not given
        self.defaults = {field.name: field.get_default() for field in dependant.query_params}

    def values(
        self, request: Request, query: Mapping[str, str], errors: list[dict[str, Any]]
    ) -> dict[str, Any]:
        """Validate the parameters of the call."""
        values = dict(self.defaults)
        for parameter in self.path_parameters:  # a path that matched has all of them
            _read(parameter, request.scope["path_params"][parameter.alias], values, errors)
        if query:
            for parameter in self.query_parameters:
                if (given := query.get(parameter.alias)) is not None:
                    _read(parameter, given, values, errors)
        if self.request_name is not None:
            values[self.request_name] = request
        return values


def _parameter(place: Place, field: Any) -> _Parameter:  # noqa: ANN401 - FastAPI's own
    info = field.field_info
    # The validator that FastAPI's field wraps; the wrapper takes as long again
    read: Callable[[str], Any] = str
    if info.annotation is not str or info.metadata:
        kind: Any = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
        read = TypeAdapter(kind).validator.validate_python
    return _Parameter(place, field.name, field.alias, read, field.validate)


def _read(
    parameter: _Parameter, given: str, values: dict[str, Any], errors: list[dict[str, Any]]
) -> None:
    try:
        values[parameter.name] = parameter.read(given)
    except ValidationError:
        _, refused = parameter.validate(given, loc=(parameter.place, parameter.alias))
        errors += refused


KEPT_QUERIES: Final = 64
"""Clients send the same few queries again and again, and reading one takes as long as finding a route."""


MAX_PARAMETERS: Final = 64
"""Of one query: each one that is unknown is reported."""


@lru_cache(KEPT_QUERIES)
def read_query(octets: bytes, known: frozenset[str]) -> Mapping[str, str]:
    """Read a query; refuse unknown and repeated parameters."""
    if (count := octets.count(b"&") + 1) > MAX_PARAMETERS:
        detail = f"a query has at most {MAX_PARAMETERS} parameters"
        error = error_at("query", "", detail, bound=MAX_PARAMETERS, value=count)
        raise InvalidRequestError((error,))
    given = parse_qsl(octets.decode("latin-1"), keep_blank_values=True)
    query = dict(given)
    if known.issuperset(query) and len(query) == len(given):
        return query
    unknown = [
        error_at(
            "query",
            name[:64],
            "the operation has no such parameter",
            bound=", ".join(sorted(known)) or "no parameters",
            value=value,
        )
        for name, value in given
        if name not in known
    ]
    repeated = [
        error_at("query", name, "a parameter may be given once", bound=1, value=count)
        for name, count in Counter(name for name, _ in given).items()
        if count > 1 and name in known
    ]
    raise InvalidRequestError((*unknown, *repeated))


class ParameterPlan:
    """The handler of a route: validates its parameters and calls it with them."""

    def __init__(self, dependant: Dependant) -> None:
        self._route = _Call(dependant)
        assert self._route.is_async, "a route is `async def`"
        assert not any(inner.dependencies for inner in dependant.dependencies), "one level"
        self._inner = tuple(map(_Call, dependant.dependencies))
        self._query_names = frozenset(
            parameter.alias
            for call in (self._route, *self._inner)
            for parameter in call.query_parameters
        )

    async def __call__(self, request: Request) -> Response:
        """Validate the parameters and call the route."""
        octets = request.scope["query_string"]
        query = read_query(octets, self._query_names) if octets else {}
        errors: list[dict[str, Any]] = []
        values = self._route.values(request, query, errors)
        inner_values = [inner.values(request, query, errors) for inner in self._inner]
        if errors:
            raise InvalidRequestError(parameter_errors(errors))
        if values.get(WAIT_PARAMETER):
            request.scope[WAITS] = True
        for inner, given in zip(self._inner, inner_values, strict=True):
            value = inner.function(**given)
            values[inner.name] = await value if inner.is_async else value
        response: Response = await self._route.function(**values)
        return response
