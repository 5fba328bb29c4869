"""Stories that a seed makes: clients that create, reset, delete, migrate and retry at once."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any, Final

from app.http.application import Application
from app.main import create_app
from app.settings import LogLevel, Settings
from tests.interleave import promises
from tests.interleave.loop import HangError, ScheduledLoop
from tests.interleave.world import Request, World, small_steps

SESSIONS: Final = ("default", "x")
MEMSLOT: Final = {
    "slot": 0,
    "guest_phys_addr": 0,
    "memory_size": "1MiB",
    "flags": ["LOG_DIRTY_PAGES"],
}


def make_application() -> Application:
    """Make the application that all schedules share; each gives it a fleet of its own."""
    return create_app(Settings(log_level=LogLevel.ERROR))


@dataclass(slots=True, eq=False)
class Story:
    """The calls of some clients; what each calls next depends on the seed only."""

    world: World
    random: Random
    _names: "count[int]" = field(default_factory=count)
    _keyed: list[Request] = field(default_factory=list)

    async def client(self, calls: int) -> None:
        """Make calls, one after the other."""
        for _ in range(calls):
            weights = list(_CALLS.values())
            (make,) = self.random.choices(list(_CALLS), weights)
            request = make(self)
            request.is_slow = request.body is not None and self.random.random() < 0.2
            await self.world.call(request)
            if request.key and request.method == "POST" and request not in self._keyed:
                self._keyed.append(request)

    def session(self) -> str:
        return self.random.choice(SESSIONS)

    def vm(self) -> str:
        return f"{self.session()}-{self.random.choice((1, 1, 1, 2, 2, 3))}"

    def name(self, kind: str = "vm") -> str:
        return f"{kind}{next(self._names)}"

    def key(self) -> str:
        return self.name("key") if self.random.random() < 0.4 else ""

    def create(self) -> Request:
        name = self.name()
        body = {"session_id": self.session(), "name": name, "memslots": [MEMSLOT]}
        return Request("POST", "/v1/vms", body, key=self.key(), name=name)

    def retry(self) -> Request:
        if not self._keyed:
            return self.create()
        first = self.random.choice(self._keyed)
        return Request("POST", first.path, first.body, key=first.key, name=first.name)

    def reset(self) -> Request:
        return Request("POST", f"/v1/sessions/{self.session()}/reset", key=self.key())

    def delete_session(self) -> Request:
        return Request("DELETE", "/v1/sessions/x")

    def create_session(self) -> Request:
        return Request("POST", "/v1/sessions", {"session_id": "x"})

    def get(self) -> Request:
        return Request("GET", f"/v1/vms/{self.vm()}")

    def delete(self) -> Request:
        return Request("DELETE", f"/v1/vms/{self.vm()}")

    def batch(self) -> Request:
        actions = [
            {"op": "guest_write", "gfns": [1, 2, 3]},
            {"op": "add_fault", "type": "ipaf", "times": 1},
            {"op": "get_dirty_log", "slot": 0},
            {"op": "update_vm", "manual_dirty_log_protect2": 3},
        ]
        chosen = self.random.sample(actions, self.random.randint(1, 4))
        return Request("POST", f"/v1/vms/{self.vm()}/batch", {"actions": chosen}, key=self.key())

    def migrate(self) -> Request:
        body: dict[str, Any] = {"vm_id": self.vm(), "max_iterations": 3}
        name = ""
        if self.random.random() < 0.6:
            name = self.name("destination")
            body["destination"] = {"session_id": self.session(), "name": name}
        if self.random.random() < 0.2:
            body["pause_before_switchover"] = True
        return Request("POST", "/v1/migrations", body, key=self.key(), name=name)

    def command(self) -> Request:
        command = self.random.choice(("cancel", "continue", "switch-over"))
        migration = f"{self.session()}-m{self.random.choice((1, 1, 2))}"
        return Request("POST", f"/v1/migrations/{migration}/{command}")

    def wait(self) -> Request:
        migration = f"{self.session()}-m{self.random.choice((1, 1, 2))}"
        return Request("GET", f"/v1/migrations/{migration}?wait_for=end&wait_seconds=1")

    def compare(self) -> Request:
        body = {
            "vm": {"session_id": self.session(), "memslots": [MEMSLOT]},
            "migration": {"max_iterations": 2},
            "variants": [{"name": "one"}, {"name": "two", "kernel": "v1"}],
        }
        return Request("POST", "/v1/comparisons", body, key=self.key())

    def copy(self) -> Request:
        return Request("POST", f"/v1/vms/{self.vm()}/copies", {"base": "source"}, key=self.key())

    def start_copy(self) -> Request:
        name = self.name("copied")
        body = {"name": name, "session_id": self.session()}
        path = f"/v1/vms/{self.vm()}/copies/c1/start"
        return Request("POST", path, body, key=self.key(), name=name)

    def delete_copy(self) -> Request:
        return Request("DELETE", f"/v1/vms/{self.vm()}/copies/c1")

    def measure(self) -> Request:
        body = {"duration_ns": 10**9}
        return Request("POST", f"/v1/vms/{self.vm()}/dirty-rate", body, key=self.key())

    def scenario(self) -> Request:
        name = self.name("scenario")
        body: dict[str, Any] = {
            "scenario": "a-story",
            "vms": [{"key": "vm", "name": name, "memslots": [MEMSLOT]}],
            "steps": [{"vm": "vm", "action": {"op": "guest_write", "gfns": [1]}}] * 2,
        }
        if self.random.random() < 0.4:
            body["migration"] = {"vm": "vm", "max_iterations": 2}
        return Request("PUT", f"/v1/sessions/{self.session()}/scenario", body, name=name)

    def delete_scenario(self) -> Request:
        return Request("DELETE", f"/v1/sessions/{self.session()}/scenario")

    def events(self) -> Request:
        return Request("GET", "/v1/events?wait_seconds=1&after=1000000")

    def list_all(self) -> Request:
        return Request("GET", "/v1/vms?session_id=-")


_CALLS: Final[dict[Callable[[Story], Request], int]] = {
    Story.create: 12,
    Story.retry: 5,
    Story.reset: 5,
    Story.delete_session: 2,
    Story.create_session: 3,
    Story.get: 5,
    Story.delete: 2,
    Story.batch: 5,
    Story.migrate: 7,
    Story.command: 2,
    Story.wait: 2,
    Story.compare: 2,
    Story.copy: 3,
    Story.start_copy: 3,
    Story.delete_copy: 1,
    Story.measure: 2,
    Story.scenario: 3,
    Story.delete_scenario: 1,
    Story.events: 1,
    Story.list_all: 1,
}


@dataclass(frozen=True, slots=True)
class Played:
    """What a schedule did."""

    requests: int
    steps: int
    codes: tuple[str, ...]


def play(app: Application, seed: int) -> Played:
    """Play the schedule of a seed.

    Raises:
        BrokenPromiseError: A promise does not hold.
        HangError: Something never ends.
    """
    random = Random(seed)
    loop = ScheduledLoop(random)
    defects: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: defects.append(context))
    flags = {"in_threads": random.random() < 0.7, "decodes_in_threads": random.random() < 0.3}
    try:
        with small_steps(**flags):
            world = loop.run_until_complete(_play(app, random))
    except BaseException:
        for task in asyncio.all_tasks(loop):
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # it hangs
        raise
    finally:
        loop.close()
    promises.require(not defects, defects)
    codes = tuple(request.code or str(request.status) for request in world.requests)
    return Played(len(world.requests), loop.steps, codes)


async def _play(app: Application, random: Random) -> World:
    world = World(app)
    await world.call(Request("POST", "/v1/sessions", {"session_id": "x"}))
    story = Story(world, random)
    for _ in range(3):
        await world.call(story.create())
    clients = [
        asyncio.create_task(story.client(random.randint(2, 6))) for _ in range(random.randint(2, 4))
    ]
    ending = random.choices((_finish, _cancel_some, _stop), (6, 2, 2))[0]
    await ending(world, random, clients)
    promises.check(world)
    promises.check_events(world)
    return world


Clients = list[asyncio.Task[None]]


async def _finish(world: World, _: Random, clients: Clients) -> None:
    """Let all clients end, then delete everything."""
    await asyncio.gather(*clients)
    await _check_and_empty(world)


async def _cancel_some(world: World, random: Random, clients: Clients) -> None:
    """Cancel some requests, as a server does with those that do not end."""
    await _let_others_run(random)
    for client in random.sample(clients, random.randint(1, len(clients))):
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    await _check_and_empty(world)


async def _stop(world: World, random: Random, clients: Clients) -> None:
    """Stop the service: requests have some time to end, and are cancelled then."""
    await _let_others_run(random)
    world.app.begin_stop()
    await _let_others_run(random)
    for client in clients:
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    await world.app.end()
    await _all_ended()


async def _let_others_run(random: Random) -> None:
    for _ in range(random.randint(0, 60)):
        await asyncio.sleep(0)


MAX_SECONDS: Final = 10_000
"""The virtual time in which everything ends by itself."""


async def _check_and_empty(world: World) -> None:
    # Migrations, too, so that the lists are final; some wait for a command
    for _ in range(MAX_SECONDS):
        if not (others := _others()):
            break
        running = [each for each in world.fleet.migrations.migrations(None) if not each.run.is_over]
        for each in running:
            if each.run.tasks[0].is_waiting:
                each.run.cancel()
        await asyncio.wait(others, timeout=1)
    else:
        raise HangError
    promises.check_listed(
        world, await world.call(Request("GET", "/v1/vms?session_id=-&limit=1000"))
    )
    for kind in ("migration", "comparison"):
        listed = await world.call(Request("GET", f"/v1/{kind}s?session_id=-&limit=1000"))
        promises.check_runs(world, listed, kind)
    await world.call(Request("POST", "/v1/sessions/default/reset"))
    await world.call(Request("DELETE", "/v1/sessions/x"))
    await _all_ended()
    promises.check_emptied(world)


def _others() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


async def _all_ended() -> None:
    while others := _others():
        await asyncio.wait(others)
