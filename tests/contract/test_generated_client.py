"""A client that a generator made of the published document: it compiles, and each operation works.

The generator runs without a network, for it is given the document as a file and no hooks to run.
"""

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Generator
from compileall import compile_dir
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest

from hacdbs_sim.client import open_http
from tests.contract.calls import NAMES, WORLD, good
from tests.contract.documented import Contract, Operation
from tests.contract.test_openapi import COMMITTED
from tests.support.service_process import running_service
from tests.support.wire import HANG_SECONDS

GENERATOR = "openapi_python_client"
PACKAGE = "hacdbs_sim_client"

pytestmark = pytest.mark.skipif(
    find_spec(GENERATOR) is None, reason=f"{GENERATOR} is not installed (extra dev)"
)

CONTRACT = Contract(json.loads(COMMITTED.read_text()))
OPERATIONS = {operation.operation_id: operation for operation in CONTRACT.operations}
WITH_OCTETS = [
    operation
    for operation in CONTRACT.operations
    if "application/octet-stream" in operation.described.get("requestBody", {}).get("content", ())
]

MODELS = {
    "put_scenario": "Scenario",
    "start_comparison": "StartComparison",
    "start_migration": "StartMigration",
    "add_fault": "AddIpaf",
    "add_workload": "AddUniform",
    "advance_clock": "AdvanceClock",
    "run_guest": "RunGuest",
    "calc_dirty_rate": "CalcDirtyRate",
    "clear_dirty_log": "ClearDirtyLogBodyPageRanges",
    "create_copy": "CreateCopy",
    "receive_copy": "ReceivePagesPageRanges",
    "verify_copy": "VerifyCopy",
    "start_copy": "StartCopy",
    "create_session": "CreateSession",
    "create_vm": "CreateVm",
    "guest_read": "GuestReadBodyGfns",
    "guest_write": "GuestWriteBodyGfns",
    "guest_write_memory": "GuestWriteMemory",
    "host_unmap": "HostUnmapBodyGfns",
    "host_discard": "HostDiscardBodyGfns",
    "hint_free": "HintFreeBodyGfns",
    "track_versions": "TrackVersions",
    "update_migration": "UpdateMigration",
    "host_write": "HostWriteBodyGfns",
    "run_batch": "Batch",
    "set_cpu": "SetCpuBody",
    "set_memslot": "SetMemslotBody",
    "update_vm": "UpdateVmManualDirtyLogProtect2",
}
"""The generated class of each body; one of several where the document has a choice."""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    directory = tmp_path_factory.mktemp("client")
    config = directory / "config.yml"
    config.write_text("post_hooks: []\n")
    made = directory / PACKAGE
    source = ["--path", str(COMMITTED), "--config", str(config)]
    output = ["--meta", "none", "--output-path", str(made)]
    done = subprocess.run(  # noqa: S603 - the generator
        [sys.executable, "-m", GENERATOR, "generate", *source, *output],
        check=True,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
    )
    # The octets of a body that is JSON or octets are left out: they have no schema
    warned = re.findall(r"^WARNING parsing (\w+) (\S+) within", done.stderr, re.MULTILINE)
    assert set(warned) == {(operation.method, operation.path) for operation in WITH_OCTETS}
    assert done.stderr.count("Missing schema") == done.stderr.count("WARNING") == len(warned)
    sys.path.insert(0, str(directory))
    yield made

    sys.path.remove(str(directory))


@pytest.fixture(scope="module")
def http() -> Generator[httpx.Client]:
    with running_service({"HACDBS_LOG_LEVEL": "error"}) as url, open_http(url) as client:
        yield client


@pytest.fixture
def world(http: httpx.Client) -> httpx.Client:
    http.delete("/v1/sessions/made")
    http.post("/v1/sessions", json={"session_id": NAMES["session_id"]})
    http.post("/v1/sessions/default/reset")
    assert http.post("/v1/vms", json=WORLD).status_code == 201
    return http


def call(url: str, operation: Operation, **names: str) -> Any:
    """Call an operation through the client; give the generated response, parsed."""
    client = importlib.import_module(f"{PACKAGE}.client").Client(
        base_url=url, httpx_args={"trust_env": False}
    )
    tag = operation.described["tags"][0].replace(" ", "_")
    module = importlib.import_module(f"{PACKAGE}.api.{tag}.{operation.operation_id}")
    given = {**NAMES, **names}
    arguments: dict[str, Any] = {
        parameter["name"]: (int if parameter["schema"]["type"] == "integer" else str)(
            given[parameter["name"]]
        )
        for parameter in operation.described.get("parameters", ())
        if parameter["in"] == "path"
    }
    if (name := MODELS.get(operation.operation_id)) is not None:
        models = importlib.import_module(f"{PACKAGE}.models")
        body = good(operation.operation_id).request["json"]
        arguments["body"] = getattr(models, name).from_dict(body)
    with client:
        return module.sync_detailed(client=client, **arguments)


def test_the_client_compiles_and_imports_whole(package: Path) -> None:
    assert compile_dir(package, quiet=2)

    modules = [path.relative_to(package.parent) for path in package.rglob("*.py")]
    for module in modules:
        importlib.import_module(".".join(module.with_suffix("").parts))
    assert len(modules) > len(OPERATIONS)


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("operation_id", OPERATIONS)
def test_each_operation_can_be_called(world: httpx.Client, operation_id: str) -> None:
    operation = OPERATIONS[operation_id]
    for earlier in good(operation_id).before:
        made = OPERATIONS[earlier.operation_id]
        assert world.request(made.method, earlier.path(made.path), **earlier.request).is_success

    answer = call(str(world.base_url), operation)

    assert answer.status_code in operation.successes()
    assert bool(answer.content) == (answer.parsed is not None)
    if hasattr(answer.parsed, "to_dict"):
        assert type(answer.parsed).__name__ != "Problem"
        assert answer.parsed.to_dict() == httpx.Response(200, content=answer.content).json()
        assert getattr(answer.parsed, "additional_properties", {}) == {}


@pytest.mark.usefixtures("package")
def test_a_refusal_is_parsed_as_a_problem(world: httpx.Client) -> None:
    answer = call(str(world.base_url), OPERATIONS["get_vm"], vm_id="default-9")

    assert (answer.status_code, type(answer.parsed).__name__) == (404, "Problem")
    assert answer.parsed.code == "no_such_vm"
