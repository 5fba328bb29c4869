"""`scenario list | show | run | outcome`: scenarios that ship, and those of files."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import orjson
import typer
import yaml
from rich.table import Table
from rich.text import Text

from hacdbs_sim.cli import backends, views
from hacdbs_sim.cli.command_context import (
    CommandContext,
    print_json,
    service_command,
    usage_error,
)
from hacdbs_sim.cli.documents import Document, read_document
from hacdbs_sim.cli.exit_codes import ExitCode
from hacdbs_sim.client import ProblemError
from hacdbs_sim.model import BackendName, ScenarioOutcome
from hacdbs_sim.scenarios.reading import explain

app = typer.Typer(no_args_is_help=True, help="Play scenarios: those that ship, or those of files.")

RUNNING: Final = "running"
WAIT_SECONDS: Final = 20
"""How long one call waits: shorter than the client's patience."""

_FILES: Final = (".yaml", ".yml", ".json")
"""What the name of a file ends with; anything else that is no file is the name of a scenario."""

Which = Annotated[
    str, typer.Argument(metavar="NAME|FILE", help="One that ships, or JSON or YAML; `-`: stdin.")
]


@app.command("list")
@service_command
def list_scenarios(context: CommandContext) -> None:
    """List the scenarios that ship."""
    found = context.list_all(context.client.list_scenarios(), "scenarios")
    rows = ((each.scenario, each.description.strip()) for each in found)
    context.show(views.filled("", ("scenario", "what it shows"), rows))


@app.command("show")
@service_command
def show(
    context: CommandContext,
    name: Annotated[str, typer.Argument(help="The name of one that ships.")],
) -> None:
    """Show a scenario that ships, as YAML that `run` reads."""
    found = context.client.get_builtin_scenario(name)
    context.show(Text(yaml.safe_dump(found.document, sort_keys=False, width=100)))


@app.command("outcome")
@service_command
def outcome(
    context: CommandContext,
    session: Annotated[str, typer.Argument(metavar="[SESSION]")] = "default",
) -> None:
    """Show the scenario that stands in a session, and end as it did."""
    _end(context, context.client.session(session).get_scenario())


@app.command("run")
@service_command
def run(
    context: CommandContext,
    which: Which,
    *,
    session: Annotated[
        str | None,
        typer.Option(help="A session that it replaces; without it one is made, and deleted after."),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the session that was made.")] = False,
    backend: Annotated[
        BackendName | None, typer.Option(help="The backend of its VMs, whatever it says itself.")
    ] = None,
    compare_backends: Annotated[
        bool,
        typer.Option(
            "--compare-backends",
            help="Play the steps on the simulated machine and on the service's host_kvm, and compare.",
        ),
    ] = False,
) -> None:
    """Play a scenario: exit 0 if all is as expected, 1 if not."""
    document = _document(context, which)
    if compare_backends:
        if session is not None or keep or backend is not None:
            raise usage_error("--compare-backends excludes --session, --keep and --backend")
        backends.compare(context, document)
        return
    with _session(context, session, keep=keep) as session_id, _placing(context, document):
        handle = context.client.session(session_id)
        played = handle.put_scenario(backends.on_backend(document.value, backend))
        while played.verdict == RUNNING:  # its migration is
            played = handle.get_scenario(wait_seconds=WAIT_SECONDS)
        answer = context.bodies[-1]
    context.bodies.append(answer)  # the one to be shown, not that of the session's deletion
    _end(context, played)


def _document(context: CommandContext, which: str) -> Document:
    if which == "-" or which.endswith(_FILES) or Path(which).is_file():
        return read_document(Path(which))
    found = context.client.get_builtin_scenario(which)
    return Document(which, yaml.safe_dump(found.document, sort_keys=False), dict(found.document))


@contextmanager
def _session(context: CommandContext, session: str | None, *, keep: bool) -> Iterator[str]:
    """Yield the session that was named, or make one; the id of one that is kept is printed."""
    if session is not None:
        yield session
        return
    made = context.client.create_session(f"scenario-{secrets.token_hex(4)}")
    try:
        yield made.session_id
    finally:
        if keep:
            typer.echo(f"session {made.session_id}", err=True)
        else:
            made.delete()


@contextmanager
def _placing(context: CommandContext, document: Document) -> Iterator[None]:
    """Print the lines of a document at fault if it is refused."""
    try:
        yield
    except ProblemError as refused:
        if context.as_json:
            print_json(orjson.dumps(refused.problem))
        errors = [error for error in refused.errors if error["in"] == "body"]
        lines = explain(document.name, document.text, errors)
        typer.echo("\n".join(lines) or f"refused: {refused}", err=True)
        raise typer.Exit(ExitCode.REFUSED) from None


def _end(context: CommandContext, played: ScenarioOutcome) -> None:
    context.show(*_steps(played), *_mismatches(played), f"{played.scenario}: {played.verdict}")
    if played.verdict == "failed":
        raise typer.Exit(ExitCode.NEGATIVE)


def _steps(played: ScenarioOutcome) -> Iterator[Table]:
    columns = ("#step", "VM", "action", "#status", "verdict")
    rows = [(each.step, each.vm, each.op, each.status, each.verdict) for each in played.steps]
    if rows:
        yield views.filled("", columns, rows)
    if (report := played.migration) is not None:
        yield views.outcome(report.migration_id, report)


def _mismatches(played: ScenarioOutcome) -> Iterator[Table | str]:
    found = [(f"step {each.step}", wrong) for each in played.steps for wrong in each.mismatches]
    found += [("migration", wrong) for wrong in played.mismatches]
    rows = [(of, each.pointer, each.detail, each.expected, each.found) for of, each in found]
    if rows:
        yield views.filled("", ("of", "where", "what", "expected", "found"), rows)
    if played.problem is not None:
        yield f"the migration was refused: {played.problem['detail']}"
