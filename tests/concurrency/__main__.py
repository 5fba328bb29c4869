"""Put load on a real service and print what it takes: requests, latencies, memory.

`scripts/load --idle-vms 10000`; without options all parts run, short. Nothing fails here; tests hold
the bounds.
"""

import argparse
import asyncio
import time
from collections.abc import Callable, Iterator
from random import Random
from typing import Final

from tests.concurrency.big_calls import CREATION, big_calls
from tests.concurrency.histories import make_vms
from tests.concurrency.latency import watching
from tests.concurrency.vm_calls import random_call
from tests.support.quantiles import quantile
from tests.support.serving import Serving, serving
from tests.support.wire import AsyncCalls, Calls

GIB: Final = 1 << 30
MIB: Final = 1 << 20
SESSION: Final = "load"


def row(*cells: object) -> None:
    """Print a line of a table."""
    first, *rest = map(str, cells)
    print(f"{first:<26}" + "".join(f"{cell:>13}" for cell in rest), flush=True)


def milliseconds(seconds: list[float]) -> Iterator[str]:
    """Return p50, p99 and the maximum."""
    for share in (0.5, 0.99, 1.0):
        yield f"{quantile(seconds, share) * 1e3:.1f} ms"


def one_gib(*, logs: bool) -> dict[str, object]:
    """A VM with one slot of 1 GiB."""
    flags = ["LOG_DIRTY_PAGES"] if logs else []
    slot = {"slot": 0, "guest_phys_addr": 0, "memory_size": GIB, "flags": flags}
    return {"session_id": SESSION, "memslots": [slot]}


def make(calls: Calls, service: Serving, count: int, *, logs: bool) -> tuple[float, float]:
    """Make idle VMs; return the bytes of each and the seconds of all."""
    before, began = service.rss_bytes, time.perf_counter()
    for _ in range(count):
        calls.made("POST", "/v1/vms", one_gib(logs=logs))
    return (service.rss_bytes - before) / count, time.perf_counter() - began


def idle_vms(count: int) -> None:
    """Report what idle VMs of 1 GiB take, what a few written pages add, and what stays after."""
    print(f"\n{count} VMs of 1 GiB (one slot)")
    row("", "each", "RSS", "mappings", "VMs/s")
    for logs in (False, True):
        with serving() as service, Calls(service.url) as calls:
            calls.made("POST", "/v1/sessions", {"session_id": SESSION})
            each, seconds = make(calls, service, count, logs=logs)
            rss = f"{service.rss_bytes / MIB:.0f} MiB"
            name = "idle, logging" if logs else "idle, no log"
            row(name, f"{each / 1024:.1f} KiB", rss, service.maps, f"{count / seconds:.0f}")
            vm = f"/v1/vms/{SESSION}-1"
            with watching(service.url, vm) as seen:
                for number in range(1, min(count, 1000) + 1):
                    calls.made("GET", f"/v1/vms/{SESSION}-{number}")
            row("  health checks", *milliseconds(seen.ready))
            row("  fault calls", *milliseconds(seen.faults))
            touched, before = min(count, 2000), service.rss_bytes
            for number in range(1, touched + 1):
                path = f"/v1/vms/{SESSION}-{number}/guest/write"
                calls.made("POST", path, {"gfn_ranges": [[0, 9], [1 << 17, 9]]})
            grown = (service.rss_bytes - before) / touched
            row(
                "  with 18 pages written",
                f"{grown / 1024:.1f} KiB",
                f"{service.rss_bytes / MIB:.0f} MiB",
            )
            calls.made("POST", f"/v1/sessions/{SESSION}/reset")
            row("  after reset", "", f"{service.rss_bytes / MIB:.0f} MiB")


def cycles(count: int) -> None:
    """Print the memory over cycles of making VMs and a reset: it stays flat."""
    print(f"\n{count} VMs made, one page each written, session reset: five times")
    row("", "full", "after reset")
    with serving() as service, Calls(service.url) as calls:
        calls.made("POST", "/v1/sessions", {"session_id": SESSION})
        for cycle in range(1, 6):
            make(calls, service, count, logs=True)
            for number in range(1, count + 1):
                calls.made("POST", f"/v1/vms/{SESSION}-{number}/guest/write", {"gfns": [7]})
            full = service.rss_bytes
            calls.made("POST", f"/v1/sessions/{SESSION}/reset")
            row(f"cycle {cycle}", f"{full / MIB:.0f} MiB", f"{service.rss_bytes / MIB:.0f} MiB")


async def mixed(url: str, vms: int, clients: int, seconds: float) -> list[float]:
    """Call at random from many clients at once; return the latencies."""
    paths = await make_vms(url, vms)
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        random = Random(number)
        async with AsyncCalls(url) as calls:
            while time.perf_counter() < end:
                call = random_call(random)
                path = random.choice(paths) + call.path
                began = time.perf_counter()
                answer = await calls.call(call.method, path, call.body)
                latencies.append(time.perf_counter() - began)
                assert answer.status < 500, answer

    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(client(number))
    return latencies


def many_clients(clients: int, seconds: float) -> None:
    """Report throughput and latencies of mixed calls on small VMs."""
    print(f"\n{clients} clients, mixed calls, {seconds:.0f} s")
    row("", "requests/s", "p50", "p99", "max", "RSS before", "after", "after reset")
    for vms in (1, clients):
        with serving() as service, Calls(service.url) as calls:
            sizes = [service.rss_bytes]
            latencies = asyncio.run(mixed(service.url, vms, clients, seconds))
            sizes.append(service.rss_bytes)
            calls.made("POST", "/v1/sessions/default/reset")
            sizes.append(service.rss_bytes)
            rss = (f"{size / MIB:.0f} MiB" for size in sizes)
            rate = f"{len(latencies) / seconds:.0f}"
            row(f"on {vms} VM{'s' * (vms > 1)}", rate, *milliseconds(latencies), *rss)


def beside_big_calls(seconds: float) -> None:
    """Print latencies of health checks and fault calls while calls on 128 GiB run.

    The ratios are those of p99 to p99 beside nothing. They are figures and not a test: a busy machine
    has others. That such calls never wait for a large one is tests/concurrency/test_latency.py.
    """
    print(f"\nbeside calls on 128 GiB, {seconds:.0f} s each")
    row(
        "",
        "each call",
        *(f"{of} {share}" for of in ("ready", "fault") for share in ("p50", "p99", "max")),
        *("ready ratio", "fault ratio"),
    )
    with serving() as service, Calls(service.url) as calls:
        vm = f"/v1/vms/{calls.made('POST', '/v1/vms', CREATION)['vm_id']}"
        doings: dict[str, Callable[[], None]] = {"nothing": lambda: time.sleep(0.1)}
        idle: tuple[float, ...] = ()
        for name, call in {**doings, **big_calls(calls, vm)}.items():
            call()
            done = 0
            with watching(service.url, vm) as seen:
                began = time.perf_counter()
                while time.perf_counter() - began < seconds:
                    call()
                    done += 1
                each = (time.perf_counter() - began) / done
            times = (*milliseconds(seen.ready), *milliseconds(seen.faults))
            p99s = quantile(seen.ready, 0.99), quantile(seen.faults, 0.99)
            idle = idle or p99s
            ratios = (f"{p99 / alone:.1f}x" for p99, alone in zip(p99s, idle, strict=True))
            row(name, f"{each * 1e3:.1f} ms", *times, *ratios)
        print(f"RSS {service.rss_bytes / MIB:.0f} MiB")


def main() -> None:
    """Run the requested parts."""
    parser = argparse.ArgumentParser(
        prog="scripts/load", description="Load on a real service: figures."
    )
    parser.add_argument("--idle-vms", type=int, help="how many idle VMs to make")
    parser.add_argument("--cycles", type=int, help="VMs in each of five cycles of make and reset")
    parser.add_argument("--clients", type=int, help="how many clients call at once")
    parser.add_argument("--big", action="store_true", help="latencies beside calls on 128 GiB")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each timed part")
    asked = parser.parse_args()
    every = not (asked.idle_vms or asked.cycles or asked.clients or asked.big)
    if asked.clients or every:
        many_clients(asked.clients or 64, asked.seconds)
    if asked.big or every:
        beside_big_calls(asked.seconds)
    if asked.idle_vms or every:
        idle_vms(asked.idle_vms or 1000)
    if asked.cycles or every:
        cycles(asked.cycles or 300)


if __name__ == "__main__":
    main()
