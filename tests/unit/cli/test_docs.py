"""docs/cli.md has every command, and every command it has is there as it says."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from hacdbs_sim.cli.exit_codes import ExitCode
from hacdbs_sim.cli.root import cli

DOCUMENT = (Path(__file__).parents[3] / "docs/cli.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^\| `hacdbs-sim ([^`]+)` \|", DOCUMENT, re.MULTILINE)


def commands(node: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    context = node.make_context(None, [], resilient_parsing=True)
    for child in node.list_commands(context):
        command = node.get_command(context, child)
        full = f"{name} {child}".strip()
        if hasattr(command, "list_commands"):
            yield from commands(command, full)
        else:
            yield full, command


COMMANDS = dict(commands(typer.main.get_group(cli)))


def test_every_command_has_an_example() -> None:
    shown = {
        name for name in COMMANDS for example in EXAMPLES if f"{example} ".startswith(f"{name} ")
    }

    assert set(COMMANDS) - shown == set()


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_understood(example: str) -> None:
    words = shlex.split(example)
    name = next(name for name in (" ".join(words[:2]), words[0]) if name in COMMANDS)
    command = COMMANDS[name]

    command.make_context(name, words[len(name.split()) :])


def test_every_option_is_documented() -> None:
    known = {"--url", "--token", "--json", "--help"}
    options = {
        option
        for command in COMMANDS.values()
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("--")
    }

    assert {option for option in options - known if option not in DOCUMENT} == set()


def test_every_exit_code_is_documented() -> None:
    printed = re.findall(r"^\| (\d+) \|", DOCUMENT, re.MULTILINE)

    assert [int(code) for code in printed] == [*sorted(ExitCode), 130]
