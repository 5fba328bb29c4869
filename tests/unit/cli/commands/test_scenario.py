"""`scenario list | show | run | outcome`."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from hacdbs_sim.cli.exit_codes import ExitCode
from hacdbs_sim.cli.root import cli
from hacdbs_sim.client import Client, serve_in_thread
from hacdbs_sim.scenarios.builtin import load, names
from tests.support.real_kvm import require_kvm
from tests.unit.cli.commands.conftest import Run, RunJson

GOOD = """\
scenario: mine
vms:
  - key: src
    memslots:
      - {slot: 0, guest_phys_addr: 0x40000000, memory_size: 1MiB, flags: [LOG_DIRTY_PAGES]}
steps:
  - vm: src
    action: {op: guest_write, gfns: [0x40000]}
    expect: {body: {newly_dirty: 1}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)
    return path


def sessions(client: Client) -> list[str]:
    return [session.session_id for session in client.list_sessions()]


def test_list_names_each_builtin_scenario(client: Client, run: Run, run_json: RunJson) -> None:
    printed = run("scenario", "list").stdout

    assert [name for name in names() if name not in printed] == []
    assert run_json("scenario", "list") == client.http.get("/v1/scenarios").json()


def test_show_prints_what_run_reads(tmp_path: Path, run: Run, run_json: RunJson) -> None:
    printed = run("scenario", "show", "lost-interrupt").stdout
    path = tmp_path / "shown.yaml"
    path.write_text(printed)

    assert yaml.safe_load(printed) == load("lost-interrupt")
    assert run_json("scenario", "show", "lost-interrupt")["scenario"] == "lost-interrupt"
    assert run("scenario", "run", str(path)).exit_code == ExitCode.GOOD


def test_run_runs_a_builtin_scenario_in_a_session_of_its_own(client: Client, run: Run) -> None:
    before = sessions(client)

    result = run("scenario", "run", "lost-interrupt")

    assert result.exit_code == ExitCode.GOOD
    assert result.stdout.splitlines()[-1].strip() == "lost-interrupt: passed"
    assert sessions(client) == before


@pytest.mark.parametrize("command", ["run", "show"])
def test_a_name_that_there_is_not_may_be_another(command: str, run: Run) -> None:
    wrong = run("scenario", command, "lost-interupt")
    unlike = run("scenario", command, "zzz")

    where = "hacdbs-sim scenario list lists them; a file ends in .yaml or .json\n"
    assert wrong.stderr.endswith(f"; did you mean lost-interrupt? {where}")
    assert "?" not in unlike.stderr
    assert unlike.stderr.endswith(f"; {where}")
    assert (wrong.exit_code, unlike.exit_code) == (ExitCode.REFUSED, ExitCode.REFUSED)


def test_run_prints_the_body_of_the_response(file: Path, run_json: RunJson) -> None:
    printed = run_json("scenario", "run", str(file))

    assert (printed["scenario"], printed["verdict"], printed["steps"][0]["body"]["pages"]) == (
        "mine",
        "passed",
        1,
    )


def test_run_reads_stdin(run: Run) -> None:
    assert run("scenario", "run", "-", stdin=GOOD).exit_code == ExitCode.GOOD


def test_run_keeps_the_session_that_is_asked_for(client: Client, file: Path, run: Run) -> None:
    first = run("scenario", "run", str(file), "--session", "default")
    outcome = run("scenario", "outcome")

    assert (first.exit_code, outcome.exit_code) == (ExitCode.GOOD, ExitCode.GOOD)
    assert outcome.stdout == first.stdout
    assert client.session().get_scenario().scenario == "mine"


def test_run_prints_which_session_it_keeps(client: Client, file: Path, run: Run) -> None:
    printed = run("scenario", "run", str(file), "--keep").stderr.split()

    assert printed[0] == "session"
    session = client.session(printed[1])
    assert session.get_scenario().verdict == "passed"
    session.delete()


def test_a_failed_scenario_ends_in_1_with_what_is_not_as_expected(
    client: Client, file: Path, run: Run
) -> None:
    before = sessions(client)
    file.write_text(GOOD.replace("newly_dirty: 1", "newly_dirty: 2"))

    result = run("scenario", "run", str(file))

    assert result.exit_code == ExitCode.NEGATIVE
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "step 0 /body/newly_dirty must be what was expected 2 1" in lines
    assert lines[-1] == "mine: failed"
    assert sessions(client) == before


def test_a_file_that_is_refused_is_reported_line_by_line(
    client: Client, file: Path, run: Run
) -> None:
    before = sessions(client)
    file.write_text(GOOD.replace("slot: 0", "slot: -1").replace("gfns: [0x40000]", "gfns: []", 1))

    result = run("scenario", "run", str(file))

    assert result.exit_code == ExitCode.REFUSED
    assert f"{file}:5: /vms/0/memslots/0/slot: must be an integer" in result.stderr
    assert sessions(client) == before


def test_a_refusal_of_the_core_is_reported_by_its_line_too(file: Path, run: Run) -> None:
    file.write_text(GOOD.replace("0x40000000", "0x40000001"))

    result = run("scenario", "run", str(file), "--json")

    assert result.exit_code == ExitCode.REFUSED
    assert f"{file}:5: /vms/0/memslots/0/guest_phys_addr" in result.stderr
    assert json.loads(result.stdout)["code"] == "invalid_argument"


def test_an_unknown_session_is_reported(file: Path, run: Run) -> None:
    result = run("scenario", "run", str(file), "--session", "none")

    assert result.exit_code == ExitCode.REFUSED
    assert "no_such_session" in result.stderr


def test_an_unknown_name_is_reported(run: Run) -> None:
    result = run("scenario", "run", "none")

    assert result.exit_code == ExitCode.REFUSED
    assert "no_such_scenario" in result.stderr


def test_a_bad_file_is_reported_with_its_line(file: Path, run: Run) -> None:
    file.write_text(GOOD + "  - vm: [\n")

    result = run("scenario", "run", str(file))

    assert result.exit_code == ExitCode.USAGE
    assert f"{file}:" in result.stderr


def test_run_waits_for_the_migration(run: Run, run_json: RunJson) -> None:
    result = run("scenario", "run", "clear-before-copy-loses-nothing")
    report = run_json("scenario", "run", "clear-before-copy-loses-nothing")["migration"]

    assert result.exit_code == ExitCode.GOOD
    assert ["lost", "pages", "0"] in [line.split() for line in result.stdout.splitlines()]
    assert report["status"] == "completed"


def test_a_migration_that_fails_its_scenario_is_reported(file: Path, run: Run) -> None:
    file.write_text(GOOD + "migration: {vm: src}\nexpect: {verification: {lost_pages: 3}}\n")

    result = run("scenario", "run", str(file))

    assert result.exit_code == ExitCode.NEGATIVE
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "migration /verification/lost_pages must be what was expected 3 0" in lines


def test_a_migration_that_is_refused_is_reported(file: Path, run: Run) -> None:
    file.write_text(GOOD + "migration: {vm: src, slots: [7]}\n")

    result = run("scenario", "run", str(file))

    assert result.exit_code == ExitCode.NEGATIVE
    assert "the migration was refused: slots must be memslots of the VM" in result.stdout


def test_outcome_of_one_that_runs_is_no_failure(client: Client, run: Run) -> None:
    document = yaml.safe_load(GOOD + "migration: {vm: src, pace_ms: 10000}\n")
    client.session().put_scenario(document)

    result = run("scenario", "outcome")

    assert result.exit_code == ExitCode.GOOD
    assert result.stdout.splitlines()[-1].strip() == "mine: running"


@pytest.fixture
def host_run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run a command against a service that may use the host's KVM."""
    require_kvm()
    with serve_in_thread(host_kvm=True) as running:
        monkeypatch.setenv("HACDBS_URL", running.url)

        def invoke(*arguments: str, stdin: str | None = None) -> Result:
            return CliRunner().invoke(cli, arguments, input=stdin, catch_exceptions=False)

        yield invoke


def test_run_takes_the_backend_of_the_command_line(host_run: Run, file: Path) -> None:
    both = host_run("scenario", "run", "same-on-host-kvm", "--backend", "host_kvm")
    arm64 = host_run("scenario", "run", str(file), "--backend", "host_kvm")

    assert (both.exit_code, both.stdout.splitlines()[-1].strip()) == (
        ExitCode.GOOD,
        "same-on-host-kvm: passed",
    )
    assert arm64.exit_code == ExitCode.NEGATIVE, "newly_dirty is null there"


def test_both_backends_are_compared_and_what_was_skipped_is_listed(host_run: Run) -> None:
    result = host_run("scenario", "run", "same-on-host-kvm", "--compare-backends")
    plain = json.loads(
        host_run("scenario", "run", "same-on-host-kvm", "--compare-backends", "--json").stdout
    )

    assert result.exit_code == ExitCode.GOOD
    assert "remaining_count: host_kvm does not know it" in result.stdout
    assert result.stdout.splitlines()[-1].strip().endswith("0 differences")
    assert plain["differences"] == []
    assert plain["compared"] > 300
    assert {"why": "software: host_kvm does not know it", "values": 10} in plain["skipped"]
    assert json.loads(host_run("list", "--json").stdout)["vms"] == []


def test_a_difference_of_the_backends_ends_in_1(host_run: Run, file: Path) -> None:
    # A read maps a page that the host has writable, which marks it dirty: not so on arm64
    file.write_text(
        f"""{GOOD}
  - vm: src
    action:
      {{op: set_memslot, slot: 0, guest_phys_addr: 0x50000000, userspace_addr: 0x40000000,
        memory_size: 1MiB, flags: [LOG_DIRTY_PAGES]}}
  - {{vm: src, action: {{op: get_dirty_log, slot: 0}}}}
  - {{vm: src, action: {{op: guest_read, gfns: [0x50000]}}}}
  - {{vm: src, action: {{op: get_dirty_log, slot: 0}}}}
"""
    )

    result = host_run("scenario", "run", str(file), "--compare-backends")

    assert result.exit_code == ExitCode.NEGATIVE
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "step 4 /body/dirty_count simulated and host_kvm differ 0 1" in lines


def test_a_scenario_that_one_backend_cannot_have_ends_in_3(host_run: Run) -> None:
    result = host_run("scenario", "run", "lost-interrupt", "--compare-backends")

    assert result.exit_code == ExitCode.REFUSED
    assert "not_supported_by_backend" in result.stderr


def test_a_service_without_the_hosts_kvm_says_how_to_allow_it(run: Run) -> None:
    result = run("scenario", "run", "same-on-host-kvm", "--compare-backends")

    assert result.exit_code == ExitCode.REFUSED
    assert "HACDBS_HOST_KVM=1" in result.stderr


def test_a_comparison_of_what_is_no_scenario_is_refused_by_its_line(run: Run, file: Path) -> None:
    file.write_text(GOOD.replace("slot: 0", "slot: -1"))

    result = run("scenario", "run", str(file), "--compare-backends")
    mixed = run("scenario", "run", str(file), "--compare-backends", "--keep")

    assert (result.exit_code, mixed.exit_code) == (ExitCode.USAGE, ExitCode.USAGE)
    assert f"{file}:5: /vms/0/memslots/0/slot" in result.stderr
    assert "--compare-backends excludes" in mixed.stderr
