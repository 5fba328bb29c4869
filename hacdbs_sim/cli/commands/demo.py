"""`demo`: a migration under every fault, on a service of its own."""

import json
import secrets
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Annotated

import typer
from rich.console import Console

from hacdbs_sim.cli.command_context import Token, exit_on_client_error
from hacdbs_sim.cli.demo import report
from hacdbs_sim.cli.demo.migration import Phase
from hacdbs_sim.cli.demo.phases import FULL, QUICK, run_demo
from hacdbs_sim.cli.exit_codes import ExitCode
from hacdbs_sim.client import Client, serve_in_thread

app = typer.Typer()


@app.command("demo")
def demo(
    url: Annotated[str | None, typer.Option(help="The service; by default a new one.")] = None,
    token: Token = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer rounds.")] = False,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the programs' places and of the pages that fail.")
    ] = 7,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON only.")] = False,
) -> None:
    """Migrate a 2 GiB VM under every fault; exit 0 if no page is lost or over-reported, else 1."""
    with exit_on_client_error(url or "a new service", as_json=as_json), ExitStack() as stack:
        if url is None:
            client = stack.enter_context(stack.enter_context(serve_in_thread()).client())
        else:
            client = stack.enter_context(Client(url, token=token or ""))
        is_good = _show_on(client, quick=quick, seed=seed, as_json=as_json)
    if not is_good:
        raise typer.Exit(ExitCode.NEGATIVE)


def _show_on(client: Client, *, quick: bool, seed: int, as_json: bool) -> bool:
    length = QUICK if quick else FULL
    console = Console(highlight=False)
    began_at = time.monotonic()
    display: AbstractContextManager[Callable[[Phase], None]]
    if as_json:
        display = nullcontext(lambda _: None)
    elif console.is_terminal:
        display = report.live_table(console, length.rounds)
    else:
        display = report.plain_lines(console)
    with client.create_session(f"demo-{secrets.token_hex(4)}") as session, display as report_phase:
        result = run_demo(session, length, seed, report_phase)
    if as_json:
        seconds = time.monotonic() - began_at
        url = str(client.http.base_url)
        typer.echo(json.dumps(report.as_json(result, url=url, seed=seed, seconds=seconds)))
    else:
        report.print_report(console, result)
    return not result.complaints
