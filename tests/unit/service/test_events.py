"""The event log: what readers find, when they wait, and what a slow reader costs."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from app.service import events
from app.service.errors import EventReaderLimitError
from app.service.events import (
    ALL_EVENTS,
    MAX_EVENT_READERS,
    READERS_AT_ONCE,
    EventFilter,
    EventLog,
    EventReader,
)
from app.service.fleet import Fleet
from app.service.limits import Limits
from hacdbs_sim.model import (
    CreateVm,
    DeleteFault,
    Event,
    EventType,
    FaultType,
    Features,
    GetDirtyLog,
    GuestWrite,
    SetCpu,
    SetMemslot,
)
from hacdbs_sim.model.errors import CopyToUserError, LastCpuError
from tests.support.building import gfns
from tests.support.faults import fault
from tests.support.wire import HANG_SECONDS

pytestmark = pytest.mark.anyio


def filled(count: int, kept: int = 8) -> EventLog:
    log = EventLog(kept)
    for number in range(count):
        log.emit(EventType.CPU_CHANGED, session_id="s", vm_id=f"s-{number % 2}")
    return log


def ids(events: tuple[Event, ...]) -> list[int]:
    return [event.event_id for event in events]


def test_events_are_numbered_from_one_without_gaps() -> None:
    page = filled(3).after(0, ALL_EVENTS, 10)

    assert ids(page.events) == [1, 2, 3]
    assert (page.next_after, page.oldest_event_id, page.last_event_id) == (3, 1, 3)
    assert not page.stale


def test_only_the_last_are_kept_and_a_reader_of_older_ones_is_stale() -> None:
    log = filled(20)

    missed, in_time = log.after(11, ALL_EVENTS, 10), log.after(12, ALL_EVENTS, 10)

    assert missed.stale
    assert not in_time.stale
    assert ids(missed.events) == ids(in_time.events) == list(range(13, 21))


def test_a_position_of_another_service_is_stale() -> None:
    page = filled(3).after(4, ALL_EVENTS, 10)

    assert page.stale
    assert ids(page.events) == [1, 2, 3]


def test_a_page_ends_at_its_limit_and_the_next_one_continues() -> None:
    log = filled(5)
    odd = EventFilter(vm_id="s-0")

    first = log.after(0, odd, 2)
    second = log.after(first.next_after, odd, 2)

    assert (ids(first.events), first.next_after) == ([1, 3], 3)
    assert (ids(second.events), second.next_after) == ([5], 5)


@pytest.mark.parametrize(
    ("wanted", "takes"),
    [
        (ALL_EVENTS, True),
        (EventFilter(types=frozenset({EventType.CPU_CHANGED})), True),
        (EventFilter(types=frozenset({EventType.FAULT_HIT})), False),
        (EventFilter(session_id="s"), True),
        (EventFilter(session_id="t"), False),
        (EventFilter(vm_id="s-0"), True),
        (EventFilter(vm_id="s-1"), False),
    ],
)
def test_a_filter_takes_what_all_of_it_asks_for(wanted: EventFilter, takes: bool) -> None:
    assert bool(filled(1).after(0, wanted, 1).events) is takes


async def test_a_reader_wakes_when_something_happens_in_any_thread() -> None:
    log = filled(2)
    reader = log.open_reader(2, ALL_EVENTS)
    assert not await reader.wait(0)

    await asyncio.to_thread(log.emit, EventType.VM_CREATED, session_id="s")

    assert await reader.wait(HANG_SECONDS)
    assert ids(reader.take(10).events) == [3]
    assert not await reader.wait(0)


async def test_a_reader_that_took_a_part_need_not_wait_for_the_rest() -> None:
    log = filled(0)
    reader = log.open_reader(0, ALL_EVENTS)
    for _ in range(3):
        log.emit(EventType.VM_CREATED, session_id="s")

    first = reader.take(2)

    assert ids(first.events) == [1, 2]
    assert await reader.wait(HANG_SECONDS)
    assert ids(reader.take(2).events) == [3]


@pytest.mark.parametrize("after", [1, 9])
async def test_a_reader_that_is_behind_or_elsewhere_need_not_wait(after: int) -> None:
    log = filled(3)

    reader = log.open_reader(after, ALL_EVENTS)

    assert await reader.wait(HANG_SECONDS)
    assert reader.take(10).stale is (after == 9)


async def test_a_slow_reader_gets_a_stale_page_and_continues() -> None:
    log = EventLog(4)
    reader = log.open_reader(0, ALL_EVENTS)
    for _ in range(10):
        log.emit(EventType.VM_CREATED, session_id="s")

    page = reader.take(10)

    assert page.stale
    assert ids(page.events) == [7, 8, 9, 10]
    assert not reader.take(10).stale


async def test_readers_take_turns_a_page_each_and_others_run_between() -> None:
    log = EventLog()
    readers = [log.open_reader(0, ALL_EVENTS) for _ in range(MAX_EVENT_READERS)]
    taken: list[int] = []
    between: list[int] = []

    async def read(number: int, reader: EventReader) -> None:
        for _ in range(3):
            await reader.wait(HANG_SECONDS)
            reader.take(1)
            taken.append(number)

    reading = [asyncio.ensure_future(read(*each)) for each in enumerate(readers)]
    for _ in range(3):
        log.emit(EventType.VM_CREATED, session_id="s")
    while not all(each.done() for each in reading):
        before = len(taken)
        await asyncio.sleep(0)
        between.append(len(taken) - before)

    assert max(between) <= READERS_AT_ONCE
    assert taken == [*range(MAX_EVENT_READERS)] * 3


async def test_an_event_is_written_once_for_all_readers() -> None:
    log = EventLog(4)
    written: list[int] = []

    def write(event: Event) -> bytes:
        written.append(event.event_id)
        return b"%d" % event.event_id

    readers = [log.open_reader(0, ALL_EVENTS) for _ in range(3)]
    log.emit(EventType.VM_CREATED, session_id="s")
    (first,) = log.after(0, ALL_EVENTS, 1).events
    texts = {reader.text_of(first, write) for reader in readers}
    for _ in range(4):  # the fourth takes the place of the first
        log.emit(EventType.VM_CREATED, session_id="s")
    fifth = log.after(4, ALL_EVENTS, 1).events[0]

    assert (texts, written) == ({b"1"}, [1])
    assert log.text_of(fifth, write) == b"5"
    assert log.text_of(first, write) == b"1"
    assert log.text_of(fifth, write) == b"5"
    assert written == [1, 5, 1]


async def test_readers_are_counted_and_bounded() -> None:
    log = EventLog()
    readers = [log.open_reader(0, ALL_EVENTS) for _ in range(MAX_EVENT_READERS)]

    with pytest.raises(EventReaderLimitError) as refused:
        log.open_reader(0, ALL_EVENTS)
    readers[0].close()
    another = log.open_reader(0, ALL_EVENTS)

    assert refused.value.bound == MAX_EVENT_READERS
    assert log.reader_count == MAX_EVENT_READERS
    assert not another.is_closed


async def test_all_readers_end_when_the_service_stops() -> None:
    log = EventLog()
    reader = log.open_reader(0, ALL_EVENTS)
    waiting = asyncio.ensure_future(reader.wait(HANG_SECONDS))

    log.begin_stop()

    assert await waiting
    assert reader.is_closed
    assert log.reader_count == 0
    log.emit(EventType.VM_CREATED, session_id="s")  # wakes no reader
    assert log.open_reader(0, ALL_EVENTS).is_closed


async def test_a_service_that_starts_again_has_readers_again() -> None:
    log = EventLog()
    log.begin_stop()

    log.begin()

    assert not log.open_reader(0, ALL_EVENTS).is_closed


SPEC = CreateVm(
    session_id="default",
    name="src",
    cpus=2,
    memslots=(SetMemslot(slot=0, guest_phys_addr=0, memory_size=64 * 4096, flags=1),),
)


async def emitted(fleet: Fleet, after: int = 0) -> list[tuple[str, str | None, dict[str, Any]]]:
    page = fleet.events.after(after, ALL_EVENTS, 1_000)
    return [(event.type.value, event.vm_id, dict(event.details)) for event in page.events]


async def test_changes_of_vms_and_sessions_are_emitted() -> None:
    fleet = Fleet(Limits())
    fleet.create_session("other")
    vm = await fleet.create_vm(SPEC)
    await fleet.create_vm(SPEC)
    await fleet.create_vm(replace(SPEC, session_id="other"))
    fleet.delete_vm(vm.vm_id)
    fleet.reset_session("default")
    fleet.delete_session("other")

    assert await emitted(fleet) == [
        ("vm_created", "default-1", {"name": "src"}),
        ("vm_created", "default-2", {"name": "src"}),
        ("vm_created", "other-1", {"name": "src"}),
        ("vm_deleted", "default-1", {"name": "src"}),
        ("session_reset", None, {"vm_count": 1}),
        ("session_deleted", None, {"vm_count": 1}),
    ]


async def test_a_fault_that_hits_is_emitted_once_for_each_call_and_with_its_fallback() -> None:
    fleet = Fleet(Limits())
    runtime = (await fleet.create_vm(SPEC)).runtime
    runtime.perform(fault(FaultType.IPAF, times=1))
    runtime.perform(GuestWrite(pages=gfns(5, 6)))

    runtime.perform(GetDirtyLog(slot=0, cpu=1))
    runtime.perform(GuestWrite(pages=gfns(7)))
    runtime.perform(GetDirtyLog(slot=0))

    place = {"op": "get", "slot": 0, "cpu": 1, "batch": 0, "index": 0, "gfn": 5}
    end = {"outcome": "partial", "errno": "EAGAIN", "reason": "IPAF"}
    assert (await emitted(fleet))[1:] == [
        (
            "fault_hit",
            "default-1",
            {"fault_id": "f1", "fault_type": "ipaf", "hits": 1, **place},
        ),
        ("fell_back", "default-1", {**place, **end, "cleaned": 0, "software_pages": 2}),
    ]


async def test_a_fault_that_refuses_the_call_is_emitted_too() -> None:
    fleet = Fleet(Limits())
    runtime = (await fleet.create_vm(SPEC)).runtime
    runtime.perform(fault(FaultType.COPY_TO_USER))

    for _ in range(2):
        with pytest.raises(CopyToUserError):
            runtime.perform(GetDirtyLog(slot=0))

    assert [(kind, details["hits"]) for kind, _, details in (await emitted(fleet))[1:]] == [
        ("fault_hit", 1),
        ("fault_hit", 2),
    ]


async def test_a_call_that_declines_is_emitted_with_its_errno() -> None:
    fleet = Fleet(Limits())
    runtime = (
        await fleet.create_vm(replace(SPEC, cpus=4, features=Features(hacdbs=False)))
    ).runtime

    runtime.perform(GetDirtyLog(slot=0))

    ((kind, _, details),) = (await emitted(fleet))[1:]
    assert kind == "fell_back"
    assert (details["outcome"], details["errno"], details["reason"]) == ("declined", "ENXIO", None)


async def test_a_cpu_that_changes_is_emitted_and_one_that_stays_is_not() -> None:
    fleet = Fleet(Limits())
    runtime = (await fleet.create_vm(SPEC)).runtime

    for online in (True, False, False):
        runtime.perform(SetCpu(cpu=1, online=online))
    with pytest.raises(LastCpuError):
        runtime.perform(SetCpu(cpu=0, online=False))

    assert (await emitted(fleet))[1:] == [("cpu_changed", "default-1", {"cpu": 1, "online": False})]


async def test_a_deleted_vm_is_silent() -> None:
    fleet = Fleet(Limits())
    vm = await fleet.create_vm(SPEC)
    fleet.delete_vm(vm.vm_id)

    vm.runtime.perform(SetCpu(cpu=1, online=False))

    assert [kind for kind, _, _ in await emitted(fleet)] == ["vm_created", "vm_deleted"]


async def test_a_disarmed_fault_of_another_is_not_emitted_again() -> None:
    fleet = Fleet(Limits())
    runtime = (await fleet.create_vm(SPEC)).runtime
    for _ in range(2):
        runtime.perform(fault(FaultType.UNIT_BUSY, times=1))
    runtime.perform(GetDirtyLog(slot=0))
    before = fleet.events.last_event_id
    runtime.perform(DeleteFault(fault_id="f1"))

    runtime.perform(GetDirtyLog(slot=0))

    hits = [d["fault_id"] for kind, _, d in await emitted(fleet, before) if kind == "fault_hit"]
    assert hits == ["f2"]


async def test_a_new_reader_takes_the_place_of_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    log = EventLog()
    readers = [log.open_reader(0, ALL_EVENTS) for _ in range(MAX_EVENT_READERS)]
    monkeypatch.setattr(events, "MIN_READER_SECONDS", 0.0)

    late = [log.open_reader(0, ALL_EVENTS) for _ in range(2)]

    assert [each.is_closed for each in readers] == [True, True] + [False] * (len(readers) - 2)
    assert not any(each.is_closed for each in late)
    assert log.reader_count == MAX_EVENT_READERS
