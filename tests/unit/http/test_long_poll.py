"""A call that waits, and a server that begins to stop."""

from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request

from app.extensions import EXCHANGE
from app.http.long_poll import open_waiter

pytestmark = pytest.mark.anyio


async def test_a_stop_closes_who_waits() -> None:
    at_stop: list[Any] = []
    exchange = SimpleNamespace(call_at_stop=at_stop.append)

    waiter = open_waiter(Request({"type": "http", "extensions": {EXCHANGE: exchange}}))
    before = waiter.is_closed
    (close,) = at_stop
    close()

    assert (before, waiter.is_closed) == (False, True)


async def test_a_server_that_reports_no_stop_is_served_too() -> None:
    assert not open_waiter(Request({"type": "http"})).is_closed
