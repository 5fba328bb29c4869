"""schemathesis with all its checks against the published schema, nothing excluded or widened.

All its checks are on. Three have less effect than the others: `object_level_authorization` needs two
identities, and there is one token; `missing_required_header` needs a required header;
`max_response_time` has no limit, because the service does not promise a time. `ignored_auth` has its own
test, because the token is a setting.
"""

import asyncio
from collections.abc import Generator, Iterator
from copy import deepcopy
from typing import Any, Final

import httpx
import pytest
import schemathesis
from pydantic import SecretStr

from app.http.idempotency import KEY_PATTERN
from app.http.preconditions import TAGS_PATTERN
from app.main import create_app
from app.settings import LogLevel, Settings
from hacdbs_sim.client import open_http
from tests.contract.schemes import (
    EXAMPLES,
    Case,
    InWorld,
    Schema,
    Send,
    Statuses,
    forget_everything,
    looking,
    map_path_parameters,
    patient,
)
from tests.support.schemathesis_hooks import KEY, TAGS, freshen
from tests.support.service_process import running_service

pytestmark = pytest.mark.slow


LARGE_BODIES: Final = ["put_scenario", "start_comparison", "run_batch"]
OF_RUNNING_MIGRATIONS: Final = {
    "PATCH /v1/migrations/{migration_id}",
    *(
        f"POST /v1/migrations/{{migration_id}}/{command}"
        for command in ("switch-over", "start-postcopy", "continue", "pause", "resume")
    ),
}
"""Called, and always refused: each call has an event loop of its own, which no migration outlasts.
`test_migration_control` gives these commands in their phases."""

TOKEN = "secret"  # noqa: S105 - the test's own

app = create_app(Settings(log_level=LogLevel.ERROR, allowed_hosts=("*",)))
served = InWorld(app)
schema = schemathesis.openapi.from_asgi("/openapi.json", served)
patient(schema).hook(map_path_parameters)


def send_in_process(method: str, path: str, body: Any) -> httpx.Response:
    app.context.is_stopping = False

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, json=body)

    return asyncio.run(send())


@pytest.fixture(scope="module")
def statuses() -> Iterator[Statuses]:
    seen = Statuses()
    yield seen

    assert set(seen.never_well()) <= OF_RUNNING_MIGRATIONS


@schema.exclude(operation_id=LARGE_BODIES).parametrize()
@looking(EXAMPLES)
def test_every_answer_is_what_the_schema_says(case: Case, statuses: Statuses) -> None:
    look_at_one(case, statuses)


large_schema = schemathesis.openapi.from_asgi("/openapi.json", served)
large_schema.config.phases.coverage.enabled = False  # it walks each bound of each field: minutes
patient(large_schema).hook(map_path_parameters)


@large_schema.include(operation_id=LARGE_BODIES).parametrize()
@looking(max(1, EXAMPLES // 4))
def test_every_answer_to_a_large_body_is_what_the_schema_says(
    case: Case, statuses: Statuses
) -> None:
    look_at_one(case, statuses)


def look_at_one(case: Case, statuses: Statuses) -> None:
    served.is_used = True
    freshen(case)

    response = case.call_and_validate()

    statuses.add(case, response)


def guarded() -> Schema:
    """A service with a token, by a document that says so: ours has to allow for none."""
    settings = Settings(log_level=LogLevel.ERROR, allowed_hosts=("*",), token=SecretStr(TOKEN))
    behind = create_app(settings)
    document = deepcopy(behind.openapi())
    for operations in document["paths"].values():
        for operation in operations.values():
            if "security" in operation:
                operation["security"] = [need for need in operation["security"] if need]
    loaded = schemathesis.openapi.from_dict(document)
    loaded.app = behind
    loaded.config.phases.coverage.enabled = False
    patient(loaded).hook(map_path_parameters)
    return loaded


guarded_schema = guarded()


@guarded_schema.parametrize()
@looking(1)
def test_no_answer_without_the_token(case: Case) -> None:
    freshen(case)

    case.call_and_validate(headers={"Authorization": f"Bearer {TOKEN}"})


def test_sequences_of_calls_answer_as_the_schema_says() -> None:
    follow_links(schemathesis.openapi.from_asgi("/openapi.json", app), send_in_process)


@pytest.fixture(scope="module")
def http() -> Generator[httpx.Client]:
    with running_service({"HACDBS_LOG_LEVEL": "error"}) as url, open_http(url) as client:
        yield client


def test_sequences_of_calls_answer_so_over_a_real_connection(http: httpx.Client) -> None:
    linked = schemathesis.openapi.from_url(str(http.base_url.join("/openapi.json")))

    def send(method: str, path: str, body: Any) -> httpx.Response:
        return http.request(method, path, json=body)

    follow_links(linked, send)


def follow_links(linked: Schema, send: Send) -> None:
    """Run a state machine whose calls take their names from answers to calls before."""
    statuses = Statuses()
    linked = patient(linked).exclude(operation_id=LARGE_BODIES)

    class Calls(linked.as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            forget_everything(send)

        def before_call(self, case: Case) -> None:
            freshen(case)

        def after_call(self, response: Any, case: Case) -> None:
            statuses.add(case, response)

    Calls.run(settings=looking(EXAMPLES, stateful_step_count=20))

    assert len(statuses.seen) > 20


def test_the_hooks_know_a_valid_key_and_valid_tags_as_the_service_does() -> None:
    assert f"^{KEY.pattern}$" == KEY_PATTERN
    assert f"^({TAGS.pattern})$" == TAGS_PATTERN
