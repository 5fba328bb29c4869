"""The command line: `hacdbs-sim`. docs/cli.md shows each command."""

import sys

from hacdbs_sim import launcher
from hacdbs_sim.cli.exit_codes import ExitCode
from hacdbs_sim.cli.output import OutputError, checked_output


def main() -> None:
    """Run the command that the arguments name; report what is not installed in one line."""
    try:
        with launcher.requiring("cli"), checked_output():
            from hacdbs_sim.cli.root import cli  # noqa: PLC0415 - it needs the extra

            cli(prog_name="hacdbs-sim")
    except launcher.NotInstalledError as error:
        print(error, file=sys.stderr)  # noqa: T201 - without typer
        sys.exit(ExitCode.USAGE)
    except OutputError as error:
        error.discard()
        if not error.is_closed_pipe:
            print(error, file=sys.stderr)  # noqa: T201 - without typer
        sys.exit(ExitCode.OUTPUT)
