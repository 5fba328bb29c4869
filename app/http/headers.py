"""The headers of requests and responses, as the OpenAPI document describes them."""

from typing import Any, Final

from ..service.idempotency_store import IDEMPOTENCY_KEY
from .event_stream import EVENT_ID_PATTERN, LAST_EVENT_ID
from .idempotency import KEY_PATTERN, REPLAYED_HEADER
from .middleware import INSTANCE_HEADER
from .preconditions import IF_MATCH, IF_NONE_MATCH, MAX_TAGS_CHARS, TAGS_PATTERN

_READ: Final = {
    "update_vm": (IF_MATCH,),
    "delete_vm": (IF_MATCH,),
    "set_memslot": (IF_MATCH, IF_NONE_MATCH),
    "delete_memslot": (IF_MATCH,),
    "list_events": (LAST_EVENT_ID,),
}
"""The headers that operations read, beside the key of each POST."""

_TAGGED: Final = frozenset({"create_vm", "get_vm", "update_vm", "get_memslot", "set_memslot"})
"""The operations whose responses have an ETag."""

_DESCRIPTIONS: Final = {
    IDEMPOTENCY_KEY: "Identifies this request: a retry with the same key gets the first response, and "
    "nothing is done again. Valid within the session, for as long as the limits allow.",
    IF_MATCH: "Only if the settings are still those of this ETag; `*`: only if it exists.",
    IF_NONE_MATCH: "`*`: only if it does not exist.",
    LAST_EVENT_ID: "The last event that the reader has seen; wins over `after`.",
}

_EXAMPLES: Final = {
    IDEMPOTENCY_KEY: "get-of-round-3",
    IF_MATCH: "*",
    IF_NONE_MATCH: "*",
    LAST_EVENT_ID: "17",
}


def _parameter(name: str) -> dict[str, Any]:
    pattern = {IDEMPOTENCY_KEY: KEY_PATTERN, LAST_EVENT_ID: EVENT_ID_PATTERN}.get(name)
    schema: dict[str, Any] = {"type": "string", "pattern": pattern or TAGS_PATTERN}
    if pattern is None:
        schema["maxLength"] = MAX_TAGS_CHARS
    described = {"required": False, "description": _DESCRIPTIONS[name], "schema": schema}
    return {"name": name, "in": "header", **described, "example": _EXAMPLES[name]}


def _header(description: str, pattern: str) -> dict[str, Any]:
    schema = {"type": "string", "pattern": pattern}
    return {"description": description, "required": False, "schema": schema}


def describe_headers(method: str, operation: dict[str, Any]) -> None:
    """Add the headers that an operation reads, and those of its responses."""
    operation_id = operation["operationId"]
    names = [*_READ.get(operation_id, ())]
    answered = {}
    if method == "post":
        names.append(IDEMPOTENCY_KEY)
        answered[REPLAYED_HEADER] = _header(
            "The response to the first request with the key.", "^true$"
        )
    if operation_id in _TAGGED:
        answered["ETag"] = _header("Identifies the current settings.", '^"[0-9a-f.]+"$')
    if names:
        operation.setdefault("parameters", []).extend(map(_parameter, names))
    for status, answer in operation["responses"].items():
        if answered and status.startswith("2"):
            answer["headers"] = {**answer.get("headers", {}), **answered}


OF_ALL: Final = {
    INSTANCE_HEADER: {
        "description": "Names this start of the service: after another one, the same ids name other things.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
    }
}
"""The headers of all responses, by name: components of the document."""


def add_headers_of_all(operation: dict[str, Any]) -> None:
    """Add the headers that each response has, when the responses are complete."""
    references = {name: {"$ref": f"#/components/headers/{name}"} for name in OF_ALL}
    for answer in operation["responses"].values():
        answer["headers"] = {**answer.get("headers", {}), **references}
