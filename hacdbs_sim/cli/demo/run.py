"""Run the demo on a service, and print its report."""

import json
import secrets
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Final

import httpx
import typer
from rich.console import Console

from hacdbs_sim.cli.demo import report
from hacdbs_sim.cli.demo.migration import Phase
from hacdbs_sim.cli.demo.phases import FULL, QUICK, run_demo
from hacdbs_sim.cli.service import ServiceNotStartedError, running_service
from hacdbs_sim.client import Client, ClientError

# Settings of the demo's own service; they override the environment
_OWN_SERVICE: Final = {"HACDBS_ALLOWED_HOSTS": "127.0.0.1", "HACDBS_LOG_LEVEL": "warning"}


class DemoAbortedError(Exception):
    """The service refused a request, did not respond or did not start."""


def show_demo(url: str | None, token: str | None, *, quick: bool, seed: int, as_json: bool) -> bool:
    """Run the demo, on a service of its own without `url`; return whether its result is good."""
    try:
        with ExitStack() as stack:
            if url is None:
                url = stack.enter_context(running_service(_OWN_SERVICE))
            client = stack.enter_context(Client(url, token=token or ""))
            return _show_on(client, quick=quick, seed=seed, as_json=as_json)
    except (httpx.InvalidURL, ClientError, ServiceNotStartedError) as error:
        raise DemoAbortedError(str(error)) from error


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
        typer.echo(
            json.dumps(
                report.as_json(result, url=str(client.http.base_url), seed=seed, seconds=seconds)
            )
        )
    else:
        report.print_report(console, result)
    return result.is_good
