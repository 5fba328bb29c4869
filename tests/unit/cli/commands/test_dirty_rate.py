"""`dirty-rate`: what it sends, and what it prints."""

import pytest

from hacdbs_sim.client import Vm
from tests.unit.cli.commands.conftest import Run, RunJson


def write_all(vm: Vm) -> None:
    """Make the guest write each of the 1,024 pages within a second."""
    vm.add_workload("sequential", slot=0, writes_per_second=100_000)


def test_a_measurement_is_shown_with_its_slots(run: Run, vm: Vm) -> None:
    write_all(vm)

    result = run("dirty-rate", "default-1", "--mode", "dirty_bitmap")

    assert result.exit_code == 0
    words = result.stdout.split()
    assert {"measured", "dirty_bitmap", "1,024"} <= set(words)
    assert "4" in words  # MiB a second: 4 MiB once


def test_the_last_measurement_is_shown_again(run_json: RunJson, vm: Vm) -> None:
    write_all(vm)
    measured = run_json("dirty-rate", "default-1", "--duration", "500ms", "--sample-pages", "128")
    before = vm.get_clock()

    assert run_json("dirty-rate", "default-1", "--query") == measured
    assert (measured["duration_ns"], measured["sample_pages_per_gib"]) == (500_000_000, 128)
    assert vm.get_clock() == before


@pytest.mark.usefixtures("vm")
def test_a_refusal_is_printed(run: Run) -> None:
    result = run("dirty-rate", "default-1", "--mode", "dirty_ring")

    assert result.exit_code != 0
    assert "only where the VM has dirty rings" in result.output
