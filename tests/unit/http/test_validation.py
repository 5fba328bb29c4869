"""What pydantic refuses, as places in the request."""

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.http.problems import INVALID_REQUEST, MAX_ERRORS
from app.http.validation import MAX_DETAILED, body_errors, invalid_request, parameter_errors


class _Small(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Literal["small"]
    count: Annotated[int, Field(ge=1)] = 1


class _Large(BaseModel):
    kind: Literal["large"]


class _Body(BaseModel):
    items: list[Annotated[_Small | _Large, Field(discriminator="kind")]]
    numbers: dict[str, int] = {}


def refused(body: object) -> ValidationError:
    with pytest.raises(ValidationError) as error:
        _Body.model_validate(body)
    return error.value


def test_the_tag_of_a_union_is_not_part_of_the_place() -> None:
    (error,) = body_errors(
        refused({"items": [{"kind": "small", "count": 0}]}), frozenset({"small", "large"})
    )

    assert (error["in"], error["pointer"]) == ("body", "/items/0/count")
    assert (error["bound"], error["value"]) == (1, 0)


def test_a_field_named_like_a_tag_is() -> None:
    (error,) = body_errors(
        refused({"items": [{"kind": "small", "large": 1}]}), frozenset({"small", "large"})
    )

    assert error["pointer"] == "/items/0/large"


def test_a_name_with_a_slash_is_escaped() -> None:
    (error,) = body_errors(refused({"items": [], "numbers": {"a/b~c": "x"}}))

    assert error["pointer"] == "/numbers/a~1b~0c"


def test_what_is_missing_has_no_value() -> None:
    (error,) = body_errors(refused({"numbers": {}}))

    assert (error["pointer"], error["value"]) == ("/items", None)


def test_a_piece_of_a_list_is_counted_from_the_lists_start() -> None:
    class Piece(BaseModel):
        root: int

    with pytest.raises(ValidationError) as error:
        Piece.model_validate({"root": "x"})
    lines = error.value.errors()
    numbered = ValidationError.from_exception_data(
        "piece", [{"type": "int_parsing", "loc": (2,), "input": "x"} for _ in lines]
    )

    (found,) = body_errors(numbered, within=("gfns", 100))

    assert found["pointer"] == "/gfns/102"


def test_many_faults_are_counted_and_not_described() -> None:
    many = {"items": [], "numbers": {str(number): "x" for number in range(MAX_DETAILED + 1)}}
    (error,) = body_errors(refused(many))
    some = {"items": [], "numbers": {str(number): "x" for number in range(MAX_ERRORS + 5)}}

    assert error["detail"] == f"the body breaks the schema in {MAX_DETAILED + 1} places"
    assert len(body_errors(refused(some))) == MAX_ERRORS


def test_a_parameter_is_named_with_its_place() -> None:
    details = {
        "type": "less_than_equal",
        "loc": ("query", "limit"),
        "msg": "too many",
        "input": "5000",
        "ctx": {"le": 1000},
    }

    (error,) = parameter_errors([details])

    assert (error["in"], error["pointer"]) == ("query", "limit")
    assert (error["bound"], error["value"]) == (1000, "5000")


def test_the_first_fault_is_the_detail() -> None:
    refusal = invalid_request(body_errors(refused({"numbers": {"a": "x"}})))

    assert refusal.problem is INVALID_REQUEST
    assert refusal.detail.startswith("/items: ")
    assert len(refusal.errors) == 2
