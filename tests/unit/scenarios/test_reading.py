"""Documents in JSON or YAML, and their lines."""

import pytest

from hacdbs_sim.scenarios.reading import BadDocumentError, explain, line_of, parse

TEXT = """\
scenario: one
vms:
  - key: src
    cpus: 0
  - {key: dst,
     "a/b~c": 1}
"""


@pytest.mark.parametrize(
    ("pointer", "line"),
    [
        ("", 1),
        ("/scenario", 1),
        ("/vms", 2),
        ("/vms/0", 3),
        ("/vms/0/cpus", 4),
        ("/vms/1/key", 5),
        ("/vms/1/a~1b~0c", 6),
        ("/vms/1/absent/below", 5),
        ("/vms/7", 2),
        ("/vms/x", 2),
        ("/scenario/x", 1),
    ],
)
def test_a_pointer_leads_to_its_line_or_the_nearest_above(pointer: str, line: int) -> None:
    assert line_of(TEXT, pointer) == line


def test_a_text_that_cannot_be_read_has_no_lines() -> None:
    assert line_of("a: [", "/a") is None


def test_json_has_lines_too() -> None:
    assert line_of('{\n "a": [1,\n 2]}', "/a/1") == 3


def test_a_problem_is_reported_line_by_line() -> None:
    errors = [
        {"pointer": "/vms/0/cpus", "detail": "must be more"},
        {"pointer": "", "detail": "must be less"},
    ]

    assert explain("f", TEXT, errors) == [
        "f:4: /vms/0/cpus: must be more",
        "f:1: the document: must be less",
    ]
    assert explain("f", "a: [", errors[:1]) == ["f: /vms/0/cpus: must be more"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1e3}', 1000.0),
        ("a: 0x40000", 0x40000),
        ("a: 2026-11-24", "2026-11-24"),
        ("a: 1.5", 1.5),
        ("a: null", None),
        ("a: [true, 'on']", [True, "on"]),
        ("a: >\n  one\n  two", "one two"),
    ],
)
def test_values_are_those_of_json(text: str, value: object) -> None:
    assert parse(text) == {"a": value}


@pytest.mark.parametrize("text", ["", "7", '"text"', "[1]", "- 1"])
def test_a_document_is_an_object(text: str) -> None:
    with pytest.raises(BadDocumentError, match="must be an object"):
        parse(text)
