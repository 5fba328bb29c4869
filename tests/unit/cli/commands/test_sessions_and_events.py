"""`session`, `events`, `create --session`, `--version`."""

import json
import subprocess
import sys

import pytest

import hacdbs_sim
from hacdbs_sim.cli.exit_codes import ExitCode
from hacdbs_sim.client import Client, Vm
from tests.support.wire import HANG_SECONDS
from tests.unit.cli.commands.conftest import SLOT, Run, RunJson, rows


@pytest.fixture(autouse=True)
def only_default(client: Client) -> None:
    for session in client.list_sessions():
        if session.session_id != "default":
            client.session(session.session_id).delete()


def test_sessions_are_created_listed_reset_and_deleted(run: Run, client: Client) -> None:
    assert run("session", "create", "mine").stdout == "session mine is created\n"
    client.session("mine").create_vm()

    listed = rows(run("session", "list").stdout)
    assert ["mine", "1"] in listed
    assert ["default", "0"] in listed

    assert run("session", "reset", "mine").stdout == "session mine is empty\n"
    assert client.session("mine").get().vm_count == 0
    assert run("session", "delete", "mine").stdout == "session mine is deleted\n"
    assert [each.session_id for each in client.list_sessions()] == ["default"]


def test_a_session_without_a_name_gets_one(run_json: RunJson) -> None:
    assert run_json("session", "create")["session_id"].startswith("s")


def test_a_session_that_there_is_already_is_refused(run: Run) -> None:
    result = run("session", "create", "default")

    assert result.exit_code == ExitCode.REFUSED
    assert "session_exists" in result.stderr


def test_create_makes_the_session_that_it_names(run_json: RunJson, client: Client) -> None:
    first = run_json("create", "--session", "fresh", "--slot", SLOT)
    second = run_json("create", "--session", "fresh", "--slot", SLOT)

    assert (first["vm_id"], second["vm_id"]) == ("fresh-1", "fresh-2")
    assert client.session("fresh").get().vm_count == 2


@pytest.mark.parametrize("session", ["No such name", "x" * 64])
def test_create_does_not_make_a_session_that_no_session_can_be(session: str, run: Run) -> None:
    result = run("create", "--session", session)

    assert result.exit_code == ExitCode.REFUSED
    assert "/session_id" in result.stderr


def test_a_vm_that_is_refused_by_the_schema_makes_no_session(run: Run, client: Client) -> None:
    result = run("create", "--session", "fresh", "--cpus", "0")

    assert result.exit_code == ExitCode.REFUSED
    assert [each.session_id for each in client.list_sessions()] == ["default"]


def test_events_are_shown_a_line_each(run: Run, client: Client, vm: Vm) -> None:
    before = client.list_events().last_event_id
    vm.set_cpu(1, online=False)
    vm.add_fault("ipaf", times=1)
    vm.guest_write([0x40000])
    vm.slot(0).get_dirty_log()

    shown = run("events", "--after", str(before)).stdout.splitlines()
    of_type = run("events", "--after", str(before), "--type", "cpu_changed").stdout.splitlines()

    assert shown[0] == f"{before + 1} 0.00 ms default-1 cpu_changed cpu=1 online=false"
    assert len(shown) == 3
    assert of_type == shown[:1]


def test_all_stored_events_are_shown(run: Run, run_json: RunJson, client: Client, vm: Vm) -> None:
    before = client.list_events().last_event_id
    toggles = [{"op": "set_cpu", "cpu": 1, "online": at % 2 == 1} for at in range(1_200)]
    vm.run_batch(toggles)

    shown = run("events", "--after", str(before)).stdout.splitlines()
    page = run_json("events", "--after", str(before))

    assert len(shown) == len(page["events"]) == 1_200
    assert page["next_after"] == page["last_event_id"] == before + 1_200


def test_events_can_be_selected(run_json: RunJson, client: Client, vm: Vm) -> None:
    before = client.list_events().last_event_id
    with client.create_session("other") as other:
        other.create_vm()
    vm.set_cpu(1, online=False)

    of_vm = run_json("events", "--after", str(before), "--vm", vm.vm_id)["events"]
    of_session = run_json("events", "--after", str(before), "--session", "other")["events"]

    assert [each["type"] for each in of_vm] == ["cpu_changed"]
    assert [each["type"] for each in of_session] == ["vm_created", "session_deleted"]


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "JSON"])
def test_events_are_followed_until_the_reader_goes(client: Client, vm: Vm, form: list[str]) -> None:
    """A line is there as soon as its event: the pipe has no buffer that must first be full."""
    before = client.list_events().last_event_id
    url = str(client.http.base_url)
    command = [sys.executable, "-m", "hacdbs_sim.cli", "events", "--follow", "--url", url]
    with subprocess.Popen(  # noqa: S603 - this program itself
        [*command, "--after", str(before), *form],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        vm.set_cpu(1, online=False)
        first = process.stdout.readline()
        vm.set_cpu(1, online=True)
        second = process.stdout.readline()
        process.stdout.close()
        vm.set_cpu(1, online=False)
        status = process.wait(HANG_SECONDS)
        complaint = process.stderr.read()

    if form:
        assert [json.loads(line)["details"]["online"] for line in (first, second)] == [False, True]
    else:
        assert first.endswith("cpu=1 online=false\n")
        assert second.endswith("cpu=1 online=true\n")
    assert (status, complaint) == (ExitCode.OUTPUT, "")


def test_the_version_is_printed(run: Run) -> None:
    assert run("--version").stdout == f"hacdbs-sim {hacdbs_sim.__version__}\n"
