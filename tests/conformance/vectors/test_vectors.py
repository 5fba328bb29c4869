"""The worked cases of the accelerated clear: the same for the model, the core and HTTP."""

import json
from typing import Any

import httpx
import pytest

from app.main import create_app
from app.settings import LogLevel, Settings
from hacdbs_sim.model import DirtyLog
from tests.conformance.vectors.calls import answers_to
from tests.conformance.vectors.format import FILES, Vector, expected_of, vectors_in, window_of
from tests.conformance.vectors.ops import action_of, body_of, config_of, op_of
from tests.conformance.vectors.regenerate import regenerated
from tests.support.lockstep import ALL_RUNS
from tests.support.machine import Machine

VECTORS = [vector for file in FILES for vector in vectors_in(file)]

each_vector = pytest.mark.parametrize("vector", VECTORS, ids=[vector.name for vector in VECTORS])


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_the_scalar_model_says_the_same_as_the_file(file: Any) -> None:
    assert regenerated(file) == file.read_text()


@each_vector
def test_the_core_does_what_the_vector_says(vector: Vector) -> None:
    core = Machine(vector.config())
    for action in vector.actions():
        core.perform(action)

    answer = core.perform(action_of(vector.call))

    assert isinstance(answer, DirtyLog)
    gfn, count = window_of(core, answer.slot)
    runs = core.stage2(gfn, count, ALL_RUNS).runs
    assert expected_of(core, answer, runs) == vector.expected


@pytest.mark.anyio
@each_vector
async def test_the_service_answers_what_the_vector_says(vector: Vector) -> None:
    transport = httpx.ASGITransport(create_app(Settings(log_level=LogLevel.WARNING)))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        made = await client.post("/v1/vms", json=vector.vm)
        path = made.headers["location"]
        ops = [*vector.setup, vector.call]
        answers = [answer async for answer in answers_to(client, path, ops)]
        slot = vector.call["slot"]
        view = (await client.get(f"{path}/memslots/{slot}")).json()
        window = {"gfn": view["base_gfn"], "count": view["npages"], "limit": 1000}
        found = {
            "answer": answers[-1].json()["results"][-1]["body"],
            "log": (await client.get(f"{path}/memslots/{slot}/dirty-log")).json()["page_ranges"],
            "cpus": [
                {**cpu, "hacdbsbr_el2": cpu["hacdbsbr_el2"]["raw"]}
                for cpu in (await client.get(f"{path}/cpus")).json()["cpus"]
                if cpu["runs"] or not cpu["online"]
            ],
            "stage2": (await client.get(f"{path}/stage2", params=window)).json()["runs"],
        }

    assert all(answer.is_success for answer in answers)
    # After a refusal another batch would have begun
    assert len(answers) == 1
    assert found == vector.expected


def test_names_are_unique_and_each_has_a_reason() -> None:
    names = [vector.name for vector in VECTORS]

    assert len(set(names)) == len(names)
    assert 40 <= len(names) <= 80
    assert all(len(vector.why) > 30 and "\n" not in vector.why for vector in VECTORS)


def test_a_written_vector_reads_back_equal() -> None:
    for vector in VECTORS:
        assert body_of(config_of(vector.vm)) == vector.vm
        assert [op_of(action) for action in vector.actions()] == list(vector.setup)
        assert op_of(action_of(vector.call)) == vector.call


def test_the_vectors_cover_what_the_routine_can_meet() -> None:
    reports = [vector.expected["answer"]["accelerator"] for vector in VECTORS]
    errors = [report["error"]["reason"] for report in reports if report["error"]]
    profiles = {(v.vm.get("kernel"), v.vm.get("page_size", 4096)) for v in VECTORS}
    levels = {run["level"] for v in VECTORS for run in v.expected["stage2"]}
    faults = {op["type"] for v in VECTORS for op in v.setup if op["op"] == "add_fault"}

    assert set(errors) == {"STRUCTF", "IPAF", "IPAHACF", "LOST_INTERRUPT"}
    assert {report["errno"] for report in reports} == {None, "ENXIO", "EPERM", "ENOMEM", "EAGAIN"}
    assert profiles == {(k, size) for k in (None, "v1") for size in (4096, 16384, 65536)}
    assert levels == {None, 1, 2, 3}
    assert faults == {
        *("structf", "ipaf", "ipahacf", "lost_interrupt"),
        *("split_enomem", "entries_enomem", "unit_busy"),
    }
    assert json.dumps(reports).isascii()
