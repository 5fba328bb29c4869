"""`report migration | comparison | scenario`."""

from pathlib import Path

from hacdbs_sim.cli.exit_codes import ExitCode
from hacdbs_sim.client import Client, Vm
from tests.unit.cli.commands.conftest import Run


def test_the_report_of_a_migration_is_written_to_a_file(run: Run, vm: Vm, tmp_path: Path) -> None:
    migration = vm.start_migration()
    migration.wait()
    file = tmp_path / "report.html"

    result = run("report", "migration", "default-m1", "--output", str(file))

    assert result.exit_code == 0
    assert result.stdout == ""
    assert file.read_text(encoding="utf-8") == migration.report()


def test_the_others_go_to_standard_output(run: Run, client: Client) -> None:
    client.session().put_scenario({"scenario": "empty", "vms": [{"key": "src"}]})
    slot = {"slot": 0, "guest_phys_addr": 0, "memory_size": "1MiB"}
    started = client.start_comparison({"memslots": [slot]}, variants=[{"name": "one"}])
    started.wait()

    scenario = run("report", "scenario")
    comparison = run("report", "comparison", "default-c1")

    assert (scenario.exit_code, comparison.exit_code) == (0, 0)
    assert comparison.stdout == started.report()
    assert scenario.stdout == client.session().report_scenario()


def test_what_is_not_there_is_refused_and_what_cannot_be_written_is_said(
    run: Run, vm: Vm, tmp_path: Path
) -> None:
    vm.start_migration().wait()

    unknown = run("report", "comparison", "default-c9")
    nowhere = run("report", "migration", "default-m1", "-o", str(tmp_path / "none" / "file"))

    assert unknown.exit_code == ExitCode.REFUSED
    assert "default-c9" in unknown.stderr
    assert nowhere.exit_code == ExitCode.USAGE
    assert "the report cannot be written" in nowhere.stderr
