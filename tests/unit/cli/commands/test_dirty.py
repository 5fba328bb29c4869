"""`dirty get | peek | clear`."""

import base64
from pathlib import Path

import numpy as np
import pytest

from hacdbs_sim.client import Vm
from tests.unit.cli.commands.conftest import BASE_GFN, NPAGES, Run, RunJson


def test_get_takes_the_log(vm: Vm, run_json: RunJson) -> None:
    vm.guest_write([BASE_GFN, BASE_GFN + 1, BASE_GFN + 9])

    printed = run_json("dirty", "get", vm.vm_id, "0", "--cpu", "1")

    assert printed["page_ranges"] == [[0, 2], [9, 1]]
    assert printed["accelerator"]["cpu"] == 1
    assert vm.slot(0).peek_dirty_log().dirty_count == 0


@pytest.mark.parametrize("command", ["get", "peek"])
def test_the_format_is_the_services(command: str, vm: Vm, run_json: RunJson) -> None:
    vm.guest_write([BASE_GFN])

    printed = run_json("dirty", command, vm.vm_id, "0", "--format", "base64")

    assert printed["bitmap"].startswith("AQAAAAAAAAA")


def test_peek_leaves_the_log_as_it_is(vm: Vm, run_json: RunJson) -> None:
    vm.guest_write([BASE_GFN])

    printed = run_json("dirty", "peek", vm.vm_id, "0x0", "--format", "summary")

    assert (printed["dirty_count"], "page_ranges" in printed) == (1, False)
    assert vm.slot(0).peek_dirty_log().dirty_count == 1


def test_a_log_is_shown_with_what_cleaned_it(vm: Vm, run: Run) -> None:
    vm.guest_write(range(BASE_GFN, BASE_GFN + 600))
    vm.add_fault("ipaf", when={"batch": 1, "index": 4})

    printed = run("dirty", "get", vm.vm_id, "0").stdout

    assert (
        "partial on CPU 0, EAGAIN, 516 cleaned in 2 runs, 84 requeued, IPAF in run 1 at index 4"
        in printed
    )
    assert ["software", "84", "pages"] in [line.split() for line in printed.splitlines()]


def test_a_look_says_that_the_hook_was_not_called(vm: Vm, run: Run) -> None:
    printed = run("dirty", "peek", vm.vm_id, "0").stdout

    assert "not called" in printed
    assert "did not run" in printed


def test_many_ranges_are_counted_and_not_listed(vm: Vm, run: Run) -> None:
    vm.guest_write(range(BASE_GFN, BASE_GFN + 100, 2))

    printed = run("dirty", "peek", vm.vm_id, "0").stdout

    assert "30 more" in printed


def test_a_bitmap_goes_from_a_get_to_a_clear(vm: Vm, tmp_path: Path, run_json: RunJson) -> None:
    vm.update(manual_dirty_log_protect2=1)
    vm.guest_write([BASE_GFN, BASE_GFN + 70])
    file = tmp_path / "bitmap"

    printed = run_json("dirty", "get", vm.vm_id, "0", "--output", str(file))
    cleared = run_json("dirty", "clear", vm.vm_id, "0", "--bitmap", str(file))

    assert (printed["dirty_count"], "page_ranges" in printed) == (2, False)
    assert len(file.read_bytes()) == NPAGES // 8
    assert (cleared["dirty_count"], cleared["remaining_count"]) == (2, 0)


def test_output_says_where_the_bitmap_is(vm: Vm, tmp_path: Path, run: Run) -> None:
    file = tmp_path / "bitmap"

    printed = run("dirty", "peek", vm.vm_id, "0", "-o", str(file)).stdout

    assert "has the bitmap" in printed
    assert file.stat().st_size == NPAGES // 8


def test_clear_takes_pages_of_the_slot_within_a_window(vm: Vm, run_json: RunJson) -> None:
    vm.guest_write(range(BASE_GFN, BASE_GFN + 200))

    printed = run_json(
        *("dirty", "clear", vm.vm_id, "0", "64+10", "100"),
        *("--first-page", "64", "--num-pages", "0x40", "--cpu", "1"),
    )

    assert (printed["first_page"], printed["num_pages"], printed["dirty_count"]) == (64, 64, 11)
    assert printed["accelerator"]["cpu"] == 1
    assert vm.slot(0).peek_dirty_log().mask()[64:74].sum() == 0


def test_clear_shows_what_is_left(vm: Vm, run: Run) -> None:
    vm.guest_write(range(BASE_GFN, BASE_GFN + 5))

    lines = run("dirty", "clear", vm.vm_id, "0", "0+3").stdout.splitlines()

    assert ["remaining", "2"] in [line.split() for line in lines]


@pytest.mark.parametrize("arguments", [[], ["0", "--bitmap", "x"]], ids=["neither", "both"])
def test_clear_wants_pages_or_a_bitmap(arguments: list[str], vm: Vm, run: Run) -> None:
    result = run("dirty", "clear", vm.vm_id, "0", *arguments)

    assert result.exit_code == 2
    assert "give pages, or a bitmap" in result.stderr


def test_a_bitmap_that_cannot_be_read_is_reported(vm: Vm, tmp_path: Path, run: Run) -> None:
    result = run("dirty", "clear", vm.vm_id, "0", "--bitmap", str(tmp_path / "none"))

    assert result.exit_code == 2
    assert "No such file or directory" in result.stderr


def test_a_place_that_cannot_be_written_is_reported_before_the_log_is_taken(
    vm: Vm, tmp_path: Path, run: Run
) -> None:
    vm.guest_write([BASE_GFN])

    result = run("dirty", "get", vm.vm_id, "0", "--output", str(tmp_path))

    assert result.exit_code == 2
    assert "cannot write" in result.stderr
    assert vm.slot(0).peek_dirty_log().dirty_count == 1


def test_a_bitmap_of_another_length_is_refused_by_the_service(
    vm: Vm, tmp_path: Path, run: Run
) -> None:
    file = tmp_path / "bitmap"
    file.write_bytes(np.zeros(3, dtype="<u8").tobytes())

    result = run("dirty", "clear", vm.vm_id, "0", "--bitmap", str(file))

    assert result.exit_code == 3
    assert "invalid_argument" in result.stderr


def test_base64_is_printed_whole_and_is_the_bitmap(
    vm: Vm, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    vm.guest_write([BASE_GFN, BASE_GFN + 1023])

    result = run("dirty", "get", vm.vm_id, "0", "--format", "base64")

    bitmap = base64.b64decode(result.stdout.splitlines()[-1], validate=True)
    assert (len(bitmap), bitmap[0], bitmap[-1]) == (128, 1, 0x80)
