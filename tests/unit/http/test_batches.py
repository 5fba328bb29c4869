"""The batch: its results, and the work that it is estimated to take."""

import asyncio
import json
from typing import Any

import pytest

from app.http.batches import check_answer, most_bytes_of, perform_all, weight_of
from app.http.operations import RESULT_BYTES, perform_now, work_of_batch
from app.service.fleet import Fleet, Vm
from app.service.limits import Limits
from app.service.vm_runtime import INLINE_WORK, VmRuntime
from hacdbs_sim.model import Action, Batch, BatchAction, CreateVm, MemslotFlags, SetMemslot
from hacdbs_sim.model.base import WORK_PER_ACTION
from hacdbs_sim.wire import read
from hacdbs_sim.wire.codec import BatchAnswerLimitError

SLOT = {"op": "set_memslot", "slot": 1, "guest_phys_addr": "0x10000000000"}
HUGE = {**SLOT, "memory_size": "128GiB"}
LARGE = {**SLOT, "memory_size": "2GiB"}
SMALL = {**SLOT, "memory_size": "4KiB"}
GET = {"op": "get_dirty_log", "slot": 0}
SUMMARY = {**GET, "format": "summary"}
MANY = [[0, 1]] * 20_000


@pytest.fixture
def vm() -> Vm:
    """A VM with a slot of 1 GiB."""
    slot = SetMemslot(
        slot=0, guest_phys_addr=0, memory_size=1 << 30, flags=MemslotFlags.LOG_DIRTY_PAGES
    )
    return asyncio.run(Fleet(Limits()).create_vm(CreateVm(ipa_bits=42, memslots=(slot,))))


def batch(*actions: dict[str, Any]) -> tuple[BatchAction, ...]:
    return read(Batch, json.dumps({"actions": actions})).actions


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
        ([{"op": "advance_clock", "duration_ns": 1}], True),
        ([{"op": "run_guest", "duration_ns": 1}], False),
        ([{"op": "add_workload", "slot": 0, "kind": "zipf", "writes_per_second": 1}], False),
    ],
)
def test_a_batch_that_may_take_milliseconds_leaves_the_event_loop(
    vm: Vm, actions: list[dict[str, Any]], *, is_short: bool
) -> None:
    assert (work_of_batch(vm, batch(*actions)) <= INLINE_WORK) is is_short


def test_each_action_is_estimated_on_the_slots_as_they_are_by_then(vm: Vm) -> None:
    def work(*actions: dict[str, Any]) -> int:
        return work_of_batch(vm, batch(*actions))

    assert work(SUMMARY, LARGE) < work(LARGE, SUMMARY)


def test_a_long_batch_is_estimated_only_until_it_is_long(
    vm: Vm, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimated: list[Action[Any]] = []

    def work(_: VmRuntime, action: Action[Any]) -> int:
        estimated.append(action)
        return WORK_PER_ACTION

    monkeypatch.setattr(VmRuntime, "work", work)

    assert work_of_batch(vm, batch(SUMMARY) * 10_000) > INLINE_WORK
    assert len(estimated) == INLINE_WORK // WORK_PER_ACTION + 1


def test_a_batch_stops_at_the_first_refusal(vm: Vm) -> None:
    write = {"op": "guest_write", "gfns": [3]}
    beyond = {"op": "guest_write", "gfns": [1 << 40]}

    answer = perform_all(vm, batch(write, write, beyond, write), "/v1/vms/default-1/batch")

    results = json.loads(bytes(answer.body))["results"]
    assert [result["status"] for result in results] == [200, 200, 409]
    assert [result["body"]["newly_dirty"] for result in results[:2]] == [1, 0]
    problem = results[2]["body"]
    assert problem["code"] == "gfn_beyond_ipa_space"
    assert problem["errors"][0]["pointer"].startswith("/actions/2/")


@pytest.mark.parametrize(
    ("action", "weight"),
    [
        ({**GET, "format": "ranges"}, 16 * 3),
        ({**GET, "format": "base64"}, len("A" * 43_692)),
        ({**GET, "format": "words"}, 16 * 4_096),
        (SUMMARY, 0),
        ({"op": "clear_dirty_log", "slot": 0, "page_ranges": [[0, 64]]}, 0),
        ({"op": "guest_read", "gfns": [1]}, 0),
        ({"op": "delete_faults"}, 0),
    ],
)
def test_an_answer_weighs_what_its_pages_and_trace_do(
    vm: Vm, action: dict[str, Any], weight: int
) -> None:
    first, second = batch({"op": "guest_write", "gfns": [3, 5, 6, 100]}, action)
    perform_now(vm, first.action)

    assert weight_of(perform_now(vm, second.action, second.format)) == weight


def test_the_runs_of_a_trace_weigh_too(vm: Vm) -> None:
    write, get = batch(
        {"op": "guest_write", "gfn_ranges": [[0, 600]]},
        {**GET, "format": "summary", "trace": True},
    )
    perform_now(vm, write.action)

    assert weight_of(perform_now(vm, get.action, get.format)) == 2 * 96


@pytest.mark.parametrize("written", [[], [[0, 1]], [[n, 1] for n in range(0, 1 << 18, 65)]])
@pytest.mark.parametrize("log_format", ["ranges", "base64", "words", "summary"])
def test_an_answer_is_never_longer_than_estimated(
    vm: Vm, written: list[list[int]], log_format: str
) -> None:
    write, get = batch(
        {"op": "guest_write", "gfn_ranges": written}, {**GET, "format": log_format, "trace": True}
    )
    perform_now(vm, write.action)

    most = most_bytes_of(vm, get)

    answer = perform_now(vm, get.action, get.format)
    assert len(answer.octets()) <= most


@pytest.mark.parametrize(("log_format", "most"), [("base64", 43_692), ("words", 4_095 * 2 + 21)])
def test_an_estimate_counts_the_words_of_a_log(vm: Vm, log_format: str, most: int) -> None:
    write, get = batch({"op": "guest_write", "gfns": [3]}, {**GET, "format": log_format})
    perform_now(vm, write.action)

    assert most_bytes_of(vm, get) == RESULT_BYTES + most


def test_a_get_that_will_be_refused_has_a_short_answer(vm: Vm) -> None:
    no_log = {"op": "set_memslot", "slot": 0, "guest_phys_addr": 0, "memory_size": 1 << 30}
    unset, get, of_none = batch(
        {**no_log, "flags": []}, {**GET, "format": "words"}, {**GET, "slot": 7}
    )
    perform_now(vm, unset.action)

    assert most_bytes_of(vm, get) == most_bytes_of(vm, of_none) == RESULT_BYTES


def test_the_answer_that_shows_a_vm_has_its_parts(vm: Vm) -> None:
    (update,) = batch({"op": "update_vm", "manual_dirty_log_protect2": 1})

    assert len(perform_now(vm, update.action).octets()) <= most_bytes_of(vm, update)


def test_the_action_after_an_answer_that_is_too_large_is_refused() -> None:
    check_answer(8 << 20)

    with pytest.raises(BatchAnswerLimitError) as refused:
        check_answer((8 << 20) + 1)
    assert (refused.value.bound, refused.value.value) == (8 << 20, (8 << 20) + 1)
