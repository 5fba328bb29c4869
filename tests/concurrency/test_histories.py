"""What clients see of VMs that they share could be that of one call after another."""

import json
from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from tests.concurrency.histories import make_vms, record
from tests.concurrency.linearizability import Event, linearization
from tests.concurrency.vm_calls import NPAGES, ScalarSpecification
from tests.support.serving import Serving

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


def assert_linearizable(history: list[Event]) -> None:
    order = linearization(history, ScalarSpecification())

    lines = "\n".join(
        f"{event.invoked_at:.6f} {event.answered_at:.6f} {event.call!r} -> {json.dumps(event.answer)}"
        for event in sorted(history, key=lambda event: event.invoked_at)
    )
    assert order is not None, f"no order of calls explains\n{lines}"


def overlaps(history: list[Event]) -> int:
    """How many calls began while another was in flight."""
    return sum(
        any(other.invoked_at < event.invoked_at < other.answered_at for other in history)
        for event in history
    )


async def test_windows_of_8_clients_on_one_vm_are_linearizable(either_service: Serving) -> None:
    vms = await make_vms(either_service.url, 20)
    together = 0
    for number, vm in enumerate(vms):
        (history,) = await record(
            either_service.url, [vm], clients=8, calls_each=5, seed=f"window {number}"
        )
        assert_linearizable(history)
        together += overlaps(history)

    assert together > 20 * 8 * 5 // 4, "these clients took turns"


async def test_64_clients_on_one_vm_are_linearizable(either_service: Serving) -> None:
    """One call each, all at once, for the longer so wide a history, the more orders there are to try.

    Without faults: those are answered before the calls that they overtake, so that the order of
    answers no longer leads the search.
    """
    for number, vm in enumerate(await make_vms(either_service.url, 5)):
        (history,) = await record(
            either_service.url,
            [vm],
            clients=64,
            calls_each=1,
            seed=f"one {number}",
            with_faults=False,
        )
        assert_linearizable(history)


async def test_64_clients_on_64_vms_are_linearizable(either_service: Serving) -> None:
    """Each VM by itself: a history is linearizable iff that of each object is (Herlihy, Wing)."""
    vms = await make_vms(either_service.url, 64)

    histories = await record(either_service.url, vms, clients=64, calls_each=12, seed="many")

    for history in histories:
        assert_linearizable(history)


def _gets(history: list[Event]) -> list[int]:
    """Which events are a get that reported pages as ranges."""
    return [
        number
        for number, event in enumerate(history)
        if "/0/dirty-log/get?format=ranges" in event.call.path
        and isinstance(event.answer, dict)
        and event.answer["page_ranges"]
    ]


def _lose(answer: dict[str, Any]) -> dict[str, Any]:
    """The same answer with one page less."""
    first, count = answer["page_ranges"][-1]
    left = [*answer["page_ranges"][:-1], *([[first, count - 1]] if count > 1 else [])]
    return {**answer, "page_ranges": left}


def _invent(answer: dict[str, Any]) -> dict[str, Any]:
    """The same answer with one page more."""
    dirty = {page for first, count in answer["page_ranges"] for page in range(first, first + count)}
    free = min(set(range(NPAGES)) - dirty)
    return {**answer, "page_ranges": sorted([*answer["page_ranges"], [free, 1]])}


async def test_a_history_in_which_a_page_is_lost_or_invented_is_rejected(service: Serving) -> None:
    """The check itself: real histories, one answer of which is made wrong."""
    rejected: Counter[str] = Counter()
    for number, vm in enumerate(await make_vms(service.url, 8)):
        (history,) = await record(
            service.url, [vm], clients=3, calls_each=12, seed=f"wrong {number}"
        )
        assert_linearizable(history)
        gets = _gets(history)
        for falsify in (_lose, _invent):
            if not gets:
                continue
            at = Random(number).choice(gets)
            wrong = replace(history[at], answer=falsify(history[at].answer))
            events = [*history[:at], wrong, *history[at + 1 :]]
            assert linearization(events, ScalarSpecification()) is None, wrong
            rejected[falsify.__name__] += 1

    assert min(rejected["_lose"], rejected["_invent"]) >= 2
