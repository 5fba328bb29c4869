"""What the document states can be used as it stands: defaults, examples and links."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import httpx
import jsonschema_rs
import pytest

from app.main import create_app
from app.settings import Settings
from tests.contract.calls import NAMES, WORLD, Call, good
from tests.contract.documented import Operation
from tests.contract.sending import CONTRACT, OPERATIONS, Connect, send

pytestmark = pytest.mark.anyio

COMPONENTS = CONTRACT.document["components"]


def json_body(operation: Operation) -> dict[str, Any]:
    content: dict[str, Any] = operation.described.get("requestBody", {}).get("content", {})
    body: dict[str, Any] = content.get("application/json", {})
    return body


WITH_BODY = [name for name, operation in OPERATIONS.items() if json_body(operation)]
LINKED = [
    (name, status, followed)
    for name, operation in OPERATIONS.items()
    for status, answer in operation.described["responses"].items()
    for followed in answer.get("links", ())
]


@pytest.fixture
async def world(connect: Connect) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(Settings())
    app.context.fleet.create_session(NAMES["session_id"])
    async with connect(app) as client:
        assert (await client.post("/v1/vms", json=WORLD)).status_code == 201
        yield client


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = COMPONENTS["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def is_valid(schema: dict[str, Any], value: Any) -> bool:
    return jsonschema_rs.Draft202012Validator({"components": COMPONENTS, **schema}).is_valid(value)


def filled(schema: dict[str, Any], value: Any) -> Any:
    """Add to a value all the defaults that its schema states."""
    schema = resolved(schema)
    for choice in (*schema.get("oneOf", ()), *schema.get("anyOf", ())):
        if is_valid(choice, value):
            return filled(choice, value)
    if isinstance(value, list) and "prefixItems" not in schema:
        return [filled(schema["items"], each) for each in value]
    if not isinstance(value, dict):
        return value
    fields: dict[str, Any] = schema.get("properties", {})
    given = {**stated_defaults(fields), **value}
    return {name: filled(fields.get(name, {}), each) for name, each in given.items()}


def stated_defaults(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the defaults of fields; of a choice of forms the first has it."""
    forms = {name: (field, *field.get("anyOf", ())) for name, field in fields.items()}
    return {
        name: form["default"]
        for name, choices in forms.items()
        for form in choices
        if "default" in form
    }


def examples(schema: dict[str, Any]) -> Iterator[Any]:
    """List the examples of a body: of its schema, or of all its choices."""
    schema = resolved(schema)
    if "examples" in schema:
        yield from schema["examples"]
    for choice in schema.get("oneOf", ()):
        yield from examples(choice)


@pytest.mark.parametrize("operation_id", WITH_BODY)
async def test_every_example_can_be_sent_with_and_without_its_defaults(
    connect: Connect, operation_id: str
) -> None:
    schema = json_body(OPERATIONS[operation_id])["schema"]
    bodies = list(examples(schema))
    assert json_body(OPERATIONS[operation_id])["example"] in bodies
    for body in bodies:
        whole = filled(schema, body)
        statuses = []
        for sent in (body, whole):
            app = create_app(Settings())
            app.context.fleet.create_session(NAMES["session_id"])
            async with connect(app) as client:
                assert (await client.post("/v1/vms", json=WORLD)).status_code == 201
                call = good(operation_id)
                for earlier in call.before:
                    assert (await send(client, earlier)).is_success
                answer = await send(client, call.but(json=sent))
            assert answer.status_code not in {400, 415, 422}, answer.text
            statuses.append(answer.status_code)

        assert statuses[0] == statuses[1], whole


def test_filling_reaches_nested_defaults() -> None:
    """Or the test above could not fail."""
    whole = filled(schema_of("AddIpaf"), {"type": "ipaf", "when": {"op": "get"}})
    vm = filled(schema_of("CreateVm"), {})

    places = dict.fromkeys(resolved(schema_of("EntryWhen"))["properties"])
    assert whole["when"] == {**places, "op": "get"}
    assert whole["every"] == 1
    assert (vm["page_size"], vm["memslots"]) == (4096, [])


def schema_of(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


@pytest.mark.parametrize(("operation_id", "status", "followed"), LINKED)
async def test_every_link_leads_to_what_was_made(
    world: httpx.AsyncClient, operation_id: str, status: str, followed: str
) -> None:
    call = good(operation_id)
    if operation_id == "set_memslot":
        call = replace(call, names={"slot": "1"}).but(
            json={
                "guest_phys_addr": "0x80000000",
                "memory_size": 4096,
                "flags": ["LOG_DIRTY_PAGES"],
            }
        )
    for earlier in call.before:
        assert (await send(world, earlier)).is_success
    made = await send(world, call)
    assert str(made.status_code) == status, made.text

    link = OPERATIONS[operation_id].described["responses"][status]["links"][followed]
    names = {name: value_of(source, made, call) for name, source in link["parameters"].items()}
    answer = await send(world, replace(good(link["operationId"]), names=names))

    assert answer.is_success or answer.json()["code"] not in NOT_FOUND, answer.text


NOT_FOUND = frozenset(
    code
    for operation in OPERATIONS.values()
    for code in operation.codes(404)
    if code not in {"no_dirty_log", "no_such_cpu", "no_such_vcpu", "no_such_scenario"}
)
"""What a call is refused with if its path names nothing."""


def value_of(source: str, made: httpx.Response, call: Call) -> str:
    """Evaluate a runtime expression, as OpenAPI 3.1 defines it."""
    place, _, pointer = source.partition("#/")
    if place == "$response.body":
        return str(json.loads(made.content)[pointer])
    assert source.startswith("$request.path.")
    return {**NAMES, **call.names}[source.removeprefix("$request.path.")]
