"""The root command. Only `hacdbs_sim.cli.main` imports it: it needs the extra `cli`."""

import typer

from hacdbs_sim.cli.healthcheck import healthcheck
from hacdbs_sim.cli.lazy import LazyGroup
from hacdbs_sim.cli.serve import serve

cli = typer.Typer(
    name="hacdbs-sim",
    cls=LazyGroup,
    help="Simulated KVM/arm64 virtual machines with an accelerated dirty log, over REST.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for command in (serve, healthcheck):
    cli.command()(command)
