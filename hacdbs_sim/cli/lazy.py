"""A group of commands that imports the module of a command when it is called."""

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import typer
from typer.core import TyperGroup
from typing_extensions import override

if TYPE_CHECKING:
    from typer._click import Command, Context

MODULES: Final[Mapping[str, str]] = {
    "demo": "demo",
    "list": "vms",
    "inspect": "vms",
    "create": "vms",
    "delete": "vms",
    "write": "vms",
    "dirty": "dirty",
    "dirty-rate": "dirty_rate",
    "fault": "fault",
    "cpu": "cpu",
    "migrate": "migration",
    "compare": "migration",
    "migration": "migrations",
    "session": "session",
    "workload": "workload",
    "clock": "clock",
    "stage2": "vms",
    "events": "events",
    "trace": "trace",
    "report": "report",
    "scenario": "scenario",
    "qmp": "qmp",
    "reset": "service",
    "wait": "service",
}
"""The module of each command, and of each group of commands."""


class LazyGroup(TyperGroup):
    """The registered commands, and those of `MODULES`."""

    @override
    def list_commands(self, ctx: "Context") -> list[str]:
        return [*dict.fromkeys([*super().list_commands(ctx), *MODULES])]

    @override
    def get_command(self, ctx: "Context", cmd_name: str) -> "Command | None":
        if cmd_name not in self.commands:
            # An unknown name loads all modules: the error suggests similar commands
            wanted = [MODULES[cmd_name]] if cmd_name in MODULES else dict.fromkeys(MODULES.values())
            for module in wanted:
                app: Any = importlib.import_module(f"hacdbs_sim.cli.commands.{module}").app
                group = typer.main.get_group(app)
                self.commands.update({group.name: group} if group.name else group.commands)
        return super().get_command(ctx, cmd_name)
