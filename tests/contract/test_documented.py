"""The judge of answers finds what is wrong with one."""

import json
from typing import Any

import pytest

from tests.contract.documented import BrokenPromiseError, Contract
from tests.contract.test_openapi import COMMITTED

CONTRACT = Contract(json.loads(COMMITTED.read_text()))
PROBLEM = {
    "type": "/problems/no_such_vm",
    "title": "No such VM",
    "status": 404,
    "detail": "there is none",
    "instance": "/v1/vms/x",
    "code": "no_such_vm",
}
OF_ALL = {"hacdbs-instance": "0123456789abcdef"}
PROBLEM_TYPE = {"content-type": "application/problem+json", **OF_ALL}
JSON_TYPE = {"content-type": "application/json; charset=utf-8", **OF_ALL}
SESSION = {"session_id": "x", "vm_count": 0}


def judge(method: str, path: str, status: int, headers: dict[str, str], body: Any) -> str | None:
    met = CONTRACT.judge(method, path, status, headers, json.dumps(body).encode())
    return None if met is None else met.operation_id


def test_a_documented_response_passes() -> None:
    assert judge("GET", "/v1/vms/x", 404, PROBLEM_TYPE, PROBLEM) == "get_vm"
    assert judge("GET", "/v1/vms/%2F", 404, PROBLEM_TYPE, PROBLEM) == "get_vm"
    assert judge("GET", "/livez", 200, JSON_TYPE, {"status": "ok"}) == "get_livez"
    assert judge("BREW", "/livez", 405, PROBLEM_TYPE, PROBLEM) is None


@pytest.mark.parametrize(
    ("method", "path", "status", "headers", "body", "why"),
    [
        ("GET", "/livez", 500, JSON_TYPE, {}, "500, which is not documented"),
        ("GET", "/livez", 404, PROBLEM_TYPE, PROBLEM, "404, which is not documented"),
        ("GET", "/livez", 200, {"content-type": "text/plain"}, {}, "as 'text/plain'"),
        ("GET", "/livez", 200, {}, {}, "as ''"),
        ("GET", "/livez", 200, JSON_TYPE, {"status": "ok", "more": 1}, "Additional properties"),
        ("POST", "/v1/sessions", 201, JSON_TYPE, SESSION, "without Location"),
        ("GET", "/v1/vms/x", 404, PROBLEM_TYPE, {**PROBLEM, "code": "no_such_cpu"}, "no_such_cpu"),
        ("GET", "/v1/vms/x", 404, PROBLEM_TYPE, {"code": "no_such_vm"}, "is a required property"),
    ],
)
def test_an_undocumented_response_is_found(  # noqa: PLR0917 - a row of the table
    method: str, path: str, status: int, headers: dict[str, str], body: Any, why: str
) -> None:
    with pytest.raises(BrokenPromiseError, match=why):
        judge(method, path, status, headers, body)
