"""`migration list | show | set | cancel | switch-over | ...`."""

from collections.abc import Generator

import pytest

from hacdbs_sim.cli.exit_codes import ExitCode
from hacdbs_sim.client import Client, Migration
from tests.unit.cli.commands.conftest import Run, RunJson, rows


@pytest.fixture
def running(client: Client) -> Generator[Migration]:
    """A migration that takes its time, and allows all commands."""
    vm = client.create_vm(
        manual_dirty_log_protect2=1,
        memslots=[{"slot": 0, "guest_phys_addr": 0x4000_0000, "memory_size": "64MiB"}],
        workloads=[{"slot": 0, "kind": "uniform", "writes_per_second": 20_000}],
    )
    migration = vm.start_migration(
        pace_ms=200,
        downtime_limit_ns=1,
        max_iterations=1_000,
        postcopy={},
        pause_before_switchover=True,
    )
    yield migration
    client.session().reset()


def test_migrations_are_listed(running: Migration, run: Run, run_json: RunJson) -> None:
    (row,) = (row for row in rows(run("migration", "list").stdout) if row[:1] == ["default-m1"])

    assert row[1:3] == ["default-1", "active"] or row[2] == "setup"
    listed = run_json("migration", "list", "--session", "default")["migrations"]
    assert [each["migration_id"] for each in listed] == [running.migration_id]


def test_a_migration_is_cancelled_and_shown(running: Migration, run: Run) -> None:
    cancelled = run("migration", "cancel", running.migration_id)
    running.wait()

    shown = rows(run("migration", "show", running.migration_id).stdout)

    assert cancelled.exit_code == ExitCode.GOOD
    assert ["status", "cancelled"] in shown
    assert ["passes"] in shown
    assert any(row[:1] == ["sent"] for row in shown)


def test_settings_are_changed_and_what_is_not_given_stays(
    running: Migration, run_json: RunJson
) -> None:
    settings = ("--bandwidth", "2GiB", "--timeout", "90s", "--throttle-percent", "20")
    run_json("migration", "set", running.migration_id, *settings, "--auto-converge")
    running.switch_over()
    running.wait("pre-switchover")
    running.continue_()
    report = running.wait()

    (change, *_) = report.changes
    assert change.settings.given.keys() == {
        "bandwidth_bytes_per_second",
        "timeout_ns",
        "throttle_percent",
        "auto_converge",
    }
    assert change.settings.bandwidth_bytes_per_second == 2 << 30
    assert change.settings.timeout_ns == 90 * 10**9


def test_setting_nothing_is_a_usage_error(running: Migration, run: Run) -> None:
    result = run("migration", "set", running.migration_id)

    assert result.exit_code == ExitCode.USAGE
    assert "at least one setting" in result.stderr


def test_a_setting_beyond_its_bound_is_refused_with_the_value(running: Migration, run: Run) -> None:
    result = run("migration", "set", running.migration_id, "--throttle-percent", "100")

    assert result.exit_code == ExitCode.REFUSED
    assert "/throttle_percent" in result.stderr
    assert "(got 100)" in result.stderr


def test_it_switches_over_and_goes_on_by_commands(running: Migration, run: Run) -> None:
    assert run("migration", "switch-over", running.migration_id).exit_code == ExitCode.GOOD
    running.wait("pre-switchover")
    assert run("migration", "continue", running.migration_id).exit_code == ExitCode.GOOD

    report = running.wait()

    assert (report.status, report.reason) == ("completed", "requested")


def test_post_copy_is_started_paused_and_resumed(running: Migration, run: Run) -> None:
    assert run("migration", "start-postcopy", running.migration_id).exit_code == ExitCode.GOOD
    running.wait("pre-switchover")
    assert run("migration", "continue", running.migration_id).exit_code == ExitCode.GOOD
    running.wait("postcopy-active")
    assert run("migration", "pause", running.migration_id).exit_code == ExitCode.GOOD
    running.wait("postcopy-paused")
    assert run("migration", "resume", running.migration_id).exit_code == ExitCode.GOOD

    assert running.wait().reason == "postcopy"


def test_a_command_that_the_phase_forbids_is_refused(running: Migration, run: Run) -> None:
    result = run("migration", "resume", running.migration_id)

    assert result.exit_code == ExitCode.REFUSED
    assert "invalid_migration_state" in result.stderr
