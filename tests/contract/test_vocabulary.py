"""docs/vocabulary.md has every public name of the API."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def names(node: Any) -> Iterator[str]:
    """All field names of schemas and all parameter names, wherever they stand."""
    if isinstance(node, dict):
        properties = node.get("properties")
        if isinstance(properties, dict):
            yield from properties
        for parameter in node.get("parameters", []):
            yield parameter["name"]
        for value in node.values():
            yield from names(value)
    elif isinstance(node, list):
        for value in node:
            yield from names(value)


def test_every_public_name_has_its_entry() -> None:
    document = json.loads((ROOT / "openapi" / "openapi.json").read_text())
    known = set(re.findall(r"`([A-Za-z_0-9-]+)`", (ROOT / "docs" / "vocabulary.md").read_text()))

    public = set(names(document))

    assert len(public) > 100
    assert public - known == set()
