"""`events`: what happened on the service, a line each."""

from dataclasses import replace
from typing import Annotated, Any, Final

import typer

from hacdbs_sim.cli import arguments as a
from hacdbs_sim.cli import completion, views
from hacdbs_sim.cli.command_context import CommandContext, print_json, service_command
from hacdbs_sim.model import Event, EventPage, EventType
from hacdbs_sim.wire import write

app = typer.Typer(no_args_is_help=True)

PAGE_EVENTS: Final = 1_000


@service_command(app, "events")
def events(
    context: CommandContext,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with events as they happen, without end.")
    ] = False,
    after: Annotated[
        int | None, a.optional_number("Begin behind this event; by default with the oldest kept.")
    ] = None,
    types: Annotated[
        list[EventType] | None, typer.Option("--type", help="Only this type; may be repeated.")
    ] = None,
    session: Annotated[
        str | None,
        typer.Option(help="Only of this session.", autocompletion=completion.session_ids),
    ] = None,
    vm: Annotated[
        str | None, typer.Option(help="Only of this VM.", autocompletion=completion.vm_ids)
    ] = None,
) -> None:
    """Show what happened: an event a line, with --follow and --json each as JSON of its own."""
    selected: dict[str, Any] = {
        "after": after,
        "type": ",".join(types) if types else None,
        "session_id": session,
        "vm_id": vm,
    }
    if not follow:
        page = _stored(context, selected)
        if context.as_json:
            print_json(write(page))
        else:
            context.show(*map(views.event, page.events))
        return
    for event in context.client.watch_events(**selected):
        if not isinstance(event, Event):
            oldest = event.oldest_event_id
            typer.echo(f"events before {oldest} are no longer stored", err=True)
        elif context.as_json:
            print_json(write(event))
        else:
            context.console.print(views.event(event), soft_wrap=True)


def _stored(context: CommandContext, selected: dict[str, Any]) -> EventPage:
    """Return all stored events in one page."""
    first = page = context.client.list_events(**selected, limit=PAGE_EVENTS)
    found = page.events
    while page.next_after < page.last_event_id:
        following = {**selected, "after": page.next_after}
        page = context.client.list_events(**following, limit=PAGE_EVENTS)
        found += page.events
    return replace(page, events=found, stale=first.stale)
