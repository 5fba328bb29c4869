"""docs/vocabulary.md has every public name of the API, sorted."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "vocabulary.md"


def names(node: Any) -> Iterator[str]:
    """All field names of schemas and all parameter names, wherever they stand."""
    if isinstance(node, dict):
        properties = node.get("properties")
        if isinstance(properties, dict):
            yield from properties
        parameters = node.get("parameters")
        if isinstance(parameters, list):  # those of a link are a mapping
            yield from (parameter["name"] for parameter in parameters)
        for value in node.values():
            yield from names(value)
    elif isinstance(node, list):
        for value in node:
            yield from names(value)


def test_every_public_name_has_its_entry() -> None:
    document = json.loads((ROOT / "openapi" / "openapi.json").read_text())
    known = set(re.findall(r"`([A-Za-z_0-9-]+)`", DOCUMENT.read_text()))

    public = set(names(document))

    assert len(public) > 100
    assert public - known == set()


def test_each_table_is_sorted_by_its_first_terms() -> None:
    for table in re.findall(r"(?:^\|.*\n)+", DOCUMENT.read_text(), re.MULTILINE):
        terms = [row.split("|")[1].split(",")[0].strip(" `").lower() for row in table.splitlines()]

        assert terms[2:] == sorted(terms[2:])
