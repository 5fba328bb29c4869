"""The reference of the API, of a small document."""

from app.http.refusals import CODES
from scripts.reference import reference

DOCUMENT = {
    "tags": [{"name": "things", "description": "What there is."}],
    "paths": {
        "/v1/things/{number}": {
            "put": {
                "tags": ["things"],
                "operationId": "set_thing",
                "description": "Sets\n  a thing.",
                "parameters": [
                    {
                        "name": "number",
                        "in": "path",
                        "required": True,
                        "schema": {"type": "integer", "minimum": 0, "maximum": 7},
                    },
                    {"name": "mode", "in": "query", "schema": {"enum": ["a", "b"], "default": "a"}},
                ],
                "requestBody": {
                    "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}
                    }
                },
                "responses": {
                    "200": {
                        "content": {
                            "application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}
                        }
                    },
                    "404": {
                        CODES: ["no_such_thing"],
                        "content": {"application/problem+json": {}},
                    },
                },
            }
        }
    },
    "components": {
        "schemas": {
            "Thing": {
                "description": "A thing.",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "pattern": "a|b"},
                    "parts": {"type": "array", "items": {"type": "integer"}},
                    "pair": {
                        "type": "array",
                        "prefixItems": [{"type": "integer"}, {"type": "string"}],
                    },
                    "either": {"anyOf": [{"type": "null"}, {"const": "x"}]},
                    "size": {"anyOf": [{"type": "integer", "default": 4}, {"type": "string"}]},
                },
            }
        }
    },
}


def test_an_operation_has_its_parameters_body_and_answers() -> None:
    text = reference(DOCUMENT)

    assert "## Things\n\nWhat there is.\n" in text
    assert "### `PUT /v1/things/{number}`\n\n`set_thing`. Sets a thing.\n" in text
    assert "| `number` * | path | integer | >= 0; at most" not in text
    assert "| `number` * | path | integer | >= 0; <= 7. |" in text
    assert '| `mode` | query | `a`, `b` | default `"a"`. |' in text
    assert "Body `application/json`: [Thing](#thing)" in text
    assert "| 200 | [Thing](#thing) |  |" in text
    assert "| 404 | `application/problem+json` | `no_such_thing` |" in text


def test_a_model_has_its_fields() -> None:
    text = reference(DOCUMENT)

    assert "### Thing\n\nA thing.\n" in text
    assert "| `name` * | string | `a\\|b`. |" in text
    assert "| `parts` | list of integer |  |" in text
    assert "| `pair` | [integer, string] |  |" in text
    assert "| `either` | null or `x` |  |" in text
    assert "| `size` | integer or string | default `4`. |" in text
