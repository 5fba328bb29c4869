"""The budget of requests in flight: room is waited for, small requests pass, nothing is lost."""

import asyncio

import pytest

from app.service.errors import RequestTooLargeError, TrafficLimitError
from app.service.traffic import Hold, TrafficBudget

pytestmark = pytest.mark.anyio

LIMIT = 64_000
SMALL = LIMIT // 64
LARGEST = LIMIT * 3 // 4


async def held(budget: TrafficBudget, size: int) -> Hold:
    hold = Hold(budget)
    await hold.take(size)
    return hold


async def test_a_request_that_could_never_fit_is_refused_at_once() -> None:
    budget = TrafficBudget(LIMIT)

    with pytest.raises(RequestTooLargeError) as refused:
        await held(budget, LARGEST + 1)

    assert "HACDBS_MAX_TRAFFIC_BYTES" in refused.value.detail
    assert (refused.value.bound, budget.used_bytes) == (LARGEST, 0)


async def test_a_request_without_room_is_refused_after_a_while_and_holds_nothing() -> None:
    budget = TrafficBudget(LIMIT, wait_seconds=0.01)
    first = await held(budget, LARGEST)

    with pytest.raises(TrafficLimitError) as refused:
        await held(budget, SMALL + 1)

    assert "HACDBS_MAX_TRAFFIC_BYTES" in refused.value.detail
    assert (budget.used_bytes, budget.waiting) == (LARGEST, 0)
    first.close()
    assert budget.used_bytes == 0


async def test_large_requests_leave_room_for_small_ones() -> None:
    budget = TrafficBudget(LIMIT, wait_seconds=0.01)
    await held(budget, LARGEST)

    small = [await held(budget, SMALL) for _ in range(16)]

    assert budget.used_bytes == LIMIT
    with pytest.raises(TrafficLimitError):
        await held(budget, 1)
    small[0].close()
    await held(budget, SMALL)


async def test_large_requests_are_admitted_in_the_order_of_their_coming() -> None:
    budget = TrafficBudget(LIMIT)
    first = await held(budget, LARGEST)
    order: list[int] = []

    async def wait(number: int, size: int) -> None:
        hold = await held(budget, size)
        order.append(number)
        await asyncio.sleep(0)
        hold.close()

    waiting = [asyncio.create_task(wait(n, size)) for n, size in enumerate((LARGEST, 2_000, SMALL))]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert order == [2]
    first.close()
    await asyncio.gather(*waiting)

    assert order == [2, 0, 1]
    assert budget.used_bytes == 0


async def test_one_that_gives_up_as_room_comes_disturbs_nobody() -> None:
    budget = TrafficBudget(LIMIT)
    first = await held(budget, LARGEST)
    tasks = [asyncio.create_task(held(budget, LARGEST)) for _ in range(2)]
    await asyncio.sleep(0)

    tasks[0].cancel()
    await asyncio.sleep(0)  # its future is cancelled, and it has not run yet
    first.close()
    second = await tasks[1]

    assert tasks[0].cancelled()
    assert budget.used_bytes == second.held_bytes == LARGEST


async def test_what_is_there_counts_whether_it_fits_or_not() -> None:
    budget = TrafficBudget(LIMIT, wait_seconds=0.01)
    hold = Hold(budget)

    hold.keep(2 * LIMIT)

    with pytest.raises(TrafficLimitError):
        await held(budget, 1)
    hold.close()
    await held(budget, 1)


async def test_a_request_that_goes_on_does_not_wait_behind_one_that_begins() -> None:
    budget = TrafficBudget(LIMIT)
    ends, goes_on = await held(budget, LARGEST * 3 // 5), await held(budget, LARGEST // 4)
    begins = asyncio.create_task(held(budget, LARGEST * 9 // 10))
    await asyncio.sleep(0)
    more = asyncio.create_task(goes_on.take(LARGEST // 2))
    await asyncio.sleep(0)

    ends.close()
    await more

    assert not begins.done()
    goes_on.close()
    assert (await begins).held_bytes == budget.used_bytes == LARGEST * 9 // 10


async def test_a_request_that_gives_up_lets_those_behind_it_pass() -> None:
    budget = TrafficBudget(LIMIT)
    await held(budget, LARGEST // 2)
    gives_up = asyncio.create_task(held(budget, LARGEST))
    await asyncio.sleep(0)
    behind = asyncio.create_task(held(budget, LARGEST // 4))
    await asyncio.sleep(0)
    assert not behind.done()

    gives_up.cancel()

    assert (await behind).held_bytes == LARGEST // 4
