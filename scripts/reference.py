"""The reference of the API as one page of Markdown, made from the OpenAPI document.

`scripts/openapi` writes it beside the document.
"""

import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Final

from app.http.refusals import CODES

Node = Mapping[str, Any]

_HEAD: Final = """\
# API reference

`scripts/openapi` writes this page from `openapi/openapi.json`; change the application, not this page.
[Problems](errors.md) lists what each code means, and [Vocabulary](vocabulary.md) what each term means. Responses have
every field of their model. A parameter or field with a star is required.
"""
_WIDTH: Final = 120
"""The width of wrapped prose; tables are not wrapped."""
_BOUNDS: Final = (
    ("minimum", ">= {}"),
    ("exclusiveMinimum", "> {}"),
    ("maximum", "<= {}"),
    ("exclusiveMaximum", "< {}"),
    ("multipleOf", "multiple of {}"),
    ("minLength", "{} characters or more"),
    ("maxLength", "at most {} characters"),
    ("minItems", "{} or more"),
    ("maxItems", "at most {}"),
    ("pattern", "`{}`"),
)


def reference(document: Node) -> str:
    """Describe every operation by its tag, then every model.

    Args:
        document: An OpenAPI 3.1 document that declares its tags, and whose operations all have tags and ids.
    """
    lines = [_HEAD]
    tagged: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            lines_of_tag = tagged.setdefault(operation["tags"][0], [])
            lines_of_tag.extend(_operation(method.upper(), path, operation))
    descriptions = {tag["name"]: tag["description"] for tag in document["tags"]}
    for tag, described in tagged.items():
        lines += [f"## {tag.capitalize()}", "", *_prose(descriptions[tag]), *described]
    lines += ["## Models", ""]
    for name, schema in sorted(document["components"]["schemas"].items()):
        lines += _model(name, schema)
    return "\n".join(lines).rstrip() + "\n"


def _operation(method: str, path: str, operation: Node) -> Iterator[str]:
    yield from (f"### `{method} {path}`", "")
    yield from _prose(f"`{operation['operationId']}`. {operation.get('description', '')}")
    if parameters := operation.get("parameters"):
        yield from ("| parameter | in | type | |", "|---|---|---|---|")
        for parameter in parameters:
            schema = parameter["schema"]
            cells = (
                f"`{parameter['name']}`{_star(parameter.get('required', False))}",
                parameter["in"],
                _type(schema),
                _with_bounds(schema, parameter.get("description") or schema.get("description", "")),
            )
            yield _row(cells)
        yield ""
    if body := operation.get("requestBody"):
        for media, content in body["content"].items():
            yield from _prose(f"Body `{media}`: {_type(content.get('schema', {}))}")
    yield from ("| status | body | |", "|---|---|---|")
    for status, answer in operation["responses"].items():
        yield _row((status, _bodies(answer), _codes(answer)))
    yield ""


def _model(name: str, schema: Node) -> Iterator[str]:
    yield from (f"### {name}", "")
    if text := schema.get("description", ""):
        yield from _prose(text)
    if not (fields := schema.get("properties")):
        yield from _prose(_with_bounds(schema, _type(schema)))
        return
    yield from ("| field | type | |", "|---|---|---|")
    required = schema.get("required", ())
    for field, inner in fields.items():
        cells = (
            f"`{field}`{_star(field in required)}",
            _type(inner),
            _with_bounds(inner, inner.get("description", "")),
        )
        yield _row(cells)
    yield ""


def _type(schema: Node) -> str:
    """Return the name of a schema's type, with links to models."""
    if reference_to := schema.get("$ref"):
        name = reference_to.rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return " or ".join(dict.fromkeys(_type(choice) for choice in schema[union]))
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kind = schema.get("type", "any")
    if kind == "array":
        parts = schema.get("prefixItems")
        inner = ", ".join(map(_type, parts)) if parts else _type(schema.get("items", {}))
        return f"list of {inner}" if not parts else f"[{inner}]"
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _with_bounds(schema: Node, text: str) -> str:
    """Append a schema's bounds and default to its description."""
    bounds = [form.format(schema[key]) for key, form in _BOUNDS if key in schema]
    choices = (schema, *schema.get("anyOf", ()))
    bounds += [f"default `{json.dumps(each['default'])}`" for each in choices if "default" in each]
    parts = (_flat(text), "; ".join(bounds))
    return " ".join(f"{part.rstrip('.')}." for part in parts if part)


def _bodies(answer: Node) -> str:
    content = answer.get("content", {})
    return " or ".join(
        f"`{media}`" if media != "application/json" else _type(body.get("schema", {}))
        for media, body in content.items()
    )


def _codes(answer: Node) -> str:
    return ", ".join(f"`{code}`" for code in answer.get(CODES, ()))


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _star(required: bool) -> str:  # noqa: FBT001 - one word, one use
    return " *" if required else ""


def _flat(text: str) -> str:
    return " ".join(text.split())


def _prose(text: str) -> Iterator[str]:
    """Wrap a paragraph."""
    yield from textwrap.wrap(_flat(text), _WIDTH, break_long_words=False, break_on_hyphens=False)
    yield ""
