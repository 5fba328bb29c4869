"""`scenario run --compare-backends`: one scenario on the simulated machine and on the host's KVM."""

import secrets
from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson
import typer
from rich.console import RenderableType

from hacdbs_sim.cli import views
from hacdbs_sim.cli.command_context import CommandContext, print_json, usage_error
from hacdbs_sim.cli.documents import Document
from hacdbs_sim.cli.exit_codes import ExitCode
from hacdbs_sim.client.results import read
from hacdbs_sim.model import BackendName, BatchResult, Scenario, VmInfo
from hacdbs_sim.scenarios.backends import BackendComparison, Side, compare_backends
from hacdbs_sim.scenarios.reading import explain
from hacdbs_sim.wire import InvalidRequestError, reader_of

SIDES: Final = (BackendName.SIMULATED, BackendName.HOST_KVM)


def compare(context: CommandContext, document: Document) -> None:
    """Play a scenario's steps on both backends, and end by whether they agree.

    Every step is performed, whatever became of those before it; a migration is in virtual time, which
    the host's KVM has not, so it is left out.
    """
    try:
        reader_of(Scenario)(orjson.dumps(document.value))
    except InvalidRequestError as refused:
        errors = [{"pointer": each.pointer, "detail": each.detail} for each in refused.errors]
        raise usage_error("\n".join(explain(document.name, document.text, errors))) from None
    scenario = document.value
    one, other = (_play(context, scenario, backend) for backend in SIDES)
    made = compare_backends(scenario.get("steps", []), one, other)
    if scenario.get("migration"):
        made.skipped[f"migration: {BackendName.HOST_KVM} has no virtual time"] += 1
    if context.as_json:
        skipped = [{"why": why, "values": count} for why, count in sorted(made.skipped.items())]
        plain = {
            "scenario": scenario["scenario"],
            "backends": SIDES,
            "compared": made.compared.total(),
            "skipped": skipped,
            "differences": made.differences,
        }
        print_json(orjson.dumps(plain))
    else:
        for part in _tables(scenario, made, one, other):
            context.console.print(part)
    if made.differences:
        raise typer.Exit(ExitCode.NEGATIVE)


def on_backend(scenario: Mapping[str, Any], backend: BackendName | None) -> dict[str, Any]:
    """Return a scenario whose VMs have this backend; as it is without one."""
    if backend is None or not isinstance(vms := scenario.get("vms"), list):
        return dict(scenario)
    chosen = [{**vm, "backend": backend} if isinstance(vm, dict) else vm for vm in vms]
    return {**scenario, "vms": chosen}


def _play(context: CommandContext, scenario: Mapping[str, Any], backend: BackendName) -> Side:
    session = context.client.create_session(f"backends-{secrets.token_hex(4)}")
    try:
        ids: dict[str, str] = {}
        unknown: frozenset[str] = frozenset()
        for vm in on_backend(scenario, backend)["vms"]:
            spec = {name: value for name, value in vm.items() if name != "key"}
            body = {**spec, "session_id": session.session_id}
            made = read(VmInfo, context.client.send("POST", "v1", "vms", body=body))
            ids[vm["key"]] = made.vm_id
            unknown |= {*made.capabilities.unknown_fields}
        played: list[BatchResult] = []
        for step in scenario.get("steps", []):
            vm = context.client.vm(ids[step["vm"]])
            (result,) = vm.run_batch([step["action"]], check=False)
            played.append(result)
        return Side(backend, unknown, played)
    finally:
        session.delete()


def _tables(
    scenario: Mapping[str, Any], made: BackendComparison, one: Side, other: Side
) -> Iterator[RenderableType]:
    played = zip(scenario.get("steps", []), one.steps, other.steps, strict=True)
    rows = [
        (
            number,
            step["vm"],
            step["action"]["op"],
            mine.status,
            theirs.status,
            made.compared[number],
        )
        for number, (step, mine, theirs) in enumerate(played)
    ]
    columns = ("#step", "VM", "action", f"#{one.backend}", f"#{other.backend}", "#values compared")
    yield views.rows_table("", columns, rows)
    if made.skipped:
        skipped = ((count, why) for why, count in sorted(made.skipped.items()))
        yield views.rows_table("skipped", ("#values", "why"), skipped)
    if made.differences:
        found = (
            (f"step {each.step}", each.pointer, each.detail, *map(repr, each.found))
            for each in made.differences
        )
        yield views.rows_table("differences", ("of", "where", "what", "one", "other"), found)
    yield (
        f"{scenario['scenario']}: {made.compared.total()} values compared,"
        f" {made.skipped.total()} skipped, {len(made.differences)} differences"
    )
