"""The machine as a backend: each action and query of the model has its answer."""

from typing import Any

import numpy as np
import pytest

from hacdbs_sim import model
from hacdbs_sim.model.errors import InvalidArgumentError, InvalidWorkloadError
from hacdbs_sim.sim.machine import Machine, vm
from tests.support.building import MIB, arm, get, machine, write

XZ = model.Intervals(starts=np.array([0, 2, 3]), pages=np.array([0, 5, 1], np.uint32))


def recordings(name: model.TraceName) -> model.Intervals:
    return {"xz": XZ}[name]


def test_each_action_and_query_of_the_model_has_a_handler_and_is_listed() -> None:
    operations = (*model.ACTIONS, *model.QUERIES)

    assert set(vm._PERFORM) == set(model.ACTIONS)
    assert set(vm._QUERY) == set(model.QUERIES)
    assert set(machine().capabilities.ops) == {kind.op for kind in operations}


@pytest.mark.parametrize(
    ("query", "method"),
    [
        (model.GetStage2(gfn=3, count=70, limit=2), lambda made: made.stage2(3, 70, 2)),
        (model.GetConfig(), lambda made: made.config),
        (model.GetFootprint(), lambda made: made.footprint),
        (model.GetGenerations(slot=0), lambda made: made.generations(0)),
    ],
    ids=lambda each: each.op if isinstance(each, model.Query) else "",
)
def test_a_query_is_answered_as_by_the_method(query: model.Query[Any], method: Any) -> None:
    made = machine(500, cpus=2)
    made.perform(model.TrackVersions(enabled=True))
    made.perform(model.AddUniform(slot=0, writes_per_second=100_000))
    arm(made, model.FaultType.IPAF, index=3)
    made.perform(model.RunGuest(duration_ns=10**6))
    get(made)
    write(made, (20, 9))

    assert made.query(query) == method(made)


def test_the_versions_of_a_window_are_a_query_too() -> None:
    made = machine(100)
    made.perform(model.TrackVersions(enabled=True))
    write(made, (20, 9))

    found = made.query(model.CopyVersions(slot=0, first_page=18, num_pages=4))

    assert found is not None
    assert found.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("given", "count"),
    [({}, 0), ({"manual_dirty_log_protect2": 1, "eager_split_chunk_size": 2 * MIB}, 2)],
)
def test_capabilities_are_set_one_at_a_time(given: dict[str, int], count: int) -> None:
    made = machine()
    before = (made.config, made.generations())

    with pytest.raises(InvalidArgumentError, match=rf"^exactly one of .* not {count}$"):
        made.perform(model.UpdateVm(**given))

    assert (made.config, made.generations()) == before


def test_a_trace_is_replayed_from_the_recordings_that_the_machine_was_given() -> None:
    made = Machine(model.VmConfig(), recordings)
    made.perform(model.SetMemslot(slot=0, guest_phys_addr=0, memory_size=MIB))
    replay = model.AddReplay(slot=0, trace="xz", interval_ns=10**6, copies=2)
    wanted = made.estimate(replay)

    added = made.perform(replay)

    assert isinstance(added, model.ReplayInfo)
    assert (added.trace, added.interval_count, added.record_count) == ("xz", 2, 3)
    assert (added.num_pages, added.writes) == (256, 0)
    assert made.footprint.state_bytes == wanted.state_bytes
    assert made.perform(model.RunGuest(duration_ns=2 * 10**6)).writes == 2 * 3


def test_a_trace_given_in_full_is_reported_by_its_counts() -> None:
    made = machine(256)

    added = made.perform(model.AddIntervals(slot=0, pages=XZ, interval_ns=10**6))

    assert isinstance(added, model.IntervalsInfo)
    assert (added.interval_count, added.record_count) == (2, 3)


def test_without_recordings_no_trace_can_be_named() -> None:
    made = machine(256)
    replay = model.AddReplay(slot=0, trace="xz", interval_ns=10**6)

    for ask in (made.estimate, made.perform):
        with pytest.raises(InvalidWorkloadError, match=r"^trace must be a recording"):
            ask(replay)

    assert made.workloads() == ()
