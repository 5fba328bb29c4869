"""Problem documents: what is shown of a request, and where in it the fault is."""

import json
from typing import Any

import pytest

from app.http.problems import (
    INVALID_REQUEST,
    MAX_ERRORS,
    MAX_EXACT,
    MAX_VALUE_CHARS,
    PROBLEMS,
    UNAUTHORIZED,
    Refusal,
    Site,
    document,
    error_at,
    kvm_document,
    refusal_document,
    shown,
)
from hacdbs_sim.sim.base.errors import NoDirtyLogError

BATCH = Site("/v1/vms/default-1/batch", "run_batch", body_pointer="/actions/3")
SLOT = Site(
    "/v1/vms/default-1/memslots/0/dirty-log/get",
    "get_dirty_log",
    path_names=frozenset({"vm_id", "slot"}),
    query_names=frozenset({"cpu"}),
    takes_body=False,
)


@pytest.mark.parametrize("value", [None, True, 0, MAX_EXACT, -MAX_EXACT, 1.5, "short"])
def test_what_is_short_and_exact_is_shown_as_it_is(value: object) -> None:
    assert shown(value) == value
    assert type(shown(value)) is type(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (MAX_EXACT + 1, str(MAX_EXACT + 1)),
        (1 << 300, "a longer integer"),
        (float("inf"), "inf"),
        ({"a": 1}, "an object"),
        ([1], "an array"),
        ("x" * 1000, "x" * MAX_VALUE_CHARS),
        ("\ud800", "?"),
    ],
)
def test_another_is_shown_as_text_that_json_can_hold(value: object, text: str) -> None:
    assert shown(value) == text
    assert json.dumps(shown(value), allow_nan=False).isascii()


@pytest.mark.parametrize(
    ("site", "name", "place"),
    [
        (SLOT, "slot", ("path", "slot")),
        (SLOT, "cpu", ("query", "cpu")),
        (SLOT, "format", ("query", "format")),
        (BATCH, "slot", ("body", "/actions/3/slot")),
        (BATCH, "when.gfn", ("body", "/actions/3/when/gfn")),
        (Site("/v1/vms"), "memslots.0.flags", ("body", "/memslots/0/flags")),
        (Site("/v1/vms"), "Idempotency-Key", ("header", "Idempotency-Key")),
    ],
)
def test_a_fault_is_placed_where_it_was_given(
    site: Site, name: str, place: tuple[str, str]
) -> None:
    assert site.place(name) == place


def test_a_document_names_its_type_and_where_it_happened() -> None:
    out: Any = document(UNAUTHORIZED, "no token", "/v1/vms/\xe4 b")

    assert out == {
        "type": "/problems/unauthorized",
        "title": "Unauthorized",
        "status": 401,
        "detail": "no token",
        "instance": "/v1/vms/%C3%A4%20b",
        "code": "unauthorized",
    }


def test_no_more_errors_are_listed_than_one_reads() -> None:
    errors = [error_at("body", f"/{number}", "wrong") for number in range(MAX_ERRORS + 1)]

    out = document(INVALID_REQUEST, "wrong", "/v1/vms", errors)

    assert out["errors"] == errors[:MAX_ERRORS]


def test_a_refusal_of_the_core_says_what_the_ioctl_would() -> None:
    error = NoDirtyLogError("slot 0 keeps no log", field="slot", value=0)

    of_ioctl: Any = kvm_document(error, SLOT)
    of_another: Any = kvm_document(error, BATCH)

    assert (of_ioctl["status"], of_ioctl["code"]) == (404, "no_dirty_log")
    assert (of_ioctl["errno"], of_ioctl["ioctl"]) == ("ENOENT", "KVM_GET_DIRTY_LOG")
    assert (of_ioctl["errors"][0]["in"], of_ioctl["errors"][0]["pointer"]) == ("path", "slot")
    assert of_another["errors"][0]["pointer"] == "/actions/3/slot"
    assert "ioctl" not in of_another


def test_what_the_schema_of_an_ioctl_refuses_is_einval() -> None:
    out: Any = refusal_document(Refusal(INVALID_REQUEST, "slot: not a number"), SLOT)

    assert (out["errno"], out["ioctl"]) == ("EINVAL", "KVM_GET_DIRTY_LOG")
    assert "errno" not in refusal_document(Refusal(UNAUTHORIZED, "no token"), SLOT)


def test_each_code_names_one_kind_of_refusal() -> None:
    assert all(code == problem.code for code, problem in PROBLEMS.items())
    assert all(400 <= problem.status < 600 for problem in PROBLEMS.values())
    assert all(problem.title and problem.meaning for problem in PROBLEMS.values())
