"""Comparison of a response with its expected part, by JSON value."""

from typing import Any

import pytest

from hacdbs_sim.scenarios.matching import MAX_MISMATCHES, mismatches


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ({}, {"a": 1}),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}, "d": 3}),
        ({"a": None}, {"a": None}),
        ({"a": 1}, {"a": 1.0}),
        ({"a": [[0, 2], {"b": 1}]}, {"a": [(0, 2), {"b": 1, "c": 2}]}),
        ({"a": []}, {"a": []}),
        ({"a": {"$at_least": 1}}, {"a": 1}),
        ({"a": {"$at_most": 1.5}}, {"a": 1}),
        ({"a": True}, {"a": True}),
    ],
)
def test_a_part_of_an_answer_is_enough(expected: Any, found: Any) -> None:
    assert mismatches(expected, found) == []


@pytest.mark.parametrize(
    ("expected", "found", "pointer", "detail"),
    [
        ({"a": 1}, {"a": 2}, "/a", "must be what was expected"),
        ({"a": 1}, {"a": True}, "/a", "must be what was expected"),
        ({"a": False}, {"a": 0}, "/a", "must be what was expected"),
        ({"a": 1}, {"a": "1"}, "/a", "must be what was expected"),
        ({"a": None}, {}, "/a", "must be there"),
        ({"a": None}, {"a": 0}, "/a", "must be what was expected"),
        ({"a": {}}, {"a": None}, "/a", "must be an object"),
        ({"a": [1]}, {"a": [1, 2]}, "/a", "must be an array of 1, not of 2"),
        ({"a": [1]}, {"a": 1}, "/a", "must be an array of 1"),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, "/a/1/b", "must be what was expected"),
        ({"a/~": 1}, {}, "/a~1~0", "must be there"),
        ({"a": {"$at_least": 2}}, {"a": 1}, "/a", "must be at least 2"),
        ({"a": {"$at_most": 0}}, {"a": 1}, "/a", "must be at most 0"),
        ({"a": {"$at_most": 1}}, {"a": True}, "/a", "$at_most compares numbers"),
        ({"a": {"$at_least": "1"}}, {"a": 1}, "/a", "$at_least compares numbers"),
        ({"a": {"$at_least": 1, "$at_most": 2}}, {"a": 1}, "/a", "must be an object"),
    ],
)
def test_a_mismatch_is_reported_with_its_pointer(
    expected: Any, found: Any, pointer: str, detail: str
) -> None:
    (reported,) = mismatches(expected, found)

    assert (reported.pointer, reported.detail) == (pointer, detail)


def test_the_number_of_reported_mismatches_is_bounded() -> None:
    reported = mismatches({str(n): n for n in range(100)}, {})

    assert len(reported) == MAX_MISMATCHES
