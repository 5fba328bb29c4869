"""Refusals: each kind has its row, its section and its document, and changes nothing."""

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import cast

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.types import Message, Scope

from app.http.problems import all_problems
from app.http.routes.vms import VM_BYTES
from app.main import create_app
from app.settings import LogFormat, Settings
from hacdbs_sim.model import AddFault, Batch, CreateVm, GuestWrite
from hacdbs_sim.model.errors import KvmError
from hacdbs_sim.wire import body_class, reader_of
from hacdbs_sim.wire.problems import type_of

pytestmark = pytest.mark.anyio

ERRORS = Path(__file__).parents[2] / "docs" / "errors.md"
Connect = Callable[[FastAPI], httpx.AsyncClient]
JSON = {"content-type": "application/json"}


def leaves(error: type[KvmError]) -> Iterator[type[KvmError]]:
    inner = error.__subclasses__()
    if not inner:
        yield error
    for kind in inner:
        yield from leaves(kind)


def test_every_refusal_of_the_core_and_service_has_a_code_of_its_own() -> None:
    refusals = list(leaves(KvmError))

    assert len({refusal.code for refusal in refusals}) == len(refusals)
    assert {type_of(refusal) for refusal in refusals} <= set(all_problems().values())


def test_every_problem_has_its_section_in_the_documentation() -> None:
    sections = re.findall(r"^## (\w+)\n\nStatus (\d+)", ERRORS.read_text(), re.MULTILINE)

    assert {code: int(status) for code, status in sections} == {
        code: problem.status for code, problem in all_problems().items()
    }


async def test_every_problem_has_an_explanation(client: httpx.AsyncClient) -> None:
    for code, problem in all_problems().items():
        answer = await client.get(f"/problems/{code}")

        assert answer.json()["status"] == problem.status
        assert answer.json()["meaning"]


MALFORMED = [
    b"",
    b"{",
    b"nope",
    b'{"gfns": [NaN]}',
    b'{"gfns": [Infinity]}',
    b"\xff\xfe{}",
    b'{"x": "\\ud800"}',
    b"[" * 100_000,
    b'{"gfns": ' + b"9" * 5000 + b"}",
]


@pytest.mark.parametrize("body", MALFORMED)
async def test_malformed_json_and_schema_errors_have_different_codes(
    client: httpx.AsyncClient, vm: str, body: bytes
) -> None:
    answer = await client.post(f"{vm}/guest/write", content=body, headers=JSON)

    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_body")


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/jsonx", ""])
async def test_a_wrong_or_missing_media_type_is_415_with_those_accepted(
    client: httpx.AsyncClient, vm: str, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"content-type": content_type}

    answer = await client.post(f"{vm}/guest/write", content=b"{}", headers=headers)

    assert answer.status_code == 415
    assert answer.headers["accept-post"] == "application/json, application/octet-stream"


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit_is_413_also_in_chunks(
    connect: Connect, *, chunked: bool
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b" " * 10

    async with connect(create_app(Settings(max_body_bytes=100))) as client:
        body = chunks() if chunked else b" " * 110

        answer = await client.post("/v1/vms", content=body, headers=JSON)

        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/v1/vms", "GET, POST"),
        ("/v1/vms/x", "DELETE, GET, PATCH"),
        ("/v1/vms/x/memslots/0", "DELETE, GET, PUT"),
        ("/v1/vms/x/faults", "DELETE, GET, POST"),
        ("/docs", "GET"),
    ],
)
async def test_a_wrong_method_is_405_with_every_method_of_the_path(
    client: httpx.AsyncClient, path: str, allow: str
) -> None:
    answer = await client.request("TRACE", path)

    assert (answer.status_code, answer.headers["allow"]) == (405, allow)
    assert answer.json()["code"] == "method_not_allowed"


async def test_values_are_shown_short_and_never_break_the_answer(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/vms?limit=" + "%ED%A0%80" * 100)

    (error,) = answer.json()["errors"]
    assert answer.status_code == 422
    assert len(error["value"]) == 64


async def test_many_wrong_elements_are_refused_by_the_first(
    client: httpx.AsyncClient, vm: str
) -> None:
    answer = await client.post(f"{vm}/guest/write", json={"gfns": [-1] * 100_000})

    assert [error["pointer"] for error in answer.json()["errors"]] == ["/gfns/0"]


MANY = 100_000
FEW = 5_000


@pytest.mark.parametrize(
    ("method", "path", "body", "pointer"),
    [
        ("POST", "/v1/vms", {"memslots": [1] * MANY}, "/memslots/0"),
        ("POST", "/v1/vms", {"faults": [1] * MANY}, "/faults/0"),
        ("PUT", "/v1/vms/default-1/memslots/1", {"flags": [1] * MANY}, "/flags/0"),
        ("POST", "/v1/vms/default-1/batch", {"actions": [1] * MANY}, "/actions/0"),
        ("POST", "/v1/vms/default-1/host/write", {"gfn_ranges": [1] * MANY}, "/gfn_ranges/0"),
    ],
)
async def test_lists_of_junk_are_refused_by_their_first_element(
    client: httpx.AsyncClient, *, vm: str, method: str, path: str, body: object, pointer: str
) -> None:
    assert vm == "/v1/vms/default-1"
    fields = {"guest_phys_addr": 0, "memory_size": 4096} if method == "PUT" else {}

    answer = await client.request(method, path, json=fields | cast("dict[str, object]", body))

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


@pytest.mark.parametrize(
    ("path", "count", "bound"),
    [
        ("/v1/vms", FEW, 0),
        ("/v1/vms/default-1/batch", FEW, 0),
        (
            "/v1/vms/default-1/guest/write",
            MANY,
            body_class(GuestWrite, without=frozenset({"vcpu"})).max_colons,
        ),
        ("/v1/vms", 4 * MANY, reader_of(CreateVm).max_colons),
        ("/v1/vms/default-1/batch", 4 * MANY, reader_of(Batch).max_colons),
        ("/v1/vms/default-1/faults", MANY, reader_of(AddFault).max_colons),
    ],
)
async def test_many_unknown_fields_are_counted_and_not_described_one_by_one(
    client: httpx.AsyncClient, vm: str, path: str, count: int, bound: int
) -> None:
    assert vm == "/v1/vms/default-1"

    answer = await client.post(path, json={f"{n:x}": 1 for n in range(count)})

    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["pointer"], error["bound"]) == (422, "", bound)
    assert error["value"] in {count, count + 1}  # the batch's own field is missing as well


@pytest.mark.parametrize(
    ("path", "bound"),
    [("/v1/sessions", 1 << 20), ("/v1/vms/default-1/faults", 1 << 20), ("/v1/vms", 8 << 20)],
)
async def test_a_body_without_pages_is_as_long_as_it_could_need_to_be(
    client: httpx.AsyncClient, vm: str, path: str, bound: int
) -> None:
    assert vm == "/v1/vms/default-1"

    answer = await client.post(path, content=b" " * (bound + 1), headers=JSON)

    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert answer.json()["errors"][0]["bound"] == bound


def test_a_vm_with_every_slot_there_may_be_fits_its_bounds() -> None:
    slot = {
        "slot": 32_766,
        "guest_phys_addr": "0xffffffffff000",
        "memory_size": 1 << 52,
        "userspace_addr": "0xffffffffff000",
        "flags": ["LOG_DIRTY_PAGES", "READONLY"],
        "backing": 1 << 30,
    }
    when = {"op": "get", "slot": 32_766, "cpu": 511, "batch": 1 << 50, "index": 1 << 50}
    fault = {"type": "ipaf", "enabled": True, "probability": 0.1, "after": 1, "every": 1}
    whole = {
        "name": ":" * 128,
        "memslots": [slot] * 32_767,
        "faults": [fault | {"when": when}] * 1000,
    }
    body = json.dumps(whole).encode()

    read = reader_of(CreateVm)(body)

    assert len(body) <= VM_BYTES
    assert (len(read.memslots), len(read.faults)) == (32_767, 1_000)


async def test_a_vm_is_made_whole_or_not_at_all(client: httpx.AsyncClient) -> None:
    slots = [{"slot": n, "guest_phys_addr": 0, "memory_size": 4096} for n in range(2)]

    answer = await client.post("/v1/vms", json={"memslots": slots})

    assert (answer.status_code, answer.json()["code"]) == (409, "memslot_overlap")
    assert answer.json()["errors"][0]["pointer"] == "/memslots/1/guest_phys_addr"
    assert (await client.get("/v1/vms")).json()["vms"] == []
    assert "hacdbs_state_bytes 0.0" in (await client.get("/metrics")).text


class TestToken:
    settings = Settings(token=SecretStr("s3cret"), log_format=LogFormat.JSON)

    @pytest.mark.parametrize("given", [None, "Bearer wrong", "Basic s3cret", "s3cret", "Bearer é"])
    async def test_is_asked_for(self, connect: Connect, given: str | None) -> None:
        headers = {} if given is None else {"authorization": given.encode()}
        async with connect(create_app(self.settings)) as client:
            answer = await client.get("/v1/vms", headers=headers)  # type: ignore[arg-type]

        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
        assert answer.headers["www-authenticate"].startswith("Bearer")

    async def test_lets_in_and_is_never_logged(
        self, connect: Connect, capsys: pytest.CaptureFixture[str]
    ) -> None:
        async with connect(create_app(self.settings)) as client:
            answer = await client.get("/v1/vms", headers={"authorization": "Bearer s3cret"})

        assert answer.status_code == 200
        assert "s3cret" not in "".join(capsys.readouterr())

    @pytest.mark.parametrize("path", ["/", "/livez", "/readyz"])
    async def test_is_not_asked_for_health(self, connect: Connect, path: str) -> None:
        async with connect(create_app(self.settings)) as client:
            assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("127.0.0.1", 200),
        ("[::1]:80", 200),
        ("LOCALHOST", 200),
        ("evil.example", 400),
        ("", 400),
    ],
)
async def test_only_allowed_hosts_are_answered(
    client: httpx.AsyncClient, host: str, status: int
) -> None:
    answer = await client.get("/version", headers={"host": host})

    assert answer.status_code == status


async def test_a_client_that_disconnects_is_not_a_defect(
    connect: Connect, capsys: pytest.CaptureFixture[str]
) -> None:
    app = create_app(Settings(log_format=LogFormat.JSON))
    messages: list[Message] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Message] = []
    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/vms",
        "raw_path": b"/v1/vms",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
    }

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)

    (line,) = capsys.readouterr().err.splitlines()
    assert sent == []
    assert (json.loads(line)["event"], json.loads(line)["status"]) == ("request", 499)
    async with connect(app) as client:
        metrics = (await client.get("/metrics")).text
    assert 'route="/v1/vms",status="499"} 1.0' in metrics
    assert 'status="500"' not in metrics


@pytest.mark.parametrize("log_format", LogFormat)
async def test_a_traceback_shows_no_locals(
    connect: Connect, capsys: pytest.CaptureFixture[str], log_format: LogFormat
) -> None:
    app = create_app(Settings(token=SecretStr("s3cret"), log_format=log_format))

    @app.get("/defect")
    async def defect() -> None:
        kept = "a local"
        raise AssertionError(f"a broken invariant, {len(kept)}")

    async with connect(app) as client:
        answer = await client.get("/defect", headers={"authorization": "Bearer s3cret"})

    logged = capsys.readouterr().err
    assert answer.status_code == 500
    assert "a broken invariant, 7" in logged
    assert "s3cret" not in logged


async def test_a_defect_answers_a_problem_and_leaves_a_traceback(
    connect: Connect,
    capsys: pytest.CaptureFixture[str],
) -> None:
    app = create_app(Settings(log_format=LogFormat.JSON))

    @app.get("/defect")
    async def defect() -> None:
        raise AssertionError("a broken invariant")

    async with connect(app) as client:
        answer = await client.get("/defect", headers={"x-request-id": "abc"})

    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert answer.headers["x-request-id"] == "abc"
    assert "a broken invariant" in capsys.readouterr().err
