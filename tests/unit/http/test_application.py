"""The application: how it starts and how it stops."""

import asyncio
from typing import Any

import pytest
from starlette.types import Message

from app.http import application
from app.http.routes import prepare_answers
from app.main import create_app
from app.service.events import ALL_EVENTS
from app.settings import Settings
from hacdbs_sim.model import MigrationInfo, ScenarioOutcome, VmInfo
from hacdbs_sim.wire import writer
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


async def test_the_first_openapi_document_is_made_beside_the_event_loop() -> None:
    app = create_app(Settings(allowed_hosts=("*",)))
    application._document.cache_clear()
    application._document_text.cache_clear()
    asked = asyncio.create_task(answer_of(app, scope_of("GET", "/openapi.json")))
    turns = 0
    while not asked.done():
        turns += 1
        await asyncio.sleep(0.001)

    assert (await asked)[0] == 200
    assert turns > 100


def test_what_writes_an_answer_is_there_before_the_first_one() -> None:
    writer._SERIALIZERS.clear()

    prepare_answers()

    assert {MigrationInfo, ScenarioOutcome, VmInfo} <= writer._SERIALIZERS.keys()
