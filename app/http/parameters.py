"""The parameters of a route, validated by a plan that is made once.

FastAPI classifies each parameter again on every call: 16 us of CPU time for one path parameter. The plan
knows only what our routes use: path and query parameters of single values, the request itself, and
dependencies. It reports every parameter that it refuses at once, before any dependency is called, and
refuses unknown and repeated query parameters, which FastAPI ignores.

Not supported:

* Parameters that are lists, headers, cookies, forms or bodies: dependencies read those from the request.
* Endpoints that are not `async`. A dependency that is not runs on the event loop, not in a thread.
* Dependencies that `yield`, the cache of dependencies used twice, and `app.dependency_overrides`.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi.dependencies.models import Dependant
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from starlette.requests import Request

from hacdbs_sim.model import Place
from hacdbs_sim.wire import InvalidRequestError, error_at, parameter_errors

Validate = Callable[..., tuple[Any, list[dict[str, Any]]]]
Read = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class _Parameter:
    """A path or query parameter."""

    place: Place
    alias: str
    name: str
    default: Any
    read: Read
    """Returns the value of a text, or raises."""

    validate: Validate
    """FastAPI's own, which describes what is wrong with a text."""


@dataclass(frozen=True, slots=True)
class _Call:
    """A function to call, and where its arguments come from."""

    function: Callable[..., Any]
    is_async: bool
    name: str
    path_parameters: tuple[_Parameter, ...]
    query_parameters: tuple[_Parameter, ...]
    defaults: Mapping[str, Any]
    """Of the query's parameters: most are not given."""

    inner: tuple["_Call", ...]
    request_name: str | None


def _parameters(dependant: Dependant) -> Iterator[_Parameter]:
    places: tuple[tuple[Place, Any], ...] = (
        ("path", dependant.path_params),
        ("query", dependant.query_params),
    )
    for place, fields in places:
        for field in fields:
            is_optional = place == "path" or not field.field_info.is_required()
            assert is_optional, f"{field.name} has a default"
            yield _Parameter(
                place=place,
                alias=field.alias,
                name=field.name,
                default=field.get_default(),
                read=_reader(field.field_info),
                validate=field.validate,
            )


def _reader(info: FieldInfo) -> Read:
    """Return the validator that FastAPI's field wraps; the wrapper takes as long again."""
    if info.annotation is str and not info.metadata:
        return str
    kind: Any = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
    read: Read = TypeAdapter(kind).validator.validate_python
    return read


def plan(dependant: Dependant) -> _Call:
    """Return the plan of a route or of a dependency."""
    assert dependant.call is not None, "a dependency is a function"
    inner = tuple(plan(inner) for inner in dependant.dependencies)
    is_async = iscoroutinefunction(dependant.call)
    assert is_async or not any(call.is_async for call in inner), "what calls it is async too"
    parameters = tuple(_parameters(dependant))
    of_query = tuple(p for p in parameters if p.place == "query")
    return _Call(
        function=dependant.call,
        is_async=is_async,
        name=dependant.name or "",
        path_parameters=tuple(p for p in parameters if p.place == "path"),
        query_parameters=of_query,
        defaults={p.name: p.default for p in of_query},
        inner=inner,
        request_name=dependant.request_param_name,
    )


def query_names(call: _Call) -> frozenset[str]:
    """Return the names of the query parameters of a route and its dependencies."""
    own = {p.alias for p in call.query_parameters}
    return frozenset(own.union(*(query_names(inner) for inner in call.inner)))


def read_query(request: Request, known: frozenset[str]) -> Mapping[str, str]:
    """Read the query; refuse unknown and repeated parameters."""
    if not (octets := request.scope["query_string"]):
        return {}
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
        self._route = plan(dependant)
        assert self._route.is_async, "a route is `async def`"
        self._query_names = query_names(self._route)

    async def __call__(self, request: Request) -> Any:  # noqa: ANN401 - what the route returns
        """Validate the parameters and call the route."""
        query = read_query(request, self._query_names)
        errors: list[dict[str, Any]] = []
        values = _values(self._route, request, query, errors)
        if errors:
            raise InvalidRequestError(parameter_errors(errors))
        return await _run(self._route, request, values)


def _values(
    call: _Call, request: Request, query: Mapping[str, str], errors: list[dict[str, Any]]
) -> dict[str, Any]:
    """Validate the parameters of a call; those of an inner call are nested under its name."""
    values = dict(call.defaults)
    for parameter in call.path_parameters:  # a path that matched has all of them
        _read(parameter, request.scope["path_params"][parameter.alias], values, errors)
    if query:
        for parameter in call.query_parameters:
            if (given := query.get(parameter.alias)) is not None:
                _read(parameter, given, values, errors)
    for inner in call.inner:
        values[inner.name] = _values(inner, request, query, errors)
    return values


def _read(
    parameter: _Parameter, given: str, values: dict[str, Any], errors: list[dict[str, Any]]
) -> None:
    try:
        values[parameter.name] = parameter.read(given)
    except ValidationError:
        _, refused = parameter.validate(given, loc=(parameter.place, parameter.alias))
        errors += refused


def _run_plain(call: _Call, request: Request, values: dict[str, Any]) -> Any:  # noqa: ANN401
    for inner in call.inner:
        values[inner.name] = _run_plain(inner, request, values[inner.name])
    if call.request_name is not None:
        values[call.request_name] = request
    return call.function(**values)


async def _run(call: _Call, request: Request, values: dict[str, Any]) -> Any:  # noqa: ANN401
    for inner in call.inner:
        given = values[inner.name]
        if inner.is_async:
            values[inner.name] = await _run(inner, request, given)
        else:
            values[inner.name] = _run_plain(inner, request, given)
    if call.request_name is not None:
        values[call.request_name] = request
    return await call.function(**values)
