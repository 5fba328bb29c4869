"""`scripts/latency` measures every operation of the document."""

import json

from tests.contract.documented import Contract
from tests.latency.cases import DOCUMENT, cases_of, variants

OPERATIONS = {
    operation.operation_id
    for operation in Contract(json.loads(DOCUMENT.read_text(encoding="utf-8"))).operations
}


def test_every_operation_of_the_document_has_a_case() -> None:
    cases = cases_of(json.loads(DOCUMENT.read_text(encoding="utf-8")))

    assert {case.operation_id for case in cases} == OPERATIONS
    assert len({case.name for case in cases}) == len(cases)


def test_a_new_operation_gets_a_case_by_itself() -> None:
    document = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    limit = {"name": "limit", "in": "query", "schema": {"type": "integer"}}
    described = {"operationId": "list_cpus", "parameters": [limit], "responses": {}}

    (case,) = cases_of({**document, "paths": {"/v1/vms/{vm_id}/cpus": {"get": described}}})

    assert case.name == "list_cpus"


def test_no_variant_is_of_an_operation_that_does_not_exist() -> None:
    assert {case.operation_id for case in variants()} <= OPERATIONS
