"""`migrate`, `compare`, `wait --migration`."""

import io
import json
import os
import signal
import threading
from collections.abc import Generator, Iterator
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from hacdbs_sim.cli.commands import migration
from hacdbs_sim.cli.commands import service as service_commands
from hacdbs_sim.cli.exit_codes import ExitCode
from hacdbs_sim.cli.progress import SHOWN_PASSES, pass_display
from hacdbs_sim.cli.root import cli
from hacdbs_sim.client import Client, Vm
from hacdbs_sim.client.results import read
from hacdbs_sim.model import Iteration, IterationTable, MigrationInfo, MigrationStatus
from tests.unit.cli.commands.conftest import Run, RunJson

SMALL = """\
vm:
  manual_dirty_log_protect2: 3
  memslots:
    - {slot: 0, guest_phys_addr: 0x40000000, memory_size: 64MiB}
  workloads:
    - {slot: 0, kind: uniform, writes_per_second: 20000}
migration: {downtime_limit_ns: 1000000}
"""


@pytest.fixture
def writing(client: Client) -> Vm:
    """A VM of 64 MiB whose guest writes by itself."""
    return client.create_vm(
        manual_dirty_log_protect2=1,
        cpus=2,
        seed=5,
        memslots=[{"slot": 0, "guest_phys_addr": 0x4000_0000, "memory_size": "64MiB"}],
        workloads=[{"slot": 0, "kind": "uniform", "writes_per_second": 20_000}],
    )


def lines(text: str) -> Iterator[str]:
    return (" ".join(line.split()) for line in text.splitlines())


def test_migrate_shows_each_pass_and_how_it_ended(writing: Vm, run: Run) -> None:
    result = run("migrate", writing.vm_id, "--downtime-limit", "1ms")

    assert result.exit_code == ExitCode.GOOD
    printed = list(lines(result.stdout))
    assert printed[0].startswith("pass 0: phase active, dirty ")
    assert printed[1].startswith("pass 1: phase ")
    assert "status completed" in printed
    assert "lost pages 0" in printed
    assert any(line.startswith("downtime 0.") for line in printed)


def test_a_preset_on_a_vm_without_workloads_is_warned_of(vm: Vm, writing: Vm, run: Run) -> None:
    idle = run("migrate", vm.vm_id, "--preset", "converges")
    busy = run("migrate", writing.vm_id, "--preset", "converges")

    (line,) = idle.stderr.splitlines()
    assert line.startswith("warning: default-1 has no workloads")
    assert "GET /v1/migration-presets" in line
    assert (idle.exit_code, busy.stderr) == (ExitCode.GOOD, "")


def test_migrate_prints_the_body_of_the_response(
    client: Client, writing: Vm, run_json: RunJson
) -> None:
    printed = run_json("migrate", writing.vm_id, "--downtime-limit", "1ms")

    assert printed == client.http.get("/v1/migrations/default-m1").json()
    assert (printed["status"], printed["spec"]["downtime_limit_ns"]) == ("completed", 1_000_000)


def test_its_options_are_the_fields_of_a_migration(
    writing: Vm, tmp_path: Path, run_json: RunJson
) -> None:
    file = tmp_path / "how.yaml"
    file.write_text("max_iterations: 7\ndowntime_limit_ns: 5\nschedule: []\n")
    options = ["--file", str(file), "--bandwidth", "0.5GiB", "--downtime-limit", "2.5ms"]
    options += ["--timeout", "30s", "--timeout-strategy", "switch_over", "--auto-converge"]
    options += ["--slot", "0", "--clear-order", "before_copy", "--clear-chunk-pages", "4096"]

    spec = run_json("migrate", writing.vm_id, *options, "--no-verify", "--pace-ms", "1")["spec"]

    expected = {
        "bandwidth_bytes_per_second": 1 << 29,
        "downtime_limit_ns": 2_500_000,
        "max_iterations": 7,
        "timeout_ns": 30_000_000_000,
        "timeout_strategy": "switch_over",
        "slots": [0],
        "clear_order": "before_copy",
        "clear_chunk_pages": 4096,
        "verify": False,
    }
    assert {name: spec[name] for name in expected} == expected
    assert spec["auto_converge"]["initial"] == 20


def test_link_post_copy_and_stall_have_options(writing: Vm, run_json: RunJson) -> None:
    options = ["--link-bandwidth", "1GiB", "--latency", "200us", "--postcopy", "--stall", "9s"]
    options += ["--timeout-strategy", "postcopy", "--max-iterations", "1", "--pace", "0.001"]

    printed = run_json("migrate", writing.vm_id, *options, "--downtime-limit", "1ns")

    spec = printed["spec"]
    assert spec["link"] == {"bytes_per_second": 1 << 30, "latency_ns": 200_000, "events": []}
    assert (spec["postcopy"]["after_iterations"], spec["stall_ns"]) == (None, 9 * 10**9)
    assert (printed["status"], printed["postcopy"]["guest_lost"]) == ("completed", False)


def test_changes_changed_slots_and_post_copy_are_shown_and_why_it_ended(
    writing: Vm, tmp_path: Path, run: Run
) -> None:
    slot = {"slot": 1, "guest_phys_addr": 0, "memory_size": 4096}
    file = tmp_path / "how.json"
    schedule = [
        {"iteration": 0, "action": {"op": "set_memslot", **slot}},
        {"iteration": 1, "set": {"downtime_limit_ns": 7, "auto_converge": {"max": 50}}},
        {"iteration": 1, "set": {"command": "start_postcopy"}},
    ]
    how = {"schedule": schedule, "postcopy": {}, "on_layout_change": "ignore"}
    file.write_text(json.dumps(how))

    result = run("migrate", writing.vm_id, "--file", str(file))

    printed = list(lines(result.stdout))
    assert "change in pass 1 by schedule: start_postcopy" in printed
    assert any("1 schedule downtime_limit_ns 7, auto_converge initial 20" in row for row in printed)
    assert any(row.startswith("1 appeared ") for row in printed)
    assert "because post-copy sent the rest" in printed
    assert "guest_lost no" in printed


def test_lost_pages_end_in_1_and_are_listed(writing: Vm, run: Run) -> None:
    slow = ("--bandwidth", "100000000", "--downtime-limit", "1ms")
    result = run("migrate", writing.vm_id, *slow, "--clear-order", "after_copy")

    assert result.exit_code == ExitCode.NEGATIVE
    printed = list(lines(result.stdout))
    assert "status completed" in printed
    assert "lost pages 0" not in printed
    assert any(line.startswith("slot 0 ") and "more ranges" in line for line in printed)


def test_slots_that_could_not_be_compared_are_listed(writing: Vm, tmp_path: Path, run: Run) -> None:
    slot = {"slot": 1, "guest_phys_addr": 0, "memory_size": 4096}
    schedule = [{"iteration": 0, "action": {"op": "set_memslot", **slot}}]
    file = tmp_path / "how.json"
    file.write_text(json.dumps({"schedule": schedule, "on_layout_change": "ignore"}))

    result = run("migrate", writing.vm_id, "--file", str(file))

    assert "not compared slot 1" in list(lines(result.stdout))


def test_a_migration_that_is_cancelled_ends_in_1(writing: Vm, run: Run) -> None:
    result = run("migrate", writing.vm_id, "--max-iterations", "1", "--downtime-limit", "1ns")

    assert result.exit_code == ExitCode.NEGATIVE
    assert "reason max_iterations" in list(lines(result.stdout))


def test_a_migration_that_fails_reports_why(writing: Vm, run: Run) -> None:
    writing.add_fault("copy_to_user")

    result = run("migrate", writing.vm_id)

    assert result.exit_code == ExitCode.NEGATIVE
    assert any(line.startswith("problem copy_to_user_failed: ") for line in lines(result.stdout))


def test_a_migration_that_is_refused_ends_in_3(vm: Vm, run: Run) -> None:
    result = run("migrate", vm.vm_id, "--slot", "7")

    assert result.exit_code == ExitCode.REFUSED
    assert "/slots" in result.stderr


@pytest.mark.parametrize(
    ("option", "value", "printed"),
    [
        ("--bandwidth", "10Gbit", "1250000000 or 1GiB"),
        ("--bandwidth", "fast", "1250000000 or 1GiB"),
        ("--downtime-limit", "300", "300ms, 10s or 500us"),
        ("--timeout", "soon", "300ms, 10s or 500us"),
    ],
)
def test_an_invalid_amount_ends_in_2(option: str, value: str, printed: str, run: Run) -> None:
    result = run("migrate", "default-1", option, value)

    assert result.exit_code == ExitCode.USAGE
    assert printed in " ".join(result.stderr.replace("│", " ").split())


@pytest.fixture
def heeding() -> Generator[None]:
    """Heed SIGINT, which a shell has its background jobs ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeding")
def test_an_interrupt_cancels_the_migration(
    client: Client, writing: Vm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HACDBS_URL", str(client.http.base_url))

    def interrupt() -> None:
        client.wait_until(lambda: list(client.list_migrations()), what="migration")
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(SystemExit) as ended:
        cli(["migrate", writing.vm_id, "--pace-ms", "10000"], prog_name="hacdbs-sim")
    thread.join()

    assert ended.value.code == 130
    report = client.migration("default-m1").get(wait_for="end", wait_seconds=60)
    assert (report.status, report.reason) == ("cancelled", "cancel")


def test_an_interrupt_that_comes_with_the_response_cancels_the_migration_too(
    client: Client, writing: Vm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HACDBS_URL", str(client.http.base_url))
    responses: list[httpx.Response] = []

    def interrupted(kind: type[MigrationInfo], response: httpx.Response) -> MigrationInfo:
        responses.append(response)
        if len(responses) == 1:
            raise KeyboardInterrupt
        return read(kind, response)

    monkeypatch.setattr(migration, "read", interrupted)

    with pytest.raises(SystemExit) as ended:
        cli(["migrate", writing.vm_id, "--pace-ms", "10000"], prog_name="hacdbs-sim")

    assert ended.value.code == 130
    (started,) = client.list_migrations()
    report = client.migration(started.migration_id).get(wait_for="end", wait_seconds=60)
    assert (report.status, report.reason) == ("cancelled", "cancel")


def test_compare_shows_the_variants_side_by_side(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "what.yaml"
    file.write_text(SMALL)

    result = run("compare", "--file", str(file))

    assert result.exit_code == ExitCode.GOOD
    printed = list(lines(result.stdout))
    assert printed[0] == "comparison default-c1: completed"
    for variant in ("hacdbs", "software", "faults"):
        assert any(line.startswith(f"{variant} completed ") for line in printed)


def test_compare_prints_the_body_of_the_response(
    client: Client, tmp_path: Path, run_json: RunJson
) -> None:
    file = tmp_path / "what.yaml"
    file.write_text(SMALL)

    printed = run_json("compare", "--file", str(file))

    assert printed == client.http.get("/v1/comparisons/default-c1").json()


def test_compare_takes_a_preset(run: Run) -> None:
    result = run("compare", "--preset", "never_converges", "--json")

    assert result.exit_code == ExitCode.NEGATIVE
    assert [row["status"] for row in json.loads(result.stdout)["rows"]] == ["cancelled"] * 3


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["--preset", "converges", "--file", "x"], "give --preset or --file"),
        (["--preset", "soon"], "'soon' is not one of 'converges', 'never_converges'"),
    ],
    ids=["both", "unknown"],
)
def test_compare_takes_a_file_or_a_preset_that_there_is(
    arguments: list[str], printed: str, run: Run
) -> None:
    result = run("compare", *arguments)

    assert result.exit_code == ExitCode.USAGE
    assert printed in " ".join(result.stderr.replace("│", " ").split())


def test_compare_without_arguments_takes_the_preset_that_converges(run_json: RunJson) -> None:
    rows = run_json("compare")["rows"]

    assert [row["name"] for row in rows] == ["hacdbs", "software", "faults"]
    assert {row["status"] for row in rows} == {"completed"}


def test_wait_ends_with_the_migration(writing: Vm, run: Run, run_json: RunJson) -> None:
    writing.start_migration()

    result = run("wait", "--migration", "default-m1")
    report = run_json("wait", "--migration", "default-m1")

    assert "status completed" in list(lines(result.stdout))
    assert report["status"] == "completed"


def test_waiting_for_a_migration_in_vain_ends_in_5(writing: Vm, run: Run) -> None:
    migration = writing.start_migration(pace_ms=10_000)

    result = run("wait", "--migration", "default-m1", "--timeout", "0")
    migration.cancel()

    assert result.exit_code == ExitCode.NOT_IN_TIME
    assert "after 0 s" in result.stderr


def test_a_long_wait_asks_again(writing: Vm, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_commands, "POLL_SECONDS", 0)
    migration = writing.start_migration(pace_ms=100)

    result = run("wait", "--migration", migration.migration_id)

    assert result.exit_code == ExitCode.GOOD


def iteration(number: int, remaining_pages: int = 0) -> Iteration:
    return Iteration(iteration=number, dirty_pages=100, remaining_pages=remaining_pages)


def passes(*iterations: Iteration) -> IterationTable:
    return IterationTable(
        migration_id="default-m1", status=MigrationStatus.ACTIVE, iterations=iterations
    )


def test_a_terminal_sees_a_table_of_the_last_passes_and_a_bar() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120, highlight=False)
    iterations = [iteration(n, remaining_pages=40) for n in range(SHOWN_PASSES + 3)]

    with pass_display(console, is_silent=False) as show:
        show(passes())
        show(passes(*iterations))

    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    assert "default-m1: active" in printed
    assert f" {SHOWN_PASSES + 2} " in printed
    assert "━" * 36 in printed


def test_nothing_is_shown_with_json() -> None:
    console = Console(file=io.StringIO())

    with pass_display(console, is_silent=True) as show:
        show(passes(iteration(0)))

    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == ""
