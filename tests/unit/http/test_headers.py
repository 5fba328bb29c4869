"""The headers of operations in the OpenAPI document."""

from typing import Any

import pytest

from app.http.headers import describe_headers


def described(method: str, operation_id: str) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": operation_id,
        "responses": {"200": {"description": "Done."}, "404": {"description": "Not there."}},
    }
    describe_headers(method, operation)
    return operation


def names(operation: dict[str, Any]) -> list[str]:
    return [each["name"] for each in operation.get("parameters", [])]


@pytest.mark.parametrize(
    ("method", "operation_id", "read", "answered"),
    [
        ("post", "guest_write", ["Idempotency-Key"], ["Idempotent-Replayed"]),
        ("post", "create_vm", ["Idempotency-Key"], ["ETag", "Idempotent-Replayed"]),
        ("patch", "update_vm", ["If-Match"], ["ETag"]),
        ("put", "set_memslot", ["If-Match", "If-None-Match"], ["ETag"]),
        ("delete", "delete_vm", ["If-Match"], []),
        ("get", "list_events", ["Last-Event-ID"], []),
        ("get", "list_vms", [], []),
    ],
)
def test_an_operation_has_its_headers(
    method: str, operation_id: str, read: list[str], answered: list[str]
) -> None:
    operation = described(method, operation_id)

    assert names(operation) == read
    assert sorted(operation["responses"]["200"].get("headers", {})) == answered


def test_a_refusal_has_none_of_them() -> None:
    assert "headers" not in described("post", "create_vm")["responses"]["404"]


def test_parameters_that_are_there_stay() -> None:
    operation = {
        "operationId": "delete_vm",
        "parameters": [{"name": "vm_id", "in": "path"}],
        "responses": {},
    }

    describe_headers("delete", operation)

    assert names(operation) == ["vm_id", "If-Match"]
