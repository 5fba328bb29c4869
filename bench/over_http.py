"""Small requests: calls of the service against endpoints that do nothing, in the same process.

A get and a clear are measured against a plain FastAPI endpoint that is sent the same request: its
parameters and its body are read, and nothing is done.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from bench.core import PAGE_SIZE
from bench.goals import Goal, at_least
from bench.rounds import Effort, Side, nothing, waiting
from bench.rows import Figures, Row, compare, rate
from bench.service import Service, service, slot_of
from bench.wire import Crowd, as_json, request
from hacdbs_sim.model.units import GIB

CONNECTIONS: Final = 16
BURST: Final = 256
"""Requests of one round; each goes to a VM of its own, so that every one finds its slot dirty."""

EMPTY: Final = "empty endpoint, same process"
WITHOUT_LOG: Final = "the same without the line (level error)"
SAME_REQUEST: Final = "plain FastAPI endpoint, same request"
EMPTY_GET: Final = request("GET", "/empty/x")
_EMPTY_VM: Final = "/empty/x"

GET: Final = "/memslots/0/dirty-log/get"
CLEAR: Final = "/memslots/0/dirty-log/clear"
WRITE: Final = "/guest/write"

_PAGES: Final = GIB // PAGE_SIZE
_EVERY_GFN: Final = as_json({"gfn_ranges": [[0, _PAGES]]})
_EVERY_PAGE: Final = as_json({"page_ranges": [[0, _PAGES]]})

GetService = Callable[[], Service]


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests to measure.

    Attributes:
        restoring: Those that restore the state before each round.
        plain: The same request to a plain FastAPI endpoint.
    """

    measured: list[bytes]
    restoring: list[bytes]
    plain: bytes

    def side(self, crowd: Crowd) -> Side:
        """Return the requests as a side."""
        restore = (lambda: crowd.serve(self.restoring)) if self.restoring else nothing
        return waiting(lambda: crowd.serve(self.measured), restore)


@contextmanager
def gets(service: Service, *, dirty: bool) -> Iterator[Requests]:
    """Make VMs, and requests that take their whole log, summed up."""
    with service.vms(BURST, GIB) as vms:
        yield Requests(
            [request("POST", f"{vm}{GET}?format=summary") for vm in vms],
            [request("POST", vm + WRITE, _EVERY_GFN) for vm in vms] if dirty else [],
            request("POST", f"{_EMPTY_VM}{GET}?format=summary"),
        )


@contextmanager
def clears(service: Service) -> Iterator[Requests]:
    """Make VMs, and requests that clear their whole log."""
    with service.vms(BURST, GIB, manual_protect=1) as vms:
        yield Requests(
            [request("POST", vm + CLEAR, _EVERY_PAGE) for vm in vms],
            [request("POST", vm + WRITE, _EVERY_GFN) for vm in vms],
            request("POST", _EMPTY_VM + CLEAR, _EVERY_PAGE),
        )


def plain_side(crowd: Crowd, plain: bytes, count: int) -> Side:
    """Return the same request so many times as a side."""
    requests = [plain] * count
    return waiting(lambda: crowd.serve(requests))


def _against_plain(service: Service, effort: Effort, goal: Goal, requests: Requests) -> Figures:
    count = len(requests.measured)
    with service.crowd(CONNECTIONS) as crowd:
        return compare(
            goal,
            requests.side(crowd),
            plain_side(crowd, requests.plain, count),
            effort,
            show=rate(count),
        )


def _get(service: Service, effort: Effort, goal: Goal, *, dirty: bool) -> Figures:
    with gets(service, dirty=dirty) as requests:
        return _against_plain(service, effort, goal, requests)


def _clear(service: Service, effort: Effort, goal: Goal) -> Figures:
    with clears(service) as requests:
        return _against_plain(service, effort, goal, requests)


def _logged_get(effort: Effort, goal: Goal, log_format: str) -> Figures:
    settings = {"HACDBS_LOG_FORMAT": log_format}
    with (
        service(**settings, HACDBS_LOG_LEVEL="info") as ours,
        service(**settings, HACDBS_LOG_LEVEL="error") as theirs,
        gets(ours, dirty=False) as logged,
        gets(theirs, dirty=False) as silent,
        ours.crowd(CONNECTIONS) as our_crowd,
        theirs.crowd(CONNECTIONS) as their_crowd,
    ):
        return compare(
            goal, logged.side(our_crowd), silent.side(their_crowd), effort, show=rate(BURST)
        )


class _Lives:
    """VMs made and deleted. Their ids are known beforehand: a session counts them."""

    def __init__(self, service: Service, crowd: Crowd) -> None:
        self._service = service
        self._crowd = crowd
        self._creates = [request("POST", "/v1/vms", as_json({"memslots": [slot_of(GIB)]}))] * BURST
        self._deletes: list[bytes] = []

    def look_ahead(self) -> None:
        """Find out which ids come next."""
        path = self._service.make_vm(GIB)
        self._service.connection.exchange(request("DELETE", path))
        stem, _, number = path.rpartition("-")
        self._deletes = [
            request("DELETE", f"{stem}-{int(number) + n}") for n in range(1, BURST + 1)
        ]

    def run(self) -> None:
        """Make VMs, then delete them."""
        self._crowd.serve(self._creates)
        self._crowd.serve(self._deletes)


def _create_delete(service: Service, effort: Effort, goal: Goal) -> Figures:
    with service.crowd(CONNECTIONS) as crowd:
        runtimes = _Lives(service, crowd)
        return compare(
            goal,
            waiting(runtimes.run, runtimes.look_ahead),
            plain_side(crowd, EMPTY_GET, 2 * BURST),
            effort,
            show=rate(2 * BURST),
        )


def rows(effort: Effort, get_service: GetService) -> Iterator[Row]:
    """Return the rows of small requests."""
    many = f"{CONNECTIONS} connections"
    yield Row(
        "http-get",
        f"POST get, summary, 1 GiB, {many}",
        "logging, warmed, all dirty; each request its own VM",
        SAME_REQUEST,
        at_least(0.85),
        lambda goal: _get(get_service(), effort, goal, dirty=True),
    )
    yield Row(
        "http-get-clean",
        "the same",
        "logging, never written",
        SAME_REQUEST,
        at_least(0.85),
        lambda goal: _get(get_service(), effort, goal, dirty=False),
    )
    for log_format in ("json", "console"):
        yield Row(
            f"http-get-logged-{log_format}",
            f"the same, and its log line ({log_format}) to a file",
            "logging, never written",
            WITHOUT_LOG,
            at_least(0.9),
            lambda goal, log_format=log_format: _logged_get(effort, goal, log_format),  # type: ignore[misc]
        )
    yield Row(
        "http-clear",
        f"POST clear, one range, 1 GiB, {many}",
        "manual protect, warmed, all dirty; each request its own VM",
        SAME_REQUEST,
        at_least(0.85),
        lambda goal: _clear(get_service(), effort, goal),
    )
    yield Row(
        "http-create-delete",
        f"POST and DELETE a VM with a 1 GiB slot, {many}",
        "no VM; each of the two counts as one request",
        EMPTY,
        at_least(0.5),
        lambda goal: _create_delete(get_service(), effort, goal),
    )
