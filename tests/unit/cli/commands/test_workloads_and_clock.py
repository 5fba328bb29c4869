"""`workload`, `clock`, `stage2`."""

from pathlib import Path

import pytest

from hacdbs_sim.cli.exit_codes import ExitCode
from hacdbs_sim.client import Vm
from tests.unit.cli.commands.conftest import Run, RunJson, rows


def test_a_workload_is_added_listed_and_deleted(vm: Vm, run: Run) -> None:
    added = run("workload", "add", vm.vm_id, "uniform", "--slot", "0", "--writes-per-second", "500")
    assert added.exit_code == 0, added.stderr
    vm.run_guest(1_000_000_000)

    listed = rows(run("workload", "list", vm.vm_id).stdout)
    assert ["w1", "uniform", "0", "0", "1,024", "vCPU", "0", "500", "500", "0"] in listed

    assert run("workload", "delete", vm.vm_id, "w1").stdout == "workload w1 is deleted\n"
    assert list(vm.list_workloads()) == []


def test_its_options_are_the_fields_of_every_kind(vm: Vm, run_json: RunJson) -> None:
    at = ("--slot", "0x0", "--seed", "7", "--vcpu", "1", "--first-page", "64", "--num-pages", "512")
    bursts = ("--burst-on", "10ms", "--burst-off", "5ms")
    rate = ("--writes-per-second", "1000")

    hot = run_json(
        "workload", "add", vm.vm_id, "hot_set", *at, *bursts, *rate, "--hot-share", "0.5"
    )
    moving = run_json(
        *("workload", "add", vm.vm_id, "moving", *at, *rate, "--set-pages", "8"),
        *("--move-every-writes", "9", "--step-pages", "2", "--writer", "host"),
    )
    replay = run_json(
        *("workload", "add", vm.vm_id, "replay", "--slot", "0", "--trace", "xz"),
        *("--interval", "1ms", "--no-loop", "--scale", "--num-pages", "1024"),
    )

    assert hot["burst"] == {"on_ns": 10_000_000, "off_ns": 5_000_000}
    assert (hot["hot_share"], hot["vcpu"], hot["first_page"], hot["seed"]) == (0.5, 1, 64, 7)
    assert (moving["set_pages"], moving["step_pages"], moving["writer"]) == (8, 2, "host")
    assert (replay["interval_ns"], replay["loop"], replay["scale"]) == (1_000_000, False, True)


def test_a_trace_is_given_in_a_file(vm: Vm, run_json: RunJson, tmp_path: Path) -> None:
    file = tmp_path / "workload.yaml"
    file.write_text("kind: intervals\nslot: 0\ninterval_ns: 1000\npages: [[1, 2], [3]]\n")

    added = run_json("workload", "add", vm.vm_id, "--file", str(file), "--interval", "2ms")

    assert (added["kind"], added["interval_ns"], added["record_count"]) == (
        "intervals",
        2_000_000,
        3,
    )


@pytest.mark.parametrize(
    ("arguments", "code", "printed"),
    [
        (["frantic", "--slot", "0"], ExitCode.USAGE, "'frantic' is not one of 'sequential'"),
        (["uniform", "--slot", "0"], ExitCode.REFUSED, "/writes_per_second"),
        (["uniform", "--slot", "0", "--writes-per-second", "0"], ExitCode.REFUSED, "(got 0)"),
        (["uniform", "--writes-per-second", "5", "--slot", "9"], ExitCode.REFUSED, "/slot"),
        (["uniform", "--slot", "0", "--burst-on", "5"], ExitCode.USAGE, "300ms, 10s or 500us"),
        ([], ExitCode.REFUSED, "kind"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_bad_workload_is_refused(
    vm: Vm, run: Run, arguments: list[str], code: ExitCode, printed: str
) -> None:
    result = run("workload", "add", vm.vm_id, *arguments)

    assert result.exit_code == code
    assert printed in " ".join(result.stderr.replace("│", " ").split())
    assert list(vm.list_workloads()) == []


@pytest.mark.parametrize("arguments", [[], ["w1", "--all"]], ids=["none", "both"])
def test_deleting_names_a_workload_or_all(vm: Vm, run: Run, arguments: list[str]) -> None:
    assert run("workload", "delete", vm.vm_id, *arguments).exit_code == ExitCode.USAGE


def test_all_workloads_are_deleted(vm: Vm, run: Run) -> None:
    vm.add_workload("uniform", slot=0, writes_per_second=5)

    result = run("workload", "delete", vm.vm_id, "--all")

    assert result.stdout == "VM default-1 has no workloads\n"
    assert list(vm.list_workloads()) == []


def test_the_clock_is_shown_and_advanced(vm: Vm, run: Run, run_json: RunJson) -> None:
    assert run_json("clock", "advance", vm.vm_id, "500ms")["now_ns"] == 500_000_000
    assert ["now_ns", "500.00", "ms"] in rows(run("clock", "show", vm.vm_id).stdout)
    assert vm.get_clock().now_ns == 500_000_000


def test_a_clock_is_not_advanced_without_a_unit(vm: Vm, run: Run) -> None:
    result = run("clock", "advance", vm.vm_id, "500")

    assert result.exit_code == ExitCode.USAGE
    assert "500" in result.stderr
    assert vm.get_clock().now_ns == 0


def test_stage_2_is_shown_as_runs(vm: Vm, run: Run, run_json: RunJson) -> None:
    vm.guest_write(range(0x40000, 0x40000 + 3))

    shown = rows(run("stage2", vm.vm_id, "0x3ffff+5").stdout)
    listed = run_json("stage2", vm.vm_id, "0x3ffff+5")["runs"]

    assert [line[:4] for line in shown if line and line[0].startswith("0x")] == [
        ["0x3ffff", "1", "-", "unmapped"],
        ["0x40000", "3", "3", "writable_dirty"],
        ["0x40003", "1", "-", "unmapped"],
    ]
    assert sum(each["count"] for each in listed) == 5


def test_all_of_stage_2_is_shown_without_frames(vm: Vm, run_json: RunJson) -> None:
    listed = run_json("stage2", vm.vm_id)["runs"]

    assert sum(each["count"] for each in listed) == (1 << 40) // 4096
