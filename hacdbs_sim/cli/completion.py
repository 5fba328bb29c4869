"""What a shell completes besides commands and options: names that the service knows.

A completion asks the service of --url or HACDBS_URL, and offers nothing if that does not respond at once.
"""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Final, TypeAlias

import httpx
import typer

from hacdbs_sim.client import Client, ClientError

TIMEOUT_SECONDS: Final = 1.0
MAX_OFFERED: Final = 500

Completer: TypeAlias = Callable[[typer.Context, str], list[tuple[str, str]]]


def one_of(*values: str) -> Callable[[str], list[str]]:
    """Return a completer of values that are always the same."""
    return lambda incomplete: [value for value in values if value.startswith(incomplete)]


def _completer(
    names: Callable[[Client, dict[str, Any]], Iterable[tuple[object, str]]],
) -> Completer:
    """Return a completer of names, each with its description, from a client and earlier arguments."""

    def complete(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
        given = dict(ctx.params)
        if not given.get("vm_id") and ctx.args:
            # An option without its value ends the parsing before arguments have their names
            given["vm_id"] = ctx.args[0]
        try:
            with Client(
                given.get("url"), token=given.get("token"), timeout=TIMEOUT_SECONDS, retries=0
            ) as client:
                found = [(str(name), text) for name, text in names(client, given)]
        # Nothing to offer: no service, no such VM, or the argument before is missing
        except (ClientError, httpx.InvalidURL, ValueError, KeyError):
            return []
        return list(islice((each for each in found if each[0].startswith(incomplete)), MAX_OFFERED))

    return complete


vm_ids: Final = _completer(lambda client, _: ((vm.vm_id, vm.name) for vm in client.list_vms("-")))
session_ids: Final = _completer(
    lambda client, _: (
        (session.session_id, f"{session.vm_count} VMs") for session in client.list_sessions()
    )
)
migration_ids: Final = _completer(
    lambda client, _: (
        (each.migration_id, f"{each.vm_id} {each.status}") for each in client.list_migrations("-")
    )
)
scenario_names: Final = _completer(
    lambda client, _: ((each.scenario, "") for each in client.list_scenarios())
)
slots: Final = _completer(
    lambda client, given: (
        (each.slot, f"{each.npages} pages") for each in client.vm(given["vm_id"]).list_memslots()
    )
)
cpus: Final = _completer(
    lambda client, given: (
        (each.cpu, "online" if each.online else "offline")
        for each in client.vm(given["vm_id"]).list_cpus()
    )
)
fault_ids: Final = _completer(
    lambda client, given: (
        (each.fault_id, each.type) for each in client.vm(given["vm_id"]).list_faults()
    )
)
workload_ids: Final = _completer(
    lambda client, given: (
        (each.workload_id, each.kind) for each in client.vm(given["vm_id"]).list_workloads()
    )
)
