"""Documents in JSON or YAML, and their lines."""

import orjson
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hacdbs_sim.scenarios.reading import explain, parse
from hacdbs_sim.scenarios.yaml_nodes import MAX_CHARS, BadDocumentError, dump

TEXT = """\
scenario: one
vms:
  - key: src
    cpus: 0
  - {key: dst,
     "a/b~c": 1}
"""


def place_of(text: str, pointer: str) -> str:
    """Return the file and line that a problem at a pointer is reported with."""
    (line,) = explain("x.yaml", text, [{"pointer": pointer, "detail": "wrong"}])
    return line.removesuffix(f": {pointer or 'the document'}: wrong")


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
    assert place_of(TEXT, pointer) == f"x.yaml:{line}"


def test_a_text_that_cannot_be_read_has_no_lines() -> None:
    assert place_of("a: [", "/a") == "x.yaml"


def test_json_has_lines_too() -> None:
    assert place_of('{\n "a": [1,\n 2]}', "/a/1") == "x.yaml:3"


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
        ("a: 1e3", 1000.0),
        ("a: 1.0e+3", 1000.0),
        ("a: .5", 0.5),
        ("a: -7", -7),
        ("a: +7", 7),
        ("a: -0x10", -16),
        ("a: 0", 0),
        ("a: 18446744073709551615", (1 << 64) - 1),
        ("a: -9223372036854775808", -(1 << 63)),
        ("a: '010'", "010"),
        ("a: !!str 010", "010"),
        ("a: 1.2.3", "1.2.3"),
        ("a: 10:00:00:aa", "10:00:00:aa"),
        ("a: 0x", "0x"),
        ("a: yesterday", "yesterday"),
        ("a: y", "y"),
        ("a: ~", None),
        ("a:", None),
        ("a: TRUE", True),
        ("a: <<", "<<"),
        ("a: &x 1", 1),
        ("--- \na: 1\n...\n", 1),
        ("a: {b: [1, {c: d}], e: ''}", {"b": [1, {"c": "d"}], "e": ""}),
    ],
)
def test_values_are_those_of_json(text: str, value: object) -> None:
    assert parse(text) == {"a": value}


@pytest.mark.parametrize("text", ["7", '"text"', "[1]", "- 1"])
def test_a_document_is_an_object(text: str) -> None:
    with pytest.raises(BadDocumentError, match="must be an object"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("a: 010", 1, "'010' is read in two ways by YAML 1.1 and 1.2"),
        ("a: 08", 1, "'08' is read in two ways"),
        ("a: -00", 1, "'-00' is read in two ways"),
        ("a: 0o10", 1, "'0o10' is read in two ways"),
        ("a: 0b101", 1, "'0b101' is read in two ways"),
        ("a: 1_000", 1, "'1_000' is read in two ways"),
        ("a: 0x1_0", 1, "'0x1_0' is read in two ways"),
        ("a: 1:30", 1, "'1:30' is read in two ways"),
        ("a: 1:30.5", 1, "'1:30.5' is read in two ways"),
        *(
            (f"a: {word}", 1, f"'{word}' is read in two ways")
            for word in ("yes", "No", "on", "OFF")
        ),
        ("on: 1", 1, "a field's name must be text, not 'on'"),
        ("010: 1", 1, "a field's name must be text, not '010'"),
        ("a: 1\n~: 1", 2, "a field's name must be text, not '~'"),
        ("? ''\n? a\n? ", 3, "a field's name must be text, not ''"),
        ("a:\n  - b: 1\n    b: 1", 3, "the field 'b' is there twice"),
        ("a: 1\n'a': 1", 2, "the field 'a' is there twice"),
        ("a: 18446744073709551616", 1, "18446744073709551616 is an integer beyond 64 bits"),
        ("a: -9223372036854775809", 1, "is an integer beyond 64 bits"),
        ("a: 0x10000000000000000", 1, "is an integer beyond 64 bits"),
        ("a: " + "9" * 5000, 1, "is an integer beyond 64 bits"),
        ("a: 1.0e+400", 1, "1.0e+400 is beyond the numbers of JSON"),
        ("a: -1e999", 1, "-1e999 is beyond the numbers of JSON"),
        ("a: " + "9" * 400 + ".0", 1, "is beyond the numbers of JSON"),
        ("a: .NaN", 1, ".NaN is no number of JSON"),
        ("a: -.inf", 1, "-.inf is no number of JSON"),
        ("a: !!int '5'", 1, "the tag tag:yaml.org,2002:int is not read here"),
        ("a: !!set {b}", 1, "the tag tag:yaml.org,2002:set is not read here"),
        ("a: !!omap [b: 1]", 1, "the tag tag:yaml.org,2002:omap is not read here"),
        ("!!int a: 1", 1, "the tag tag:yaml.org,2002:int is not read here"),
        ("a: *b", 1, "an alias (*name) is not read here"),
        ("*b : a", 1, "an alias (*name) is not read here"),
        ("a: 1\n---\nb: 1", 2, "must be one document, and another begins here"),
        ("a:\n\tb: 1", 2, "cannot be read: found character that cannot start any token"),
        ('a: "\\ud800"', 1, "cannot be read: "),
        ("a: \x00", 1, "cannot be read: "),
        ("", 1, "the file is empty"),
        ("# nothing", 1, "the file is empty"),
    ],
    ids=lambda value: f"{value[:24]}{len(value)}" if isinstance(value, str) else "",
)
def test_what_json_cannot_express_or_versions_read_otherwise_is_refused(
    text: str, line: int, what: str
) -> None:
    with pytest.raises(BadDocumentError) as refused:
        parse(text)

    assert what in str(refused.value)
    assert refused.value.line == line


LONG = 1 << 19
BOMBS = {
    "aliases": "a: &a [x]\n" + "".join(f"{n}: &{n} [*{n}, *{n}]\n" for n in "bcdefghijk"),
    "deep flow": "a: " + "[" * LONG,
    "deep flow of objects": "a: " + "{b: " * (LONG // 4),
    "deep blocks": "".join(" " * n + "a:\n" for n in range(900)),
    "dashes": "a:\n  " + "- " * LONG,
    "questions": "? " * LONG,
    "a list": "a:\n" + " - 1\n" * (LONG // 3),
    "a flow list": "a: [" + "1," * (LONG - 8) + "]",
    "fields": "".join(f"{n:05d}a: 1\n" for n in range(100_100)),
    "flow fields": "a: {" + "".join(f"f{n}: 1," for n in range(101_000)) + "}",
    "a long integer": "a: " + "1" * LONG,
    "sexagesimal": "a: 1" + ":1" * LONG,
    "tags": "a: " + "!!str " * (LONG // 6),
    "directives": "%TAG !a! b:c\n" * (LONG // 13) + "---\na: 1",
    "too long": "a: " + "x" * (2 * LONG),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_document_that_would_take_long_is_refused_soon(name: str) -> None:
    with pytest.raises(BadDocumentError):
        parse(BOMBS[name])


def test_long_scalars_and_comments_are_read() -> None:
    assert parse("#" * LONG + "\na: " + "x " * (LONG // 4) + "x")["a"].startswith("x x ")
    assert len(parse("a: |\n" + " x\n" * (LONG // 4))["a"]) == LONG // 2


def test_json_may_be_longer_than_yaml() -> None:
    text = '{"a": [' + "1," * MAX_CHARS + "1]}"

    assert len(parse(text)["a"]) == MAX_CHARS + 1
    with pytest.raises(BadDocumentError, match="longer than YAML may be, and no JSON: unexpected"):
        parse(text[:-1])


@given(st.text(alphabet="ab01.:-_+exX[]{}#&*!|>'\"%@`?, \n", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    line = 1
    try:
        value = parse(text)
    except BadDocumentError as refused:
        line = refused.line
    else:
        assert parse(orjson.dumps(value).decode()) == value
    assert 1 <= line <= text.count("\n") + 1


@given(
    st.dictionaries(
        st.text(max_size=4),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers(-(1 << 63), (1 << 64) - 1)
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(max_size=6),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.text(max_size=4), inner, max_size=3)
            ),
            max_leaves=8,
        ),
        max_size=4,
    )
)
def test_what_is_written_is_read_as_it_was(value: dict[str, object]) -> None:
    assert parse(dump(value)) == value


@pytest.mark.parametrize(
    "text", ["1e3", "08", "010", "0o10", "on", "no", "", "~", "<<", "1_0", ".inf"]
)
def test_a_text_that_looks_like_something_else_is_written_quoted(text: str) -> None:
    value = {"a": text, "b": [text], f"{text}x": text}

    assert parse(dump(value)) == value
    assert yaml.safe_load(dump(value)) == value
