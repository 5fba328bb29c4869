"""Presets end as their descriptions say."""

import orjson

from hacdbs_sim import model as a
from hacdbs_sim.model import MigrationStatus, Reason
from hacdbs_sim.vmm import LiveMigration, Report
from hacdbs_sim.vmm.presets import PRESETS
from hacdbs_sim.wire import read
from tests.support.machine import Machine
from tests.unit.vmm.source import MS


def run(name: str) -> Report:
    preset = PRESETS[name]
    vm = dict(preset.vm)
    memslots, workloads = vm.pop("memslots"), vm.pop("workloads")
    machine = Machine(read(a.VmConfig, orjson.dumps(vm)))
    for memslot in memslots:
        machine.perform(read(a.SetMemslot, orjson.dumps(memslot)))
    for workload in workloads:
        assert workload["kind"] == "uniform"
        fields = {name: value for name, value in workload.items() if name != "kind"}
        machine.perform(a.AddUniform(**fields))
    spec = read(a.MigrationSpec, orjson.dumps(dict(preset.migration)))
    return LiveMigration(machine, spec).run()


def test_the_one_that_converges_pauses_the_guest_for_less_than_its_limit() -> None:
    report = run("converges")

    assert (report.status, report.reason) == (MigrationStatus.COMPLETED, Reason.CONVERGED)
    assert report.downtime_ns < 10 * MS
    first, second = (each.sent_pages for each in report.iterations[:2])
    assert 5 < first / second < 9
    assert report.verification.lost_pages == 0


def test_the_one_that_never_converges_is_cancelled_after_its_tenth_pass() -> None:
    report = run("never_converges")

    assert (report.status, report.reason) == (MigrationStatus.CANCELLED, Reason.MAX_ITERATIONS)
    *passes, last = report.iterations
    left = [each.remaining_pages / report.total_pages for each in passes]
    assert len(passes) == 10
    assert last.sent_pages == 0
    assert min(left) > 0.7
    assert min(left[3:]) > 0.9
