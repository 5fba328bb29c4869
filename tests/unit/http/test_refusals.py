"""The refusals that an operation documents."""

from typing import Any

from app.http.refusals import CODES, refusals_of, responses_of
from hacdbs_sim.model import AddFault


def codes(path: str, **operation: Any) -> set[str]:
    return {problem.code for problem in refusals_of(path, operation)}


def test_every_operation_may_be_refused_for_host_origin_and_schema() -> None:
    assert codes("/livez", operationId="get_livez") == {
        *("bad_request", "host_not_allowed", "origin_not_allowed", "invalid_request"),
    }


def test_a_name_in_the_path_may_be_that_of_nothing() -> None:
    found = codes("/v1/vms/{vm_id}", operationId="get_vm")

    assert {"no_such_vm", "unauthorized"} <= found
    assert "malformed_body" not in found


def test_a_body_and_a_header_bring_theirs() -> None:
    found = codes(
        "/v1/vms/{vm_id}",
        operationId="update_vm",
        requestBody={},
        parameters=[{"name": "If-Match"}],
    )

    assert {"malformed_body", "unsupported_media_type", "precondition_failed"} <= found


def test_responses_list_the_codes_of_each_status() -> None:
    responses = responses_of("/v1/vms/{vm_id}", {"operationId": "get_vm"})

    assert list(responses) == sorted(responses)
    assert responses["404"][CODES] == ["no_such_vm"]
    assert responses["401"]["headers"]["WWW-Authenticate"]["required"] is True


def test_an_operation_refuses_what_the_model_and_the_service_say() -> None:
    found = codes("/v1/vms/{vm_id}/faults", operationId="add_fault")

    assert {refusal.code for refusal in AddFault.refusals} <= found
    assert "fault_limit" in found
