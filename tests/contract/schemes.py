"""The shared parts of the schemathesis tests: resources for path parameters, hooks, settings.

CONTRACT_EXAMPLES says how many examples each operation gets (`scripts/fuzz --examples` sets it);
without it the examples are few, and the same every time.
"""

import json
import os
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from starlette import types as asgi

from app.http.application import Application
from app.service.budget import Account
from app.service.fleet import Fleet
from app.service.migrations import prepared
from app.service.scenarios import StandingScenario
from hacdbs_sim.model import DEFAULT_SESSION, CreateCopy, CreateVm, MigrationSpec
from hacdbs_sim.wire import read
from tests.contract.calls import NAMES, WORLD
from tests.support.building import NOTHING_COMPARED
from tests.support.wire import HANG_SECONDS

Schema = schemathesis.BaseSchema
Case = schemathesis.Case[Any]
Send = Callable[[str, str, Any], httpx.Response]
"""Sends a request by method, path and JSON body."""

_GIVEN: Final = os.environ.get("CONTRACT_EXAMPLES")
EXAMPLES: Final = int(_GIVEN or 12)

_WORLD: Final = {
    **WORLD,
    "memslots": [
        # Slot 0 is the one of the schema's examples.
        {
            "slot": 0,
            "guest_phys_addr": 1 << 30,
            "memory_size": "2GiB",
            "flags": ["LOG_DIRTY_PAGES"],
        },
        {"slot": 1, "guest_phys_addr": 0, "memory_size": "2MiB", "flags": ["LOG_DIRTY_PAGES"]},
    ],
}
_SCENARIO: Final = b'{"scenario":"applied","vms":[{"key":"src"}]}'
_SMALL_MIGRATION: Final = MigrationSpec(slots=(1,))
_SPEC: Final = read(CreateVm, json.dumps(_WORLD))


def looking(examples: int, **more: Any) -> settings:
    """Return the settings of a test with this number of examples."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=_GIVEN is None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
        **more,
    )


def patient(schema: Schema) -> Schema:
    """Raise the timeout of requests: schemathesis allows 10 s, which a busy machine may need."""
    schema.config.update(request_timeout=HANG_SECONDS)
    return schema


class InWorld:
    """The application, where each request that is announced finds a new world.

    The world is made in the event loop that serves the request: a fleet belongs to one loop.
    """

    def __init__(self, app: Application) -> None:
        self._app = app
        self.is_used = False
        """Whether the next request needs a new world."""

    async def __call__(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        if scope["type"] == "http" and self.is_used:
            self.is_used = False
            await _make_world(self._app.context.fleet)
        await self._app(scope, receive, send)


async def _make_world(fleet: Fleet) -> None:
    """Create the VM, fault, session and scenario that path parameters name, after any earlier calls.

    Before every single call, so it goes past HTTP.
    """
    if NAMES["session_id"] not in {session.session_id for session in fleet.sessions()}:
        fleet.create_session(NAMES["session_id"])
    other = fleet.session(NAMES["session_id"])
    if other.scenario is None:
        other.scenario = StandingScenario(
            "given", _SCENARIO, Account(fleet.budget), 0, {}, is_done=True
        )
    fleet.reset_session(DEFAULT_SESSION)
    await _make_vm(fleet)


async def _make_vm(fleet: Fleet) -> None:
    """Create the VM and a copy, and run a migration and a comparison to their end."""
    vm = await fleet.create_vm(_SPEC)
    await vm.copies.create(CreateCopy())
    migration = fleet.migrations.start(
        vm.session_id, vm.vm_id, vm.runtime, prepared(vm.runtime, _SMALL_MIGRATION)
    )
    apart = await fleet.build_apart(_SPEC)
    task = fleet.migrations.task("one", apart, prepared(apart, _SMALL_MIGRATION).migration)
    comparison = fleet.migrations.compare(vm.session_id, [task], NOTHING_COMPARED)
    for run in (migration.run, comparison.run):
        await run.wait(lambda: False, HANG_SECONDS)


def forget_everything(send: Send) -> None:
    """Reset the service to the empty default session: the same calls then get the same responses."""
    listed = send("GET", "/v1/sessions?limit=1000", None).json()["sessions"]
    for session in listed:
        if session["session_id"] != "default":
            send("DELETE", f"/v1/sessions/{session['session_id']}", None)
    assert send("POST", "/v1/sessions/default/reset", None).status_code == 204


def map_path_parameters(
    context: Any,  # noqa: ARG001 - the hook is given it
    path_parameters: dict[str, Any] | None,
) -> dict[str, Any] | None:
    """Set the names that `make_world` has created."""
    if path_parameters is None:
        return None
    named = {
        name: value if name in {"slot", "cpu"} else NAMES.get(name, value)
        for name, value in path_parameters.items()
    }
    # Numbers that the schema allows are folded onto those that exist, and a few beyond.
    for name in ("slot", "cpu"):
        if isinstance(named.get(name), int) and named[name] >= 0:
            named[name] %= 3
    return named


class Statuses:
    """The statuses of the responses of each operation."""

    def __init__(self) -> None:
        self.seen: defaultdict[str, set[int]] = defaultdict(set)

    def add(self, case: Case, response: Any) -> None:
        self.seen[case.operation.label].add(response.status_code)

    def never_well(self) -> list[str]:
        """List the operations that were called and never returned 2xx."""
        return [label for label, seen in self.seen.items() if not any(s < 300 for s in seen)]
