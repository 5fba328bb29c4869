"""The batch: its results, and the work that it is estimated to take."""

import asyncio
import json
from typing import Any

import pytest
from app.http.schemas.batch import BatchIn
from app.service.cost_estimate import INLINE_WORK
from hacdbs_sim.sim.actions import MachineConfig, SetMemoryRegion

from app.http.batches import perform_all, work_of_batch
from app.service.fleet import Fleet, Vm, VmSpec
from app.service.limits import Limits

SLOT = {"op": "set_memslot", "slot": 1, "guest_phys_addr": "0x10000000000"}
HUGE = {**SLOT, "memory_size": "128GiB"}
SMALL = {**SLOT, "memory_size": "4KiB"}
GET = {"op": "get_dirty_log", "slot": 0}
SUMMARY = {**GET, "format": "summary"}
MANY = [[0, 1]] * 20_000


@pytest.fixture
def vm() -> Vm:
    """A VM with a slot of 1 GiB."""
    slot = SetMemoryRegion(0, 0, 1 << 30, flags=1)
    return asyncio.run(
        Fleet(Limits()).create_vm(VmSpec("default", "", MachineConfig(ipa_bits=42), (slot,)))
    )


@pytest.mark.parametrize(
    ("actions", "is_short"),
    [
        ([SUMMARY] * 10, True),
        ([SMALL] * 10, True),
        ([HUGE, SUMMARY], False),
        ([SUMMARY] * 300, False),
        ([{"op": "set_cpu", "cpu": 0, "online": True}] * 300, False),
        ([GET], False),
        ([{"op": "guest_write", "gfn_ranges": [[0, 1]]}], True),
        ([{"op": "guest_write", "gfn_ranges": MANY}], False),
        ([{"op": "guest_write", "gfns": [0] * 20_000}], False),
        ([{"op": "clear_dirty_log", "slot": 0, "page_ranges": MANY}], False),
        ([{"op": "clear_dirty_log", "slot": 0, "bitmap": ""}], True),
        ([{"op": "clock_advance", "duration_ns": 1}], True),
        ([{"op": "guest_run", "duration_ns": 1}], False),
        ([{"op": "add_workload", "slot": 0, "kind": "zipf", "writes_per_second": 1}], False),
    ],
)
def test_a_batch_that_may_take_milliseconds_leaves_the_event_loop(
    vm: Vm, actions: list[dict[str, Any]], *, is_short: bool
) -> None:
    read = BatchIn.model_validate_json(json.dumps({"actions": actions}))

    assert (work_of_batch(vm, read.actions) <= INLINE_WORK) is is_short


def test_each_action_is_estimated_on_the_slots_as_they_are_by_then(vm: Vm) -> None:
    def work(*actions: dict[str, Any]) -> int:
        read = BatchIn.model_validate_json(json.dumps({"actions": actions}))
        return work_of_batch(vm, read.actions)

    assert work(SUMMARY, HUGE) < work(HUGE, SUMMARY)


def test_a_batch_stops_at_the_first_refusal(vm: Vm) -> None:
    write = {"op": "guest_write", "gfns": [3]}
    beyond = {"op": "guest_write", "gfns": [1 << 40]}
    read = BatchIn.model_validate_json(json.dumps({"actions": [write, write, beyond, write]}))

    answer = perform_all(vm, read.actions, "/v1/vms/default-1/batch")

    assert answer.body is not None
    results = answer.body["results"]
    assert [result["status"] for result in results] == [200, 200, 409]
    assert [result["body"]["newly_dirty"] for result in results[:2]] == [1, 0]
    problem = results[2]["body"]
    assert problem["code"] == "gfn_beyond_ipa_space"
    assert problem["errors"][0]["pointer"].startswith("/actions/2/")
