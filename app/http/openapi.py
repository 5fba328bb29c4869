"""The OpenAPI document: FastAPI's, with raw bodies, exact refusals and whole integers.

Bodies are validated by our own readers, so the document is told of them here: a route names its
model in `openapi_extra`, and the models' schemas join the components. The refusals of all
operations come from one table; what a router says of them only keeps FastAPI from adding its own.
"""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, TypeAdapter

from .headers import describe_headers
from .middleware import TOKEN_FREE_PATHS
from .refusals import responses_of
from .responses import OCTETS_MEDIA_TYPE
from .schemas.accesses import PagesIn
from .schemas.batch import BatchIn
from .schemas.comparisons import ComparisonIn
from .schemas.cpus import CpuIn
from .schemas.dirty_log import ClearIn
from .schemas.faults import FaultIn
from .schemas.guest import AdvanceIn, RunIn
from .schemas.memslots import MemslotIn
from .schemas.migrations import MigrationIn
from .schemas.problem import ProblemOut
from .schemas.scenarios import ScenarioIn
from .schemas.sessions import SessionIn
from .schemas.vms import VmIn, VmPatch
from .schemas.workloads import WorkloadIn

REF_TEMPLATE: Final = "#/components/schemas/{model}"

_BODIES: Final[tuple[type[BaseModel], ...]] = (
    AdvanceIn,
    BatchIn,
    ClearIn,
    ComparisonIn,
    CpuIn,
    MemslotIn,
    MigrationIn,
    PagesIn,
    RunIn,
    ScenarioIn,
    SessionIn,
    VmIn,
    VmPatch,
)
_OCTETS: Final = {"schema": {"type": "string", "format": "binary"}}
_LOCATION: Final = {
    "Location": {
        "description": "Where the new one is.",
        "required": True,
        "schema": {"type": "string", "format": "uri-reference"},
    }
}
_SCHEME: Final = "token"
_SECURITY_SCHEMES: Final = {
    _SCHEME: {
        "type": "http",
        "scheme": "bearer",
        "description": "The token of HACDBS_TOKEN, where the service has one.",
    }
}
_SECURITY: Final[list[dict[str, list[str]]]] = [{}, {_SCHEME: []}]
"""None, or the token: which of them depends on a setting, and the document on none."""


def _tidy(node: Any) -> None:  # noqa: ANN401 - any part of a document
    """Print whole numbers as integers, and drop discriminators that OpenAPI cannot express.

    FastAPI's own model holds bounds as floats. pydantic nests the mapping of a union inside a
    union; OpenAPI wants names there, and the members tell themselves apart by constants anyway.
    """
    if isinstance(node, list):
        for value in node:
            _tidy(value)
    if not isinstance(node, dict):
        return
    mapping = node.get("discriminator", {}).get("mapping", {})
    if not all(isinstance(name, str) for name in mapping.values()):
        del node["discriminator"]
    for key, value in node.items():
        if isinstance(value, float) and value.is_integer():
            node[key] = int(value)
        else:
            _tidy(value)


def _components() -> dict[str, Any]:
    adapters: dict[str, TypeAdapter[Any]] = {
        "ProblemOut": TypeAdapter(ProblemOut),
        "FaultIn": TypeAdapter(FaultIn),
        "WorkloadIn": TypeAdapter(WorkloadIn),
        **{model.__name__: TypeAdapter(model) for model in _BODIES},
    }
    schemas, shared = TypeAdapter.json_schemas(
        [(name, "validation", adapter) for name, adapter in adapters.items()],
        ref_template=REF_TEMPLATE,
    )
    # A union has no name of its own in the shared definitions.
    unions = {name: schemas[name, "validation"] for name in ("FaultIn", "WorkloadIn")}
    return {**shared["$defs"], **unions}


def json_request(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """Describe a JSON body, for `openapi_extra`."""
    return _request({"$ref": REF_TEMPLATE.format(model=model.__name__)}, required=required)


def fault_request() -> dict[str, Any]:
    """Describe a fault's body, for `openapi_extra`."""
    return _request({"$ref": REF_TEMPLATE.format(model="FaultIn")})


def workload_request() -> dict[str, Any]:
    """Describe a workload's body, for `openapi_extra`."""
    return _request({"$ref": REF_TEMPLATE.format(model="WorkloadIn")})


def pages_request(model: type[BaseModel], octets: str) -> dict[str, Any]:
    """Describe a body of pages, as JSON or as octets, for `openapi_extra`."""
    extra = _request({"$ref": REF_TEMPLATE.format(model=model.__name__)})
    extra["requestBody"]["description"] = octets
    extra["requestBody"]["content"][OCTETS_MEDIA_TYPE] = _OCTETS
    return extra


def _request(schema: dict[str, Any], *, required: bool = True) -> dict[str, Any]:
    content = {"application/json": {"schema": schema}}
    return {"requestBody": {"required": required, "content": content}}


def _with_location(answer: dict[str, Any]) -> dict[str, Any]:
    return {**answer, "headers": {**_LOCATION, **answer.get("headers", {})}}


def _responses(path: str, operation: dict[str, Any]) -> dict[str, Any]:
    """Give an operation's answers and every refusal that it can give, by status."""
    answers = {
        status: _with_location(answer) if status in {"201", "202"} else answer
        for status, answer in operation["responses"].items()
        if status.startswith("2")
    }
    return dict(sorted((answers | responses_of(path, operation)).items()))


def document_of(app: FastAPI) -> dict[str, Any]:
    """Make the OpenAPI document of an application whose routes are complete."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        routes=app.routes,
    )
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            describe_headers(method, operation)
            operation["responses"] = _responses(path, operation)
            if path not in TOKEN_FREE_PATHS:
                operation["security"] = _SECURITY
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(_components())
    document["components"]["schemas"] = dict(sorted(schemas.items()))
    document["components"]["securitySchemes"] = _SECURITY_SCHEMES
    _tidy(document)
    return document
