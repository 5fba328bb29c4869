"""Refusals as responses, with their site taken from the request."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request

from app.http.problems import UNSUPPORTED_MEDIA_TYPE, Refusal
from app.http.rendering import AnyRefusal, refusal_response, site_of, takes_body
from app.service.errors import NoSuchVmError, SetupRefusedError
from hacdbs_sim.model.errors import MemslotOverlapError

WITH_BODY = SimpleNamespace(operation_id="create_vm", openapi_extra={"requestBody": {}})
WITHOUT = SimpleNamespace(operation_id="get_dirty_log", openapi_extra=None)


def request(route: object, **path_params: Any) -> Request:
    return Request(
        {
            "type": "http",
            "path": "/v1/vms",
            "query_string": b"cpu=3",
            "headers": [],
            "path_params": path_params,
            "route": route,
        }
    )


def answered(asked: Request, refused: AnyRefusal) -> tuple[int, Any]:
    response = refusal_response(asked, refused)
    assert response.headers["content-type"] == "application/problem+json"
    return response.status_code, json.loads(bytes(response.body))


def test_a_site_is_what_the_route_and_the_url_say() -> None:
    site = site_of(request(WITHOUT, vm_id="default-1"))

    assert (site.ioctl, site.path) == ("KVM_GET_DIRTY_LOG", "/v1/vms")
    assert site.path_names == {"vm_id"}
    assert site.query_names == {"cpu"}
    assert not site.takes_body


@pytest.mark.parametrize(("route", "takes"), [(WITH_BODY, True), (WITHOUT, False), (None, False)])
def test_a_route_that_describes_a_body_takes_one(route: object, *, takes: bool) -> None:
    assert takes_body(route) is takes


def test_a_refusal_of_the_fleet_names_the_part_of_the_url() -> None:
    error = NoSuchVmError("there is no such VM", field="vm_id", value="none")

    status, problem = answered(request(WITHOUT, vm_id="none"), error)

    assert (status, problem["code"]) == (404, "no_such_vm")
    assert (problem["errors"][0]["in"], problem["errors"][0]["pointer"]) == ("path", "vm_id")


def test_a_part_of_a_new_vm_that_is_refused_is_named() -> None:
    cause = MemslotOverlapError("it overlaps slot 0", field="guest_phys_addr", value=0)

    status, problem = answered(request(WITH_BODY), SetupRefusedError("memslots", 1, cause))

    assert (status, problem["code"]) == (409, "memslot_overlap")
    assert problem["errors"][0]["pointer"] == "/memslots/1/guest_phys_addr"


def test_headers_of_a_refusal_are_sent() -> None:
    refusal = Refusal(UNSUPPORTED_MEDIA_TYPE, "not JSON", headers={"Accept-Post": "text/x"})

    response = refusal_response(request(WITH_BODY), refusal)

    assert (response.status_code, response.headers["accept-post"]) == (415, "text/x")
