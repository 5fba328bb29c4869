"""The published document: committed, valid, and usable by generated clients."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from app.http.problems import all_problems
from app.http.refusals import CODES
from app.main import create_app
from app.settings import Settings
from scripts.reference import reference

COMMITTED = Path(__file__).parents[2] / "openapi" / "openapi.json"
REFERENCE = Path(__file__).parents[2] / "docs" / "api.md"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(Settings()).openapi()


def walk(node: Any) -> Iterator[Any]:
    yield node
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for value in inner:
        yield from walk(value)


def operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()


def test_the_committed_document_is_what_the_application_says(document: dict[str, Any]) -> None:
    assert json.loads(COMMITTED.read_text()) == document, "run scripts/openapi"


def test_the_committed_reference_has_every_operation_and_model(document: dict[str, Any]) -> None:
    text = REFERENCE.read_text()

    assert text == reference(document), "run scripts/openapi"
    assert all(f"\n`{o['operationId']}`. " in text for o in operations(document))
    assert all(f"\n### {name}\n" in text for name in document["components"]["schemas"])
    assert set(re.findall(r"\]\(#(\w+)\)", text)) <= {
        name.lower() for name in document["components"]["schemas"]
    }


def test_operation_ids_are_explicit_and_unique(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for operation in operations(document)]

    assert len(set(names)) == len(names)
    assert all("__" not in name and "{" not in name and "_v1_" not in name for name in names)


def test_bounds_stay_within_what_json_clients_hold_exactly(document: dict[str, Any]) -> None:
    """Except words of a bitmap, which have 64 bits for every reader."""
    numbers = [n for n in walk(document) if isinstance(n, int) and not isinstance(n, bool)]
    words = [n for n in walk(document) if isinstance(n, dict) and n.get("format") == "uint64"]

    assert {word["maximum"] for word in words if "maximum" in word} == {2**64 - 1}
    assert numbers.count(2**64 - 1) == sum("maximum" in word for word in words)
    assert max(number for number in numbers if number != 2**64 - 1) == 2**53 - 1


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    named = {
        f"#/components/{kind}/{name}"
        for kind in ("schemas", "headers")
        for name in document["components"][kind]
    }
    references = {
        node["$ref"] for node in walk(document) if isinstance(node, dict) and "$ref" in node
    }

    assert references <= named


def test_refusals_are_documented_by_status_and_code(document: dict[str, Any]) -> None:
    problems = all_problems()

    for operation in operations(document):
        refusals = {s: r for s, r in operation["responses"].items() if not s.startswith("2")}

        assert refusals.keys() >= {"400", "422"}
        for status, refusal in refusals.items():
            assert list(refusal["content"]) == ["application/problem+json"]
            assert {problems[code].status for code in refusal[CODES]} == {int(status)}


def test_what_is_made_has_a_place(document: dict[str, Any]) -> None:
    made = [o["responses"]["201"] for o in operations(document) if "201" in o["responses"]]

    assert len(made) == 8
    assert all(answer["headers"]["Location"]["required"] for answer in made)


def test_no_enumeration_mixes_types(document: dict[str, Any]) -> None:
    """Most generators of clients cannot name such a type."""
    mixed = [
        node["enum"]
        for node in walk(document)
        if isinstance(node, dict)
        and isinstance(node.get("enum"), list)
        and len({type(value) for value in node["enum"]}) > 1
    ]

    assert mixed == []


def test_every_form_of_a_choice_is_an_object_of_its_own(document: dict[str, Any]) -> None:
    """Generators take a choice of bare `required` lists for objects without fields."""
    forms = [
        form
        for schema in document["components"]["schemas"].values()
        for form in schema.get("oneOf", ())
    ]

    assert forms
    assert all("$ref" in form or form["properties"] for form in forms)


def test_json_comes_before_octets(document: dict[str, Any]) -> None:
    both = 0
    for node in walk(document):
        if isinstance(node, dict) and "application/octet-stream" in node:
            assert list(node) == ["application/json", "application/octet-stream"]
            assert node["application/json"]["schema"]
            both += 1

    assert both == 9


def test_every_integer_has_a_format_and_every_tuple_has_items(document: dict[str, Any]) -> None:
    """Without `int64` generators take 32 bits; without `items` those before JSON Schema 2020 fail."""
    schemas = [node for node in walk(document) if isinstance(node, dict)]
    integers = [node for node in schemas if node.get("type") == "integer"]
    tuples = [node for node in schemas if isinstance(node.get("prefixItems"), list)]

    assert {node["format"] for node in integers} == {"int64", "uint64"}
    assert tuples
    assert all(node["items"] and node["minItems"] == node["maxItems"] for node in tuples)


def test_what_operations_refer_to_is_declared(document: dict[str, Any]) -> None:
    used = {tag for operation in operations(document) for tag in operation["tags"]}

    assert {tag["name"] for tag in document["tags"]} == used
    assert all(tag["description"] for tag in document["tags"])
    assert document["servers"] == [
        {"url": "/", "description": document["servers"][0]["description"]}
    ]
    assert document["info"]["license"]["identifier"] == "MIT"
    assert document["info"]["contact"]["name"]


def test_every_operation_says_whether_it_needs_the_token(document: dict[str, Any]) -> None:
    free = {o["operationId"] for o in operations(document) if o["security"] == []}

    assert free == {"get_index", "get_livez", "get_readyz"}


def test_parameters_are_in_the_order_of_the_path(document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        for operation in methods.values():
            parameters = operation.get("parameters", ())
            places = [parameter["in"] for parameter in parameters]

            named = [each["name"] for each in parameters if each["in"] == "path"]
            assert named == re.findall(r"{(\w+)}", path)
            assert places == sorted(places, key=["path", "query", "header"].index)


def test_a_summary_says_what_the_operation_does(document: dict[str, Any]) -> None:
    """In words of the description, not in those of the operation's id."""
    summaries = [operation["summary"] for operation in operations(document)]

    for operation in operations(document):
        words = operation["operationId"].replace("_", " ")
        assert operation["description"].startswith(operation["summary"])
        assert operation["summary"].lower() != words
        assert not operation["summary"].endswith(".")
    assert len(set(summaries)) == len(summaries)


def test_every_path_parameter_and_every_json_body_has_an_example(document: dict[str, Any]) -> None:
    for operation in operations(document):
        for parameter in operation.get("parameters", ()):
            assert parameter["in"] != "path" or "example" in parameter
        content = operation.get("requestBody", {}).get("content", {})
        assert all("example" in body for media, body in content.items() if media.endswith("json"))


def test_every_default_and_every_example_is_valid(document: dict[str, Any]) -> None:
    checked = 0
    for schema, value in stated_values(document):
        own = {"components": document["components"], **schema}
        broken = jsonschema_rs.Draft202012Validator(own).iter_errors(value)
        assert [error.message for error in broken] == [], (schema.get("title"), value)
        checked += 1

    assert checked > 500


def stated_values(node: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """Every default and example, with its schema: of schemas, media types and parameters."""
    if isinstance(node, list):
        for each in node:
            yield from stated_values(each)
    if not isinstance(node, dict):
        return
    if "example" in node:
        yield node["schema"], node["example"]
    if "default" in node:
        yield node, node["default"]
    yield from ((node, example) for example in node.get("examples", ()))
    for key, inner in node.items():
        if key == "properties":  # which may have these names too
            yield from stated_values(list(inner.values()))
        elif key not in {"default", "example", "examples"}:
            yield from stated_values(inner)
