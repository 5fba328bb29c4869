"""The application: how it starts and how it stops."""

from typing import Any

import pytest
from starlette.types import Message

from app.main import create_app
from app.service.events import ALL_EVENTS
from app.settings import Settings
from tests.unit.http.requests import answer_of, scope_of

pytestmark = pytest.mark.anyio


async def test_a_stop_ends_readers_and_starting_again_has_them_again() -> None:
    app = create_app(Settings(allowed_hosts=("*",)))
    reader = app.context.fleet.events.open_reader(0, ALL_EVENTS)

    app.begin_stop()

    assert reader.is_closed
    assert (await answer_of(app, scope_of("GET", "/readyz")))[0] == 409
    app.begin()
    assert not app.context.fleet.events.open_reader(0, ALL_EVENTS).is_closed
    assert (await answer_of(app, scope_of("GET", "/readyz")))[0] == 200


async def test_a_start_that_is_refused_is_reported_without_a_traceback() -> None:
    app = create_app(Settings(scenario="no-such-scenario"))
    sent: list[Any] = []

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        sent.append(message)

    with pytest.raises(Exception, match="no-such-scenario"):
        await app({"type": "lifespan", "state": {}}, receive, send)

    (failed,) = sent
    assert failed["type"] == "lifespan.startup.failed"
    assert failed["message"] == app.refused_start
    assert "Traceback" not in failed["message"]
