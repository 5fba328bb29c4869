"""What must hold of any schedule: the history of what was made, against the responses."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from app.service.events import ALL_EVENTS
from tests.interleave.world import ENDINGS, Event, Request, World

REFUSALS = frozenset(
    {
        "session_reset",
        "no_such_session",
        "no_such_vm",
        "no_such_migration",
        "no_such_comparison",
        "no_such_copy",
        "no_such_scenario",
        "session_exists",
        "migration_running",
        "migration_limit",
        "invalid_migration",
        "invalid_migration_state",
        "idempotency_key_in_flight",
        "dirty_rate_measuring",
        "not_ready",
    }
)
"""The codes of refusals that the calls of a story may meet."""


class BrokenPromiseError(AssertionError):
    """A schedule broke a promise."""


def require(holds: object, *what: object) -> None:
    """Raise unless a promise holds."""
    if not holds:
        raise BrokenPromiseError(" ".join(map(str, what)))


def check(world: World) -> None:
    """Check what holds at any time, once all requests have ended."""
    _check_numbers(world.history)
    for request in world.requests:
        _check_answer(request)
        if request.name:
            _check_made(world.history, request)
        if request.method == "GET" and request.path.startswith("/v1/vms/"):
            _check_seen(world.history, request)
    _check_keys(world)


def alive(history: list[Event]) -> dict[str, str]:
    """Return the names of the VMs that are there after a history, by id."""
    found: dict[str, str] = {}
    for event in history:
        match event.what:
            case "create_vm":
                assert event.vm_id is not None
                found[event.vm_id] = event.name
            case "delete_vm":
                found.pop(event.vm_id or "")
            case "reset_session" | "delete_session":
                found = {
                    vm_id: name
                    for vm_id, name in found.items()
                    if vm_id.rpartition("-")[0] != event.session_id
                }
            case _:
                pass
    return found


def check_listed(world: World, listed: Request) -> None:
    """Check a list of all VMs that was made while nothing else happened."""
    seen = {each["vm_id"]: each["name"] for each in listed.answer["vms"]}
    require(seen == alive(world.history), "listed", seen, "made", alive(world.history))


def check_runs(world: World, listed: Request, kind: str) -> None:
    """Check a list of all migrations or comparisons: those answered since the last reset, only."""
    started: dict[str, list[Request]] = defaultdict(list)
    for request in world.requests:
        if request.status == 202 and f"{kind}_id" in request.answer:
            started[request.answer[f"{kind}_id"]].append(request)
        elif request.method == "PUT" and request.status == 201 and request.answer["migration"]:
            started[request.answer["migration"]["migration_id"]].append(request)
    numbers = defaultdict(set)
    for each in listed.answer[f"{kind}s"]:
        run_id = each[f"{kind}_id"]
        session_id, _, number = run_id.rpartition("-")
        numbers[session_id].add(int(number[1:]))
        if any(each.is_cancelled for each in world.requests):
            continue  # what was started is unknown
        by = [each for each in started[run_id] if not _has_ended(world, each, session_id)]
        require(by, run_id, "was started before a reset, by", started[run_id])
    for session_id, found in numbers.items():
        require(found == set(range(1, len(found) + 1)), kind, session_id, sorted(found))


def _has_ended(world: World, request: Request, session_id: str) -> bool:
    """Whether a session has been reset since a request began; its own reset does not count."""
    later = world.history[request.began :]
    if request.method == "PUT":
        own = [at for at, event in enumerate(later) if event.by is request]
        later = later[own[0] :]
    return bool(_endings(later, session_id))


def check_emptied(world: World) -> None:
    """Check that nothing is held once all has been deleted and has ended."""
    fleet = world.fleet
    require(fleet.vm_count == 0, "VMs:", fleet.vm_count)
    require(fleet.budget.used_bytes == 0, "bytes held:", fleet.budget.used_bytes)
    require(fleet.events.reader_count == 0, "readers:", fleet.events.reader_count)
    scopes = fleet.idempotency._scopes
    require(all(name.startswith("/") for name in scopes), "keys of", list(scopes))
    held = sum(scope.held_bytes for scope in scopes.values())
    require(fleet.idempotency.held_bytes == held, "key bytes:", fleet.idempotency.held_bytes)
    require(all(run.is_over for run in fleet.migrations._running), "a run has not ended")


def check_events(world: World) -> None:
    """Check that no event of a VM comes after the event of its end."""
    log = world.fleet.events
    there: set[str] = set()
    for each in log.after(0, ALL_EVENTS, log.last_event_id).events:
        match each.type.value:
            case "vm_created":
                there.add(str(each.vm_id))
            case "vm_deleted":
                there.discard(str(each.vm_id))
            case "session_reset" | "session_deleted":
                there = {vm for vm in there if vm.rpartition("-")[0] != each.session_id}
            case "migration":
                pass  # a deleted VM's migration reports its end
            case _:
                require(each.vm_id in there, each, "of a VM that is not there")


def _check_answer(request: Request) -> None:
    if request.is_cancelled:
        return
    require(request.status in range(200, 500), request)
    if request.status >= 400:
        require(request.code in REFUSALS, request)


def _check_made(history: list[Event], request: Request) -> None:
    """Check that what a request made came after no reset that it had begun before."""
    made = [at for at, event in enumerate(history) if event.by is request]
    is_scenario = request.path.endswith("/scenario")
    for at in made:
        event = history[at]
        between = history[request.began : at - 1 if is_scenario else at]
        if is_scenario:  # other scenarios may come first
            between = list(_without_scenarios(between, history[request.began + 1 : at]))
        require(not _endings(between, event.session_id), request, "made", event, "after", between)
    if request.status == 201 and not request.key and not is_scenario:
        require(len(made) == 1, request, "made", made)
    if request.code == "session_reset" and not request.key:
        during = {event.what for event in history[request.began : request.ended]}
        require(during & {*ENDINGS, "create_session"}, request, "met no reset")


def _without_scenarios(events: list[Event], following: list[Event]) -> Iterator[Event]:
    """Leave out the resets of scenarios: their VM comes with them."""
    for event, after in zip(events, following, strict=False):
        if not (event.what in ENDINGS and after.name.startswith("scenario")):
            yield event


def _check_seen(history: list[Event], request: Request) -> None:
    """Check that a VM was there, or was not, at some time during the request."""
    if not request.status:
        return
    vm_id = request.path.rpartition("/")[2]
    times = range(request.began, request.ended + 1)
    names = {alive(history[:time]).get(vm_id) for time in times}
    wanted = request.answer["name"] if request.status == 200 else None
    require(wanted in names, request, "while there were", names)


def _check_keys(world: World) -> None:
    """Check that a key makes one VM between two resets, and each response has one of them."""
    by_name: dict[str, list[Request]] = defaultdict(list)
    for request in world.requests:
        if request.key and request.name:
            by_name[request.name].append(request)
    for name, requests in by_name.items():
        made = [at for at, event in enumerate(world.history) if event.name == name]
        for first, second in pairwise(made):
            between = world.history[first:second]  # the key may be that of another session
            require(any(each.what in ENDINGS for each in between), name, "was made twice")
        ids = {world.history[at].vm_id for at in made}
        for request in requests:
            if request.status == 201:
                require(request.answer["vm_id"] in ids, request, "is not one of", ids)


def _check_numbers(history: list[Event]) -> None:
    last: dict[str, int] = {}
    for event in history:
        if event.what == "create_vm":
            last[event.session_id] = last.get(event.session_id, 0) + 1
            expected = f"{event.session_id}-{last[event.session_id]}"
            require(event.vm_id == expected, event, "should be", expected)
        elif event.what in ENDINGS:
            last[event.session_id] = 0


def _endings(events: list[Event], session_id: str) -> list[Event]:
    return [each for each in events if each.session_id == session_id and each.what in ENDINGS]
