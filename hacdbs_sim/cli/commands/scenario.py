"""`scenario list | show | run | outcome`: builtin scenarios, and those of files."""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Final

import orjson
import typer
from rich.console import RenderableType
from rich.text import Text

from hacdbs_sim.cli import arguments as a
from hacdbs_sim.cli import backends, completion, views
from hacdbs_sim.cli.command_context import CommandContext, print_json, service_command, usage_error
from hacdbs_sim.cli.documents import Document, read_document
from hacdbs_sim.cli.exit_codes import ExitCode
from hacdbs_sim.client import NotFoundError, ProblemError
from hacdbs_sim.client.waiting import POLL_SECONDS
from hacdbs_sim.model import DEFAULT_SESSION, BackendName, BuiltinScenario, ScenarioOutcome, Verdict
from hacdbs_sim.scenarios.reading import explain
from hacdbs_sim.scenarios.yaml_nodes import dump

app = typer.Typer(
    name="scenario", no_args_is_help=True, help="Run scenarios: builtin ones, or those of files."
)

_FILES: Final = (".yaml", ".yml", ".json")
"""Suffixes of files; any other name is that of a scenario unless a file has it."""

Which = Annotated[
    str,
    typer.Argument(
        metavar="NAME|FILE",
        help="A builtin one, or a JSON or YAML file; `-`: stdin.",
        autocompletion=completion.scenario_names,
    ),
]


@service_command(app, "list")
def list_scenarios(context: CommandContext) -> None:
    """List the builtin scenarios."""
    found = context.list_all(context.client.list_scenarios(), "scenarios")
    columns: views.Columns = {
        "scenario": "scenario",
        "what it shows": lambda each: each.description.strip(),
    }
    context.show(views.fields_table("", columns, found))


@service_command(app, "show")
def show(
    context: CommandContext,
    name: Annotated[
        str,
        typer.Argument(
            help="Name of a builtin scenario.", autocompletion=completion.scenario_names
        ),
    ],
) -> None:
    """Show a builtin scenario as YAML that `run` reads."""
    found = _builtin(context, name)
    context.show(Text(dump(found.document)))


@service_command(app, "outcome")
def outcome(
    context: CommandContext,
    session: a.SessionName = DEFAULT_SESSION,
) -> None:
    """Show the outcome of a session's scenario; exit as `run` does."""
    _finish(context, context.client.session(session).get_scenario())


@service_command(app, "run")
def run(
    context: CommandContext,
    which: Which,
    *,
    session: Annotated[
        str | None,
        typer.Option(
            help="A session whose content it replaces; by default a new one, deleted afterwards.",
            autocompletion=completion.session_ids,
        ),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the new session.")] = False,
    backend: Annotated[
        BackendName | None, typer.Option(help="Backend of its VMs, in place of the document's.")
    ] = None,
    compare_backends: Annotated[
        bool,
        typer.Option(
            "--compare-backends",
            help="Run the steps on the simulated machine and on the service's host_kvm, and compare.",
        ),
    ] = False,
) -> None:
    """Run a scenario: exit 0 if all is as expected, else 1."""
    document = _document(context, which)
    if compare_backends:
        if session is not None or keep or backend is not None:
            raise usage_error("--compare-backends excludes --session, --keep and --backend")
        backends.compare(context, document)
        return
    with ExitStack() as stack:
        if session is None:
            created = context.client.create_session(f"scenario-{secrets.token_hex(4)}")
            session = created.session_id
            if keep:
                stack.callback(typer.echo, f"session {session}", err=True)
            else:
                stack.callback(created.delete)
        stack.enter_context(_document_errors(context, document))
        handle = context.client.session(session)
        result = handle.put_scenario(backends.on_backend(document.value, backend))
        while result.verdict is Verdict.RUNNING:
            result = handle.get_scenario(wait_seconds=POLL_SECONDS)
        body = context.bodies[-1]
    context.bodies.append(body)  # not that of the session's deletion
    _finish(context, result)


def _document(context: CommandContext, which: str) -> Document:
    if which == "-" or which.endswith(_FILES) or Path(which).is_file():
        return read_document(Path(which))
    found = _builtin(context, which)
    return Document(which, dump(found.document), dict(found.document))


def _builtin(context: CommandContext, name: str) -> BuiltinScenario:
    """Return a builtin scenario; say which one may be meant by a name that there is not."""
    try:
        return context.client.get_builtin_scenario(name)
    except NotFoundError as refused:
        names = [each.scenario for each in context.client.list_scenarios()]
        meant = [f"did you mean {near}?" for near in get_close_matches(name, names, 1)]
        where = "hacdbs-sim scenario list lists them; a file ends in .yaml or .json"
        refused.add_note(" ".join([*meant, where]))
        raise


@contextmanager
def _document_errors(context: CommandContext, document: Document) -> Iterator[None]:
    """Print which lines of the document are wrong, if the service refuses it."""
    try:
        yield
    except ProblemError as refused:
        errors = [error for error in refused.errors if error["in"] == "body"]
        lines = explain(document.name, document.text, errors)
        if not lines:
            raise
        if context.as_json:
            print_json(orjson.dumps(refused.problem))
        typer.echo("\n".join(lines), err=True)
        raise typer.Exit(ExitCode.REFUSED) from None


def _finish(context: CommandContext, result: ScenarioOutcome) -> None:
    context.show(*_steps(result), *_mismatches(result), f"{result.scenario}: {result.verdict}")
    if result.verdict is Verdict.FAILED:
        raise typer.Exit(ExitCode.NEGATIVE)


def _steps(result: ScenarioOutcome) -> Iterator[RenderableType]:
    if result.steps:
        columns = ("#step", "VM", "action", "#status", "verdict")
        rows = ((each.step, each.vm, each.op, each.status, each.verdict) for each in result.steps)
        yield views.rows_table("", columns, rows)
    if (report := result.migration) is not None:
        yield views.outcome(report.migration_id, report)
        yield from views.happenings(report)


def _mismatches(result: ScenarioOutcome) -> Iterator[RenderableType]:
    found = [(f"step {each.step}", wrong) for each in result.steps for wrong in each.mismatches]
    found += [("migration", wrong) for wrong in result.mismatches]
    rows = [(of, each.pointer, each.detail, each.expected, each.found) for of, each in found]
    if rows:
        yield views.rows_table("", ("of", "where", "what", "expected", "found"), rows)
    if result.problem is not None:
        yield f"the migration was refused: {result.problem.detail}"
