"""What every command with tables prints, at the widths of terminals: no number is cut or folded."""

import io
import json
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from hacdbs_sim.client import Client
from tests.unit.cli.commands.conftest import Run

WIDE = 2_000
"""Every table fits as it is."""

WIDTHS = (WIDE, 80, 60)

LOGS = ["LOG_DIRTY_PAGES"]

SCENARIO = {
    "scenario": "narrow",
    "vms": [
        {
            "key": "vm",
            "memslots": [{"slot": 0, "guest_phys_addr": 0, "memory_size": "4GiB", "flags": LOGS}],
        }
    ],
    "steps": [
        {
            "vm": "vm",
            "action": {"op": "guest_write", "gfn_ranges": [[0, 1_000_001]]},
            "expect": {"body": {"newly_dirty": 1_000_000}},
        }
    ],
}

COMMANDS = [
    ["list"],
    ["inspect", "large-1"],
    ["session", "list"],
    ["stage2", "large-1"],
    ["workload", "list", "large-1"],
    ["clock", "show", "large-1"],
    ["write", "large-1", "0x40000+1000001"],
    ["dirty", "peek", "large-1", "0"],
    ["dirty", "clear", "large-1", "0", "0+64"],
    ["dirty", "get", "large-1", "0"],
    ["fault", "list", "large-1"],
    ["fault", "types"],
    ["cpu", "list", "large-1"],
    ["dirty-rate", "large-1"],
    ["migrate", "large-1", "--max-iterations", "2", "--no-full-first-pass"],
    ["migration", "list"],
    ["migration", "show", "large-m1"],
    ["wait", "--migration", "large-m1"],
    ["scenario", "list"],
    ["scenario", "run", "narrow.json"],
    ["events"],
    ["compare"],
    ["trace", "info", "xz"],
]


@pytest.fixture
def large(client: Client) -> Generator[None]:
    """A VM of 5 GiB with large figures, and a migration of it."""
    slots: list[dict[str, Any]] = [
        {"slot": 32_766, "guest_phys_addr": 0, "memory_size": "1GiB", "flags": LOGS},
        {"slot": 0, "guest_phys_addr": 0x4000_0000, "memory_size": "4GiB", "flags": LOGS},
    ]
    with client.create_session("large") as session:
        vm = session.create_vm(
            cpus=3,
            vcpus=2,
            seed=(1 << 53) - 1,
            memslots=slots,
            workloads=[
                {"slot": 0, "kind": "uniform", "writes_per_second": 1_000_000},
                {"slot": 0, "kind": "sequential", "writes_per_second": 10_000, "writer": "host"},
            ],
        )
        when = {"op": "clear", "batch": 123_456_789}
        vm.add_fault("lost_interrupt", when=when, after=987_654_321)
        vm.guest_write(range(0x40000, 0x40000 + 987_654))
        vm.slot(0).get_dirty_log()
        vm.start_migration(max_iterations=3, full_first_pass=False).wait()
        yield


@pytest.fixture
def screens(monkeypatch: pytest.MonkeyPatch) -> dict[int, Console]:
    """Consoles of some widths, which are printed on instead of standard output."""
    consoles = {width: Console(file=io.StringIO(), width=width) for width in WIDTHS}
    original = Console.print

    def print_on_all(_: Console, *parts: Any, **options: Any) -> None:
        for console in consoles.values():
            original(console, *parts, **options)

    monkeypatch.setattr(Console, "print", print_on_all)
    return consoles


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def numbers(text: str) -> set[str]:
    return set(re.findall(r"0x[0-9a-f]+|[0-9][0-9,.]*", text))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.usefixtures("large")
def test_every_number_is_whole_on_a_narrow_terminal(
    command: list[str],
    run: Run,
    screens: dict[int, Console],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "narrow.json").write_text(json.dumps(SCENARIO))

    result = run(*command)

    assert result.exit_code in {0, 1}, result.output
    wide, *narrow = (printed(screens[width]) for width in WIDTHS)
    assert numbers(wide)
    for shown in narrow:
        assert numbers(wide) - numbers(shown) == set()
        assert "…" not in shown


@pytest.mark.usefixtures("large")
def test_tables_keep_within_the_width(run: Run, screens: dict[int, Console]) -> None:
    for command in (["list"], ["inspect", "large-1"], ["migration", "show", "large-m1"]):
        run(*command)

    for width, console in screens.items():
        assert max(map(len, printed(console).splitlines())) <= width
