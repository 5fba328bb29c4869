"""A route of ours: which bodies and parameters it refuses."""

import pytest
from starlette.responses import Response

from app.http.responses import JsonResponse
from app.http.routing import StrictRoute, resource_router
from hacdbs_sim.wire import InvalidRequestError
from tests.unit.http.requests import request_of

pytestmark = pytest.mark.anyio

router = resource_router("things")


@router.delete("/things/{name}")
async def delete(name: str, number: int = 7) -> Response:
    return JsonResponse({"name": name, "number": number})


def route() -> StrictRoute:
    (only,) = router.routes
    assert isinstance(only, StrictRoute)
    return only


async def test_a_route_is_called_with_its_parameters() -> None:
    request = request_of(path_params={"name": "a"}, query_string=b"number=8")

    answer = await route().get_route_handler()(request)

    assert answer.body == b'{"name":"a","number":8}'


@pytest.mark.parametrize("headers", [[("Content-Length", "2")], [("Transfer-Encoding", "chunked")]])
async def test_a_body_that_nobody_reads_is_refused(headers: list[tuple[str, str]]) -> None:
    request = request_of(*headers, body=b"{}", path_params={"name": "a"})

    with pytest.raises(InvalidRequestError) as refused:
        await route().get_route_handler()(request)

    assert refused.value.detail == "the body: the operation takes no body"


@pytest.mark.parametrize(
    "headers", [[], [("Content-Length", "0")], [("Transfer-Encoding", "chunked")]]
)
async def test_an_empty_body_is_none(headers: list[tuple[str, str]]) -> None:
    request = request_of(*headers, path_params={"name": "a"})

    assert (await route().get_route_handler()(request)).status_code == 200


async def test_every_parameter_that_is_refused_is_reported() -> None:
    router = resource_router("others")

    @router.get("/others/{number}")
    async def get(number: int, limit: int = 1) -> Response:
        raise AssertionError((number, limit))

    (only,) = router.routes
    assert isinstance(only, StrictRoute)
    request = request_of(path_params={"number": "x"}, query_string=b"limit=y")

    with pytest.raises(InvalidRequestError) as refused:
        await only.get_route_handler()(request)

    assert [(e.in_, e.pointer) for e in refused.value.errors] == [
        ("path", "number"),
        ("query", "limit"),
    ]
