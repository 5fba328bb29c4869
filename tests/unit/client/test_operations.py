"""Both clients call every operation of the document, and return the classes that it names."""

import asyncio
import inspect
import json
import keyword
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hacdbs_sim import model
from hacdbs_sim.client import AsyncClient, Client, Comparison, Copy, Migration, Session, Slot, Vm
from tests.unit.client.conftest import BASE_GFN, MEMSLOT

DOCUMENT = json.loads((Path(__file__).parents[3] / "openapi/openapi.json").read_bytes())
OPERATIONS: dict[str, tuple[str, str]] = {
    operation["operationId"]: (method.upper(), path)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
}

SCENARIO = {
    "scenario": "one-write",
    "vms": [{"key": "src", "memslots": [MEMSLOT]}],
    "steps": [
        {
            "vm": "src",
            "action": {"op": "guest_write", "gfns": [BASE_GFN]},
            "expect": {"body": {"newly_dirty": 2}},
        }
    ],
}

# `client` and `vm` are those of either kind: their methods have the same names and arguments.
CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "get_index": lambda client, _: client.get_index(),
    "get_livez": lambda client, _: client.get_livez(),
    "get_readyz": lambda client, _: client.get_readyz(),
    "get_version": lambda client, _: client.get_version(),
    "get_metrics": lambda client, _: client.get_metrics(),
    "get_capabilities": lambda client, _: client.get_capabilities(),
    "list_fault_types": lambda client, _: client.list_fault_types(),
    "get_problem": lambda client, _: client.get_problem("no_dirty_log"),
    "create_session": lambda client, _: client.create_session("other"),
    "list_sessions": lambda client, _: client.list_sessions(),
    "get_session": lambda client, _: client.session("other").get(),
    "put_scenario": lambda client, _: client.session("other").put_scenario(SCENARIO),
    "get_scenario": lambda client, _: client.session("other").get_scenario(),
    "report_scenario": lambda client, _: client.session("other").report_scenario(),
    "delete_scenario": lambda client, _: client.session("other").delete_scenario(),
    "list_scenarios": lambda client, _: client.list_scenarios(),
    "get_builtin_scenario": lambda client, _: client.get_builtin_scenario("lost-interrupt"),
    "reset_session": lambda client, _: client.session("other").reset(),
    "delete_session": lambda client, _: client.session("other").delete(),
    "create_vm": lambda client, _: client.session().create_vm(name="second"),
    "list_events": lambda client, _: client.list_events(type="vm_created", limit=5),
    "list_vms": lambda client, _: client.list_vms("-"),
    "get_vm": lambda _, vm: vm.get(),
    "update_vm": lambda _, vm: vm.update(manual_dirty_log_protect2=1),
    "set_memslot": lambda _, vm: vm.set_memslot(1, guest_phys_addr=1 << 32, memory_size="1MiB"),
    "list_memslots": lambda _, vm: vm.list_memslots(),
    "get_memslot": lambda _, vm: vm.get_memslot(1),
    "delete_memslot": lambda _, vm: vm.delete_memslot(1),
    "get_cost_model": lambda client, _: client.get_cost_model(),
    "add_workload": lambda _, vm: vm.add_workload("uniform", slot=0, writes_per_second=1000),
    "list_workloads": lambda _, vm: vm.list_workloads(),
    "get_workload": lambda _, vm: vm.get_workload("w1"),
    "delete_workload": lambda _, vm: vm.delete_workload("w1"),
    "delete_workloads": lambda _, vm: vm.delete_workloads(),
    "get_clock": lambda _, vm: vm.get_clock(),
    "advance_clock": lambda _, vm: vm.advance_clock(1000),
    "run_guest": lambda _, vm: vm.run_guest(1000, throttle_percent=20),
    "calc_dirty_rate": lambda _, vm: vm.calc_dirty_rate(50_000_000, sample_pages_per_gib=128),
    "query_dirty_rate": lambda _, vm: vm.query_dirty_rate(),
    "guest_write": lambda _, vm: vm.guest_write([BASE_GFN], vcpu=1),
    "guest_write_memory": lambda _, vm: vm.guest_write_memory([(BASE_GFN * 4096 + 4090, 10)]),
    "guest_read": lambda _, vm: vm.guest_read([BASE_GFN]),
    "host_write": lambda _, vm: vm.host_write(range(BASE_GFN, BASE_GFN + 3)),
    "host_unmap": lambda _, vm: vm.host_unmap(gfn_ranges=[(BASE_GFN, 2)]),
    "host_discard": lambda _, vm: vm.host_discard([BASE_GFN + 9]),
    "hint_free": lambda _, vm: vm.hint_free(gfn_ranges=[(BASE_GFN + 10, 2)]),
    "track_versions": lambda _, vm: vm.track_versions(),
    "get_page_versions": lambda _, vm: vm.slot(0).get_page_versions(first_page=1, num_pages=2),
    "peek_dirty_log": lambda _, vm: vm.slot(0).peek_dirty_log(),
    "get_heat": lambda _, vm: vm.slot(0).get_heat(bins=10),
    "get_dirty_log": lambda _, vm: vm.slot(0).get_dirty_log(cpu=0, trace=True),
    "clear_dirty_log": lambda _, vm: vm.slot(0).clear_dirty_log([1, 2]),
    "get_stage2": lambda _, vm: vm.get_stage2(BASE_GFN, 10),
    "list_cpus": lambda _, vm: vm.list_cpus(),
    "get_cpu": lambda _, vm: vm.get_cpu(0),
    "set_cpu": lambda _, vm: vm.set_cpu(0, online=False),
    "add_fault": lambda _, vm: vm.add_fault("ipaf", times=1, when={"batch": 1}),
    "list_faults": lambda _, vm: vm.list_faults(),
    "get_fault": lambda _, vm: vm.get_fault("f1"),
    "delete_fault": lambda _, vm: vm.delete_fault("f1"),
    "delete_faults": lambda _, vm: vm.delete_faults(),
    "run_batch": lambda _, vm: vm.run_batch([{"op": "get_dirty_log", "slot": 0}], check=False),
    "create_copy": lambda _, vm: vm.create_copy("source"),
    "list_copies": lambda _, vm: vm.list_copies(),
    "get_copy": lambda _, vm: vm.kept_copy("c1").get(),
    "receive_copy": lambda _, vm: vm.kept_copy("c1").receive(0, pages=[1, 2]),
    "verify_copy": lambda _, vm: vm.kept_copy("c1").verify(),
    "start_copy": lambda _, vm: vm.kept_copy("c1").start(name="restored"),
    "delete_copy": lambda _, vm: vm.kept_copy("c1").delete(),
    "start_migration": lambda _, vm: vm.start_migration(
        max_iterations=1, timeout_strategy="switch_over"
    ),
    "update_migration": lambda client, _: client.migration("phases-m1").update(
        downtime_limit_ns=1, auto_converge={"initial": 30}
    ),
    "switch_over_migration": lambda client, _: client.migration("phases-m1").switch_over(),
    "continue_migration": lambda client, _: client.migration("phases-m2").continue_(),
    "start_postcopy_migration": lambda client, _: client.migration("phases-m3").start_postcopy(),
    "pause_migration": lambda client, _: client.migration("phases-m4").pause(),
    "resume_migration": lambda client, _: client.migration("phases-m5").resume(),
    "list_migrations": lambda client, _: client.list_migrations(),
    "get_migration": lambda client, _: client.migration("default-m1").get(),
    "cancel_migration": lambda client, _: client.migration("default-m1").cancel(),
    "query_migrate": lambda client, _: client.migration("default-m1").query_migrate(),
    "get_iterations": lambda client, _: client.migration("default-m1").get_iterations(),
    "report_migration": lambda client, _: client.migration("default-m1").report(),
    "list_migration_presets": lambda client, _: client.list_migration_presets(),
    "start_comparison": lambda client, _: client.start_comparison({"memslots": [MEMSLOT]}),
    "list_comparisons": lambda client, _: client.list_comparisons(),
    "get_comparison": lambda client, _: client.comparison("default-c1").get(wait_for="end"),
    "report_comparison": lambda client, _: client.comparison("default-c1").report(),
    "cancel_comparison": lambda client, _: client.comparison("default-c1").cancel(),
    "delete_vm": lambda _, vm: vm.delete(),
}


LARGE = {"slot": 0, "guest_phys_addr": 0, "memory_size": "16MiB"}
ENDLESS: dict[str, Any] = {
    "bandwidth_bytes_per_second": 1_000_000,
    "downtime_limit_ns": 0,
    "max_iterations": 1_000,
    "pace": 100.0,
    "postcopy": {"bandwidth_bytes_per_second": 1_000_000},
}
AT_ONCE: list[Any] = [{"at": {"ns": 0}, "set": {"command": "start_postcopy"}}]
BREAKS = {"events": [{"type": "failure", "at_ns": 20_000_000}]}
PHASES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("active", ENDLESS),
    ("pre-switchover", {"pause_before_switchover": True}),
    ("active", ENDLESS),
    ("postcopy-active", {**ENDLESS, "schedule": AT_ONCE}),
    ("postcopy-paused", {**ENDLESS, "pace": 0.0, "schedule": AT_ONCE, "link": BREAKS}),
)
"""The migrations phases-m1 and so on, each in the phase in which it gets a command."""


def operation_of(method: str, target: str) -> str:
    path = target.partition("?")[0]
    for name, (its_method, template) in OPERATIONS.items():
        pattern = re.sub(r"\{\w+\}", "[^/]+", template)
        if its_method == method and re.fullmatch(pattern, path):
            return name
    raise LookupError(f"{method} {target}")


async def settled(result: Any) -> Any:
    if isinstance(result, Awaitable):
        return await result
    if isinstance(result, AsyncIterator):
        return [item async for item in result]
    return result


def check_sent(client: Client | AsyncClient, number: int, operation_id: str) -> None:
    sent = list(client.history)[number:]
    assert [operation_of(each.method, each.target) for each in sent] == [operation_id]
    assert sent[0].status < 300


def test_there_is_a_call_of_each_operation() -> None:
    assert CALLS.keys() == OPERATIONS.keys()


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    """The result of each call, by operation; each sends one request."""
    results: dict[str, Any] = {}
    with Client.in_process() as client:
        vm = client.create_vm(vcpus=2, memslots=[MEMSLOT], manual_dirty_log_protect2=1)
        phases = client.create_session("phases")
        for phase, spec in PHASES:
            migration = phases.create_vm(memslots=[LARGE]).start_migration(**spec)
            migration.get(wait_for=phase, wait_seconds=60)
        for operation_id, call in CALLS.items():
            client.history.clear()
            result = call(client, vm)
            results[operation_id] = list(result) if isinstance(result, Iterator) else result
            check_sent(client, 0, operation_id)
    return results


def test_the_client_calls_each_operation(results: dict[str, Any]) -> None:
    assert results["list_vms"][0].vm_id == "default-1"
    assert results["get_dirty_log"].pages().tolist() == [0, 1, 2]
    assert results["list_faults"] == [results["add_fault"]]


def schema_of(operation_id: str) -> str:
    """The name of the schema of an operation's JSON; empty if it has none."""
    method, path = OPERATIONS[operation_id]
    responses = DOCUMENT["paths"][path][method.lower()]["responses"]
    (content, *_) = (each.get("content", {}) for code, each in responses.items() if code < "3")
    name: str = content.get("application/json", {}).get("schema", {}).get("$ref", "")
    return name.rpartition("/")[2]


NOT_OBJECTS = {"create_session", "run_batch", "list_fault_types"}
"""Methods that return a handle, or the only field of the response."""


@pytest.mark.parametrize(
    "operation_id",
    [
        operation_id
        for operation_id in sorted(OPERATIONS.keys() - NOT_OBJECTS)
        if schema_of(operation_id) and not schema_of(operation_id).endswith("List")
    ],
)
def test_a_result_is_of_the_class_that_the_document_names(
    operation_id: str, results: dict[str, Any]
) -> None:
    result = results[operation_id]
    if isinstance(result, Vm | Migration | Comparison | Copy):
        result = result.info

    assert isinstance(result, getattr(model, schema_of(operation_id)))


def test_the_client_for_coroutines_calls_each_operation_with_the_same_results() -> None:
    async def make_all() -> dict[str, Any]:
        results: dict[str, Any] = {}
        async with AsyncClient.in_process() as client:
            vm = await client.create_vm(vcpus=2, memslots=[MEMSLOT], manual_dirty_log_protect2=1)
            phases = await client.create_session("phases")
            for phase, spec in PHASES:
                source = await phases.create_vm(memslots=[LARGE])
                migration = await source.start_migration(**spec)
                await migration.get(wait_for=phase, wait_seconds=60)
            for operation_id, call in CALLS.items():
                client.history.clear()
                results[operation_id] = await settled(call(client, vm))
                check_sent(client, 0, operation_id)
        return results

    results = asyncio.run(make_all())

    names = [info.name for info in results["list_vms"] if info.session_id == "default"]
    assert names == ["", "second"]
    assert results["get_dirty_log"].pages().tolist() == [0, 1, 2]
    assert results["list_faults"] == [results["add_fault"]]


HANDLES: dict[type, str] = {
    Client: "",
    Session: "session",
    Vm: "vm",
    Slot: "",
    Migration: "migration",
    Comparison: "comparison",
    Copy: "copy",
}
"""The handles, and the noun that their own operations leave out: `vm.get` is get_vm."""


def test_each_operation_is_a_method_of_its_name() -> None:
    for operation_id in OPERATIONS:
        owners = [
            (handle, name)
            for handle, noun in HANDLES.items()
            for name in (operation_id, operation_id.removesuffix(f"_{noun}") if noun else "")
            if name and (f"{name}_" if keyword.iskeyword(name) else name) in dir(handle)
        ]
        assert owners, operation_id


def test_methods_have_plain_signatures_and_docstrings() -> None:
    for handle in HANDLES:
        for name, method in inspect.getmembers(handle, inspect.isfunction):
            if name.startswith("_"):
                continue
            signature = inspect.signature(method)
            assert inspect.getdoc(method), name
            assert signature.return_annotation is not inspect.Signature.empty, name
            kinds = {parameter.kind for parameter in signature.parameters.values()}
            assert inspect.Parameter.VAR_KEYWORD not in kinds, name
