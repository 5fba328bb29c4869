"""Two backends compared: what counts, what is left out and why, and what is a difference."""

from collections.abc import Mapping
from typing import Any

import pytest

from hacdbs_sim.model import BatchResult
from hacdbs_sim.scenarios.backends import BackendComparison, Side, compare_backends

GET = {"op": "get_dirty_log", "slot": 0}


def result(status: int, body: Mapping[str, Any] | None) -> BatchResult:
    return BatchResult(status=status, body=body)


def compared(
    mine: BatchResult, theirs: BatchResult, expect: Mapping[str, Any] | None = None
) -> BackendComparison:
    step = {"vm": "src", "action": GET, "expect": expect}
    known = Side("simulated", frozenset(), [mine])
    return compare_backends([step], known, Side("host_kvm", frozenset({"software"}), [theirs]))


def pointers(made: BackendComparison) -> list[str]:
    return [each.pointer for each in made.differences]


def test_values_of_both_are_compared_one_by_one() -> None:
    body = {"dirty_count": 3, "page_ranges": [[0, 2], [5, 1]], "nested": {"a": None}}

    made = compared(result(200, body), result(200, body))

    assert (made.differences, made.skipped) == ([], {})
    # The status, which is expected to be no refusal on each side, and the values of the body
    assert made.compared.total() == 1 + 2 + 6


@pytest.mark.parametrize(
    ("mine", "theirs", "pointer"),
    [
        (result(200, {"a": {"b": [1, 2]}}), result(200, {"a": {"b": [1, 3]}}), "/body/a/b/1"),
        (result(200, {"a": [1]}), result(200, {"a": [1, 2]}), "/body/a"),
        (result(200, {"a": 1}), result(200, {}), "/body/a"),
        (result(200, {}), result(200, {"a": 1}), "/body/a"),
        (result(200, {"a": 1}), result(200, {"a": None}), "/body/a"),
        (result(200, {"a": 1}), result(200, None), "/body"),
        (result(201, None), result(200, None), "/status"),
    ],
)
def test_each_value_that_differs_is_a_difference(
    mine: BatchResult, theirs: BatchResult, pointer: str
) -> None:
    assert pointers(compared(mine, theirs)) == [pointer]


def test_a_field_that_one_cannot_know_is_left_out_with_all_in_it() -> None:
    made = compared(
        result(200, {"software": {"ran": True, "pages": 7}, "a": 1}),
        result(200, {"software": None, "a": 1}),
        {"body": {"software": {"pages": 7}, "a": 1}},
    )

    assert made.differences == []
    assert made.skipped == {
        "software: host_kvm does not know it": 1,
        "expectation of software: host_kvm does not know it": 1,
    }


def test_a_field_that_one_does_not_know_is_a_difference_where_it_says_something() -> None:
    made = compared(result(200, {"software": 1}), result(200, {"software": 2}))

    assert pointers(made) == ["/body/software"]


def test_an_operation_that_one_does_not_support_is_left_out() -> None:
    refusal = result(409, {"code": "not_supported_by_backend", "status": 409})

    made = compared(result(200, {"a": 1}), refusal, {"body": {"a": 1}})

    assert (made.differences, made.compared.total()) == ([], 0)
    assert made.skipped == {"get_dirty_log: host_kvm does not support it": 1}


def test_of_refusals_the_kernels_part_is_compared() -> None:
    def refusal(errno: str, code: str) -> BatchResult:
        return result(409, {"status": 409, "errno": errno, "ioctl": "KVM_X", "code": code})

    same = compared(refusal("EINVAL", "one"), refusal("EINVAL", "other"), {"status": 409})
    other = compared(refusal("EINVAL", "one"), refusal("EEXIST", "one"), {"status": 409})

    assert (same.differences, list(same.skipped)) == (
        [],
        ["code of a refusal: the kernel's errno has no more than its name"],
    )
    assert pointers(other) == ["/body/errno"]


def test_what_a_vm_says_of_its_machine_is_left_out() -> None:
    made = compared(
        result(200, {"vm_id": "s1-1", "ipa_bits": 40}),
        result(200, {"vm_id": "s2-1", "ipa_bits": 33}),
    )

    assert made.differences == []
    assert sorted(made.skipped) == [
        "ipa_bits: says which VM or machine it is",
        "vm_id: says which VM or machine it is",
    ]


def test_what_both_return_and_nobody_expected_is_a_difference_of_each() -> None:
    played = result(200, {"dirty_count": 3})

    made = compared(played, played, {"status": 200, "body": {"dirty_count": 4}})

    assert [(each.pointer, each.found) for each in made.differences] == [
        ("/body/dirty_count", (4, 3)),
        ("/body/dirty_count", (4, 3)),
    ]
    assert made.differences[0].detail.startswith("simulated is not as expected")
    assert made.differences[1].detail.startswith("host_kvm is not as expected")


def test_a_refusal_that_nobody_expected_is_a_difference_of_each() -> None:
    played = result(404, {"status": 404, "errno": "ENOENT"})

    assert pointers(compared(played, played)) == ["/status", "/status"]
