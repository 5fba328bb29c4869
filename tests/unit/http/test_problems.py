"""Problem documents: which kinds there are, and where in a request the fault is."""

from typing import Any

import pytest

from app.http.problems import (
    UNAUTHORIZED,
    Refusal,
    all_problems,
    plain_document,
    refusal_document,
)
from hacdbs_sim.model import ACTIONS
from hacdbs_sim.model.errors import NoDirtyLogError
from hacdbs_sim.wire import InvalidRequestError, Site, document, error_at, to_plain
from hacdbs_sim.wire.errors import MAX_ERRORS

BATCH = Site("/v1/vms/default-1/batch", body_pointer="/actions/3")
SLOT = Site(
    "/v1/vms/default-1/memslots/0/dirty-log/get",
    ioctl="KVM_GET_DIRTY_LOG",
    path_names=frozenset({"vm_id", "slot"}),
    query_names=frozenset({"cpu"}),
    takes_body=False,
)
VMS = Site("/v1/vms", header_names=frozenset({"Idempotency-Key"}))


@pytest.mark.parametrize(
    ("site", "name", "place"),
    [
        (SLOT, "slot", ("path", "slot")),
        (SLOT, "cpu", ("query", "cpu")),
        (SLOT, "format", ("query", "format")),
        (BATCH, "slot", ("body", "/actions/3/slot")),
        (BATCH, "when.gfn", ("body", "/actions/3/when/gfn")),
        (VMS, "memslots.0.flags", ("body", "/memslots/0/flags")),
        (VMS, "Idempotency-Key", ("header", "Idempotency-Key")),
    ],
)
def test_a_fault_is_placed_where_it_was_given(
    site: Site, name: str, place: tuple[str, str]
) -> None:
    assert site.place(name) == place


def test_a_document_names_its_type_and_where_it_happened() -> None:
    out = plain_document(UNAUTHORIZED, "no token", "/v1/vms/\xe4 b")

    assert to_plain(out) == {
        "type": "/problems/unauthorized",
        "title": "Unauthorized",
        "status": 401,
        "detail": "no token",
        "instance": "/v1/vms/%C3%A4%20b",
        "code": "unauthorized",
    }


def test_no_more_errors_are_listed_than_one_reads() -> None:
    errors = tuple(error_at("body", f"/{number}", "wrong") for number in range(MAX_ERRORS + 1))

    of_wire = document(InvalidRequestError(errors), VMS)
    of_http = refusal_document(Refusal(UNAUTHORIZED, "wrong", errors), VMS)

    assert of_wire.errors == of_http.errors == errors[:MAX_ERRORS]


def test_a_refusal_of_the_core_says_what_the_ioctl_would() -> None:
    error = NoDirtyLogError("slot 0 keeps no log", field="slot", value=0)

    of_ioctl: Any = to_plain(document(error, SLOT))
    of_another: Any = to_plain(document(error, BATCH))

    assert (of_ioctl["status"], of_ioctl["code"]) == (404, "no_dirty_log")
    assert (of_ioctl["errno"], of_ioctl["ioctl"]) == ("ENOENT", "KVM_GET_DIRTY_LOG")
    assert (of_ioctl["errors"][0]["in"], of_ioctl["errors"][0]["pointer"]) == ("path", "slot")
    assert of_another["errors"][0]["pointer"] == "/actions/3/slot"
    assert "ioctl" not in of_another


def test_what_the_schema_of_an_ioctl_refuses_is_einval() -> None:
    refused = InvalidRequestError((error_at("path", "slot", "not a number"),))

    out = to_plain(document(refused, SLOT))

    assert (out["errno"], out["ioctl"]) == ("EINVAL", "KVM_GET_DIRTY_LOG")
    assert "errno" not in to_plain(refusal_document(Refusal(UNAUTHORIZED, "no token"), SLOT))


def test_each_code_names_one_kind_of_refusal() -> None:
    problems = all_problems()

    assert all(code == problem.code for code, problem in problems.items())
    assert all(400 <= problem.status < 600 for problem in problems.values())
    assert all(problem.title and problem.meaning for problem in problems.values())


def test_what_an_action_declares_is_among_the_kinds() -> None:
    declared = {refusal.code for action in ACTIONS for refusal in action.refusals}

    assert declared <= all_problems().keys()
    assert declared >= {"no_dirty_log", "memslot_overlap", "senseless_fault", "too_many_writes"}
