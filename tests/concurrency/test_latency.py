"""Health checks and fault calls never wait for calls on 128 GiB, which worker threads do.

How long they take beside such calls is a figure, which `scripts/load --big` prints. Here each big call
is held in its thread until the small ones have been answered.
"""

import queue
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from hacdbs_sim.client import Service, serve_in_thread
from tests.concurrency.big_calls import BIG_CALLS, CREATION, big_calls
from tests.concurrency.latency import FAULT
from tests.support.wire import HANG_SECONDS, Calls


class Threads:
    """Stands in for the executor of the event loop: what is handed over is held until it may go."""

    def __init__(self) -> None:
        self.handed_over: queue.Queue[threading.Event] = queue.Queue()
        self.holds = False
        self.may_go = threading.Event()
        self.submit = ThreadPoolExecutor.submit

    def submit_held(
        self, executor: ThreadPoolExecutor, call: Callable[..., Any], *arguments: Any
    ) -> Future[Any]:
        may_go = threading.Event()
        if self.holds:
            self.handed_over.put(may_go)
        else:
            may_go.set()

        def held() -> Any:
            assert may_go.wait(HANG_SECONDS)
            return call(*arguments)

        return self.submit(executor, held)

    def let_all_go(self) -> None:
        self.holds = False
        self.may_go.set()
        with suppress(queue.Empty):
            while True:
                self.handed_over.get_nowait().set()


@pytest.fixture(scope="module")
def service() -> Generator[Service]:
    with serve_in_thread(log_level="error") as running:
        yield running


@pytest.fixture(scope="module")
def big_vm(service: Service) -> str:
    with Calls(service.url) as calls:
        return f"/v1/vms/{calls.made('POST', '/v1/vms', CREATION)['vm_id']}"


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Threads:
    threads = Threads()

    def submit(
        executor: ThreadPoolExecutor, call: Callable[..., Any], *arguments: Any
    ) -> Future[Any]:
        return threads.submit_held(executor, call, *arguments)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", submit)
    return threads


def ask_for_little(calls: Calls, vm: str) -> None:
    """Check the health, and arm and disarm faults of the VM that the big call is on."""
    calls.made("GET", "/readyz")
    armed = calls.made("POST", f"{vm}/faults", FAULT)
    calls.made("GET", f"{vm}/faults/{armed['fault_id']}")
    calls.made("GET", f"{vm}/faults")
    calls.made("DELETE", f"{vm}/faults/{armed['fault_id']}")
    calls.made("POST", f"{vm}/faults", FAULT)
    calls.made("DELETE", f"{vm}/faults")


@pytest.mark.parametrize("name", BIG_CALLS)
def test_health_checks_and_fault_calls_never_wait_for_128_gib(
    service: Service, big_vm: str, threads: Threads, name: str
) -> None:
    handed_over = 0
    with (
        Calls(service.url) as big,
        Calls(service.url) as small,
        ThreadPoolExecutor(1) as caller,
    ):
        call = big_calls(big, big_vm)[name]
        threads.holds = True
        done = threads.submit(caller, call)
        done.add_done_callback(lambda _: threads.handed_over.put(threading.Event()))
        try:
            while True:
                threads.may_go = threads.handed_over.get(timeout=HANG_SECONDS)
                if done.done():
                    break
                ask_for_little(small, big_vm)
                handed_over += 1
                threads.may_go.set()
        finally:
            threads.let_all_go()
        done.result(HANG_SECONDS)

    assert handed_over > 0
