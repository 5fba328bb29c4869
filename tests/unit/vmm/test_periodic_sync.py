"""Auto-converge takes the log every 5 seconds of a pass that lasts longer."""

from typing import Any

from hacdbs_sim.model import (
    AddUniform,
    AutoConverge,
    MigrationSpec,
    MigrationStatus,
    Reason,
    SetMemslot,
    VmConfig,
)
from hacdbs_sim.sim.machine import Machine
from hacdbs_sim.vmm import LiveMigration

NPAGES = 16_384
SECOND = 10**9


def migration(**fields: Any) -> LiveMigration:
    """A migration whose guest writes twice as much as it sends."""
    machine = Machine(VmConfig())
    machine.perform(SetMemslot(slot=0, guest_phys_addr=0, memory_size=NPAGES * 4_096))
    machine.perform(AddUniform(slot=0, writes_per_second=2_000))
    return LiveMigration(machine, MigrationSpec(bandwidth_bytes_per_second=4_000_000, **fields))


def pass_starts(*, periodic_sync: bool) -> list[float]:
    """When the first passes begin, in seconds."""
    report = migration(
        max_iterations=6, auto_converge=AutoConverge(periodic_sync=periodic_sync)
    ).run()
    return [each.started_ns / SECOND for each in report.iterations]


def test_it_comes_at_each_tick_until_another_sync_comes_between_two() -> None:
    _, second, *others = pass_starts(periodic_sync=True)

    assert 10.0 < second < 15.0, "so that one sync has come between the ticks at 10 and at 15 s"
    assert others[:3] == [20.0, 25.0, 30.0]


def test_without_it_a_pass_lasts_until_all_is_sent() -> None:
    _, second, third, *_ = pass_starts(periodic_sync=False)

    assert third - second > 9.0


def test_the_passes_that_it_begins_count_towards_the_limit() -> None:
    running = migration(max_iterations=4, auto_converge=AutoConverge(max=20))

    while running.step():
        assert running.progress[1] <= 5, "it goes on"

    report = running.report()
    assert (report.status, report.reason) == (MigrationStatus.CANCELLED, Reason.MAX_ITERATIONS)
    assert report.iterations[3].started_ns == 25 * SECOND
    assert len(report.iterations) == 5
