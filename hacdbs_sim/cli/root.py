"""The root command. Only `hacdbs_sim.cli.main` imports it: it needs the extra `cli`."""

from typing import Annotated

import typer

import hacdbs_sim
from hacdbs_sim.cli.healthcheck import healthcheck
from hacdbs_sim.cli.lazy import LazyGroup
from hacdbs_sim.cli.serve import serve

cli = typer.Typer(
    name="hacdbs-sim",
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(is_given: bool) -> None:
    if is_given:
        typer.echo(f"hacdbs-sim {hacdbs_sim.__version__}")
        raise typer.Exit


@cli.callback()
def root(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Simulated KVM/arm64 virtual machines with an accelerated dirty log, over REST."""


for command in (serve, healthcheck):
    cli.command()(command)
