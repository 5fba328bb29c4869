"""`list`, `inspect`, `create`, `delete`, `write`, `reset`, `wait`."""

from pathlib import Path

import orjson
import pytest

from hacdbs_sim.cli.exit_codes import ExitCode
from hacdbs_sim.client import Client, NotFoundError, Vm
from tests.unit.cli.commands.conftest import BASE_GFN, SLOT, Run, RunJson


def test_list_prints_the_body_of_the_response(client: Client, vm: Vm, run_json: RunJson) -> None:
    printed = run_json("list", "--session", "default")

    assert printed == orjson.loads(client.http.get("/v1/vms").content)
    assert [each["vm_id"] for each in printed["vms"]] == [vm.vm_id]


def test_list_goes_through_all_pages(client: Client, run_json: RunJson) -> None:
    for _ in range(53):
        client.create_vm()

    printed = run_json("list")

    assert [each["vm_id"] for each in printed["vms"]] == [f"default-{n}" for n in range(1, 54)]
    assert printed["next_page_token"] == ""


def test_list_shows_a_line_for_each_vm(vm: Vm, run: Run) -> None:
    vm.guest_write([BASE_GFN])

    result = run("list")

    (line,) = [line for line in result.stdout.splitlines() if vm.vm_id in line]
    assert line.split() == [vm.vm_id, "-", "4", "MiB", "1", "2", "2", "1", "0"]


def test_inspect_prints_the_body_of_the_response(client: Client, vm: Vm, run_json: RunJson) -> None:
    assert run_json("inspect", vm.vm_id) == client.http.get(f"/v1/vms/{vm.vm_id}").json()


def test_inspect_shows_settings_slots_faults_and_counters(vm: Vm, run: Run) -> None:
    vm.add_fault("ipaf", after=1, every=2, times=3, probability=0.5, enabled=False)
    vm.guest_write([BASE_GFN])

    printed = run("inspect", vm.vm_id).stdout

    for part in (
        "features                   dbm, hacdbs",
        "0x40000",
        "LOG_DIRTY_PAGES",
        "after 1, every 2, times 3, p 0.5, disabled",
        "translation_faults",
    ):
        assert part in printed


def test_create_makes_what_its_options_say(run_json: RunJson) -> None:
    options = ["--name", "src", "--vcpus", "3", "--cpus", "5", "--page-size", "16KiB"]
    options += ["--ipa-bits", "44", "--manual-protect", "3", "--eager-split", "33554432"]
    options += ["--kernel", "v1", "--seed", "9", "--no-hacdbs", "--no-dbm"]
    options += ["--slot", "0:0x40000000:32MiB:log,readonly,backing=32MiB"]

    made = run_json("create", *options, "--slot", "7:4294967296:65536")

    settings = {
        "name": "src",
        "vcpus": 3,
        "cpus": 5,
        "page_size": 16384,
        "ipa_bits": 44,
        "manual_dirty_log_protect2": 3,
        "eager_split_chunk_size": 33554432,
        "kernel": "v1",
        "seed": 9,
        "features": {"dbm": False, "hacdbs": False},
    }
    assert {name: made[name] for name in settings} == settings
    first, second = made["memslots"]
    assert first["flags"] == ["LOG_DIRTY_PAGES", "READONLY"]
    assert first["backing"] == 32 << 20
    assert (second["slot"], second["guest_phys_addr"], second["memory_size"], second["flags"]) == (
        7,
        "0x100000000",
        65536,
        [],
    )


@pytest.mark.parametrize(
    "text",
    ['{"name": "f", "cpus": 2}', "name: f\ncpus: 2  # two\n"],
    ids=["json", "yaml"],
)
def test_create_reads_a_file_and_options_come_before_it(
    text: str, tmp_path: Path, run_json: RunJson
) -> None:
    file = tmp_path / "vm"
    file.write_text(text)

    made = run_json("create", "--file", str(file), "--cpus", "3", "--session", "default")

    assert (made["name"], made["cpus"]) == ("f", 3)


def test_create_reads_stdin(run_json: RunJson) -> None:
    assert run_json("create", "--file", "-", stdin="seed: 5")["seed"] == 5


def test_create_shows_the_vm(run: Run) -> None:
    assert "VM default-1" in run("create", "--slot", SLOT).stdout


def test_delete_takes_the_vm_away(vm: Vm, run: Run) -> None:
    assert run("delete", vm.vm_id).stdout == f"VM {vm.vm_id} is gone\n"
    with pytest.raises(NotFoundError):
        vm.get()


def test_a_response_without_a_body_prints_nothing_as_json(vm: Vm, run: Run) -> None:
    result = run("delete", vm.vm_id, "--json")

    assert (result.exit_code, result.stdout) == (0, "")


def test_write_marks_pages_however_they_are_named(vm: Vm, run_json: RunJson) -> None:
    printed = run_json("write", vm.vm_id, "0x40000", "0x40002-0x40003", "262150+2", "--vcpu", "1")

    assert printed["newly_dirty"] == 5
    assert vm.slot(0).peek_dirty_log().pages().tolist() == [0, 2, 3, 6, 7]


def test_write_by_the_host_leaves_stage_2_alone(vm: Vm, run_json: RunJson) -> None:
    printed = run_json("write", vm.vm_id, "0x40000", "--host")

    assert (printed["newly_dirty"], printed["translation_faults"]) == (1, 0)


def test_write_shows_its_counts(vm: Vm, run: Run) -> None:
    lines = run("write", vm.vm_id, "0x40000+3").stdout.splitlines()

    assert ["newly_dirty", "3"] in [line.split() for line in lines]


def test_reset_empties_a_session(client: Client, vm: Vm, run: Run) -> None:
    assert vm.vm_id == "default-1"

    result = run("reset")

    assert result.stdout == "session default is empty\n"
    assert list(client.list_vms()) == []


def test_wait_ends_once_the_service_is_ready(run: Run, run_json: RunJson) -> None:
    assert run("wait").stdout == "ready\n"
    assert run_json("wait", "--timeout", "600") == {"status": "ok"}


def test_a_refused_vm_leaves_no_new_session(client: Client, run: Run) -> None:
    slots = ("--slot", SLOT, "--slot", SLOT.replace("0:", "1:", 1))

    result = run("create", "--session", "never-made", *slots)

    assert result.exit_code == ExitCode.REFUSED
    assert "never-made" not in [each.session_id for each in client.list_sessions()]
