"""The demo: a migration on real traces against a service, judged by the client alone."""

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
from hacdbs_sim.cli.demo.story import FULL, QUICK, tell_story
from hacdbs_sim.cli.service import ServiceNotStartedError, running_service
from hacdbs_sim.client import Client, ClientError

# What the demo's own service needs, whatever the environment says for others
_OWN_SERVICE: Final = {"HACDBS_ALLOWED_HOSTS": "127.0.0.1", "HACDBS_LOG_LEVEL": "warning"}


class CannotGoOnError(Exception):
    """The service refused a call, fell silent or did not start: there is no verdict."""


def show(url: str | None, token: str | None, *, quick: bool, seed: int, as_json: bool) -> bool:
    """Find or start a service, play the story and show it; tell whether it ended well."""
    try:
        with ExitStack() as stack:
            if url is None:
                url = stack.enter_context(running_service(_OWN_SERVICE))
            client = stack.enter_context(Client(url, token=token or ""))
            return _show_on(client, quick=quick, seed=seed, as_json=as_json)
    except (httpx.InvalidURL, ClientError, ServiceNotStartedError) as error:
        raise CannotGoOnError(str(error)) from error


def _show_on(client: Client, *, quick: bool, seed: int, as_json: bool) -> bool:
    length = QUICK if quick else FULL
    console = Console(highlight=False)
    began_at = time.monotonic()
    showing: AbstractContextManager[Callable[[Phase], None]]
    if as_json:
        showing = nullcontext(lambda _: None)
    elif console.is_terminal:
        showing = report.live_table(console, length.rounds)
    else:
        showing = report.plain_lines(console)
    with client.create_session(f"demo-{secrets.token_hex(4)}") as session, showing as tell:
        verdict = tell_story(session, length, seed, tell)
    if as_json:
        seconds = time.monotonic() - began_at
        typer.echo(
            json.dumps(
                report.as_json(verdict, url=str(client.http.base_url), seed=seed, seconds=seconds)
            )
        )
    else:
        report.print_verdict(console, verdict)
    return verdict.is_good
