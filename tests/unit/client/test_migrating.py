"""Migrations as objects: waited for by either client, as far as asked and no further."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from hacdbs_sim.client import (
    AsyncClient,
    Client,
    ConflictError,
    NotFoundError,
    Vm,
    WaitTimeoutError,
)
from hacdbs_sim.client.waiting import has_reached
from hacdbs_sim.model import AutoConverge, Destination, LinkSpec, MigrationStatus
from tests.support.wire import HANG_SECONDS
from tests.unit.client.conftest import MEMSLOT

PACED = 10_000


def test_a_migration_is_begun_and_waited_for(vm: Vm) -> None:
    migration = vm.start_migration(slots=[0], schedule=[], auto_converge={"max": 30})

    report = migration.wait()

    assert migration.info is not None
    assert migration.info.vm_id == vm.vm_id
    assert (report.status, report.is_over) == ("completed", True)
    assert migration.get() == report
    assert migration.query_migrate() == report.qmp
    assert migration.get_iterations().iterations == report.iterations
    assert len(migration.get_iterations_csv().splitlines()) == 1 + len(report.iterations)
    assert report.spec.auto_converge is not None
    assert report.spec.auto_converge.max == 30


def test_a_wait_ends_at_a_phase_or_a_pass_or_in_time(vm: Vm) -> None:
    migration = vm.start_migration(pace_ms=PACED)

    setup = migration.wait("setup", timeout=HANG_SECONDS)
    with pytest.raises(WaitTimeoutError, match="iteration-3 of migration default-m1"):
        migration.wait("iteration-3", timeout=0.1)
    migration.cancel()
    ended = migration.wait("iteration-3")

    assert setup.status in {"setup", "active"}
    assert (ended.status, [each.sent_pages for each in ended.iterations]) == ("cancelled", [0])


def test_a_comparison_is_begun_and_waited_for(client: Client) -> None:
    variants: list[dict[str, Any]] = [
        {"name": "one"},
        {"name": "software", "features": {"hacdbs": False}},
    ]
    comparison = client.start_comparison(
        {"memslots": [MEMSLOT]}, {"verify": False}, variants=variants
    )

    report = comparison.wait()

    assert comparison.info is not None
    assert comparison.comparison_id == "default-c1"
    assert report.is_over
    assert [row.name for row in report.rows] == ["one", "software"]
    assert comparison.get() == report


def test_a_comparison_that_takes_too_long_is_a_timeout(client: Client) -> None:
    comparison = client.start_comparison({"memslots": [MEMSLOT]}, pace_ms=PACED)

    with pytest.raises(WaitTimeoutError, match="end of comparison default-c1"):
        comparison.wait(timeout=0.1)

    assert comparison.cancel().comparison_id == comparison.comparison_id


def test_refusals_are_exceptions(client: Client, vm: Vm) -> None:
    with pytest.raises(NotFoundError, match="no such migration"):
        client.migration("default-m9").get()
    with pytest.raises(ConflictError) as refused:
        vm.start_migration(slots=[4])

    assert refused.value.code == "invalid_migration"


def test_for_coroutines_it_is_the_same() -> None:
    async def story() -> tuple[Any, Any]:
        async with AsyncClient.in_process() as client:
            vm = await client.create_vm(memslots=[MEMSLOT])
            migration = await vm.start_migration()
            report = await migration.wait()
            assert migration.migration_id == "default-m1"
            comparison = await client.start_comparison({"memslots": [MEMSLOT]})
            assert comparison.comparison_id == "default-c1"
            assert client.migration("default-m1").migration_id == "default-m1"
            return report, await client.comparison("default-c1").wait()

    report, compared = asyncio.run(story())

    assert report.status == "completed"
    assert compared.status == "completed"


def test_for_coroutines_a_wait_ends_in_time_too() -> None:
    async def story() -> None:
        async with AsyncClient.in_process() as client:
            vm = await client.create_vm(memslots=[MEMSLOT])
            migration = await vm.start_migration(pace_ms=PACED)
            with pytest.raises(WaitTimeoutError):
                await migration.wait(timeout=0.1)
            comparison = await client.start_comparison({"memslots": [MEMSLOT]}, pace_ms=PACED)
            with pytest.raises(WaitTimeoutError):
                await comparison.wait(timeout=0.1)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("status", "wait_for", "reached"),
    [
        ("none", "setup", False),
        ("active", "setup", True),
        ("active", "active", True),
        ("active", "device", False),
        ("active", "iteration-0", True),
        ("active", "iteration-1", False),
        ("active", "end", False),
        ("cancelling", "active", False),
        ("device", "postcopy-active", False),
        ("postcopy-active", "device", True),
        ("postcopy-active", "postcopy-paused", False),
        ("postcopy-paused", "postcopy-paused", True),
        ("postcopy-paused", "end", False),
        ("failed", "completed", True),
    ],
)
def test_a_phase_is_reached_there_beyond_or_at_the_end(
    vm: Vm, status: str, wait_for: str, reached: bool
) -> None:
    report = vm.start_migration().wait()
    info = replace(report, status=MigrationStatus(status), iterations=())

    assert has_reached(info, wait_for) is reached


def test_a_running_migration_is_changed_and_given_commands(client: Client) -> None:
    vm = client.create_vm(memslots=[replace(MEMSLOT, memory_size=16 << 20)])
    migration = vm.start_migration(
        bandwidth_bytes_per_second=1_000_000,
        pause_before_switchover=True,
        link=LinkSpec(latency_ns=1_000),
        destination=Destination(name="there"),
        pace=100,
    )

    migration.update(bandwidth_bytes_per_second=10**9, auto_converge=AutoConverge(max=50))
    with pytest.raises(ConflictError) as refused:
        migration.resume()
    migration.update(downtime_limit_ns=10**9)
    migration.switch_over()
    migration.wait("pre-switchover")
    migration.continue_()
    report = migration.wait()

    assert refused.value.code == "invalid_migration_state"
    assert (report.status, report.reason) == ("completed", "requested")
    assert [change.command for change in report.changes] == [None, None, "switch_over", "continue"]
    assert report.destination_vm_id is not None
    assert client.vm(report.destination_vm_id).get().name == "there"
