"""`fault add | list | rm | types` and `cpu list | plug | unplug`."""

import pytest

from hacdbs_sim.client import Client, Vm
from tests.unit.cli.commands.conftest import BASE_GFN, Run, RunJson


def test_add_arms_a_fault_as_its_options_say(vm: Vm, run_json: RunJson) -> None:
    options = ["--op", "clear", "--slot", "0", "--cpu", "1", "--batch", "2", "--index", "0x7"]
    options += ["--after", "1", "--every", "2", "--times", "3", "--probability", "0.5"]

    printed = run_json("fault", "add", vm.vm_id, "ipaf", *options, "--disabled")

    assert printed == {
        "fault_id": "f1",
        "type": "ipaf",
        "enabled": False,
        "probability": 0.5,
        "after": 1,
        "every": 2,
        "times": 3,
        "when": {"op": "clear", "slot": 0, "cpu": 1, "batch": 2, "index": 7},
        "opportunities": 0,
        "hits": 0,
        "last_hit": None,
    }


def test_add_takes_a_gfn(vm: Vm, run_json: RunJson) -> None:
    printed = run_json("fault", "add", vm.vm_id, "structf", "--gfn", "0x40003")

    assert printed["when"] == {"gfn": 0x40003}


def test_add_shows_the_fault(vm: Vm, run: Run) -> None:
    printed = run("fault", "add", vm.vm_id, "ipaf", "--gfn", "0x40003").stdout

    assert "gfn 262147" in printed
    assert "always" in printed


def test_list_shows_where_a_fault_hit(vm: Vm, run: Run, run_json: RunJson) -> None:
    vm.add_fault("ipaf")
    vm.guest_write([BASE_GFN])
    vm.slot(0).get_dirty_log()

    printed = run("fault", "list", vm.vm_id).stdout

    assert "opportunity 1 op get slot 0 cpu 0 batch 0 index 0 gfn 262144" in printed
    assert run_json("fault", "list", vm.vm_id)["faults"][0]["hits"] == 1


def test_rm_disarms_one_or_all(vm: Vm, run: Run) -> None:
    for _ in range(3):
        vm.add_fault("ipaf")

    one = run("fault", "rm", vm.vm_id, "f2")
    left = [fault.fault_id for fault in vm.list_faults()]
    rest = run("fault", "rm", vm.vm_id, "--all")

    assert one.stdout == "fault f2 is disarmed\n"
    assert left == ["f1", "f3"]
    assert rest.stdout == f"VM {vm.vm_id} has no faults\n"
    assert list(vm.list_faults()) == []


@pytest.mark.parametrize("arguments", [[], ["f1", "--all"]], ids=["neither", "both"])
def test_rm_wants_a_fault_or_all(arguments: list[str], vm: Vm, run: Run) -> None:
    vm.add_fault("ipaf")

    result = run("fault", "rm", vm.vm_id, *arguments)

    assert result.exit_code == 2
    assert "name a fault, or give --all" in result.stderr
    assert len(list(vm.list_faults())) == 1


def test_types_are_described(client: Client, run: Run, run_json: RunJson) -> None:
    assert run_json("fault", "types") == client.http.get("/v1/fault-types").json()
    assert "lost_interrupt" in run("fault", "types").stdout


def test_cpus_are_plugged_in_and_out(vm: Vm, run: Run, run_json: RunJson) -> None:
    printed = run("cpu", "unplug", vm.vm_id, "1").stdout
    units = [cpu["status"] for cpu in run_json("cpu", "list", vm.vm_id)["cpus"]]
    back = run_json("cpu", "plug", vm.vm_id, "1")

    assert "OFF" in printed
    assert units == ["IDLE", "OFF"]
    assert (back["online"], back["status"]) == (True, "IDLE")


def test_cpus_are_listed_with_what_their_units_did(vm: Vm, run: Run) -> None:
    vm.guest_write(range(BASE_GFN, BASE_GFN + 513))
    vm.slot(0).get_dirty_log(cpu=1)

    lines = [line.split() for line in run("cpu", "list", vm.vm_id).stdout.splitlines()]

    assert ["1", "yes", "IDLE", "IPAHACF", "1", "2", "513", "513"] in lines
