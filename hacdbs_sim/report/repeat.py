"""How to repeat a run: the bodies of its calls, for curl and for the client."""

from dataclasses import MISSING, dataclass
from pprint import pformat
from shlex import quote
from typing import Any, Final

import orjson

from hacdbs_sim.model import ComparisonInfo, MigrationInfo, Model, ScenarioOutcome
from hacdbs_sim.report.settings import with_defaults
from hacdbs_sim.wire import to_plain

MAX_BODY_BYTES: Final = 1 << 18
"""Longer bodies are left out: a report is to be read."""

_SESSION: Final = "repeat"
_JSON: Final = "-H 'content-type: application/json'"
_BEGIN: Final = f"""\
URL=http://127.0.0.1:8000
curl -s $URL/v1/sessions {_JSON} -d '{{"session_id": "{_SESSION}"}}'
"""


@dataclass(frozen=True, slots=True)
class Repeat:
    """How to repeat a run.

    Attributes:
        caveats: Why the same calls may give another result; nothing: they give the same.
        shell: Commands that call a service.
        python: A program that needs none. Both are None where a body is too long.
    """

    caveats: tuple[str, ...]
    shell: str | None
    python: str | None


def body_of(value: Model) -> dict[str, Any]:
    """Return a request as JSON values, without the fields that have their defaults."""
    plain = to_plain(value)
    body = {}
    for name, own, default in with_defaults(value):
        if default is MISSING or own != default:
            body[name] = body_of(own) if name == "costs" else _given(plain[name])
    return body


def _given(value: Any) -> Any:  # noqa: ANN401 - JSON values
    """Drop null fields, which stand for what was not given."""
    if isinstance(value, dict):
        return {name: _given(each) for name, each in value.items() if each is not None}
    return [_given(each) for each in value] if isinstance(value, list) else value


def repeat_migration(info: MigrationInfo) -> Repeat:
    """Return how to repeat a migration."""
    vm, migration = body_of(info.origin.vm), body_of(info.origin.migration)
    caveats = _omitted(info.origin.omitted_parts)
    if info.origin.was_used:
        caveats += ("The VM had been used before: this begins with a new one.",)
    if any(change.by == "call" for change in info.changes):
        caveats += ("Calls changed the migration while it ran: repeat them, too.",)
    if not info.is_over:
        caveats += ("The migration had not ended.",)
    if _is_long(vm) or _is_long(migration):
        return Repeat(caveats, None, None)
    end = f'curl -s "$URL/v1/migrations/{_SESSION}-m1?wait_for=end&wait_seconds=60"\n'
    shell = (
        _BEGIN
        + _post("vms", {"session_id": _SESSION, **vm})
        + _post("migrations", {"vm_id": f"{_SESSION}-1", **migration})
        + end
    )
    python = _program(
        {"VM": vm, "MIGRATION": migration},
        "vm = client.create_vm(**VM)",
        "report = vm.start_migration(**MIGRATION).wait()",
        "print(report.status, report.reason, report.verification.lost_pages)",
    )
    return Repeat(caveats, shell, python)


def repeat_comparison(info: ComparisonInfo) -> Repeat:
    """Return how to repeat a comparison."""
    of = info.compared
    vm, migration = body_of(of.vm), body_of(of.migration)
    variants = list(map(body_of, of.variants))
    caveats = _omitted(of.omitted_parts)
    if any(map(_is_long, (vm, migration, variants))):
        return Repeat(caveats, None, None)
    body = {
        "vm": {"session_id": _SESSION, **vm},
        "migration": migration,
        "variants": variants,
    }
    end = f'curl -s "$URL/v1/comparisons/{_SESSION}-c1?wait_for=end&wait_seconds=60"\n'
    python = _program(
        {"VM": vm, "MIGRATION": migration, "VARIANTS": variants},
        "report = client.start_comparison(VM, MIGRATION, variants=VARIANTS).wait()",
        "for row in report.rows:",
        "    print(row.name, row.status, row.lost_pages)",
    )
    return Repeat(caveats, _BEGIN + _post("comparisons", body) + end, python)


def repeat_scenario(outcome: ScenarioOutcome) -> Repeat:
    """Return how to repeat a scenario: its document is all there is to it."""
    document = dict(outcome.document)
    if "vms" not in document or _is_long(document):
        return Repeat((), None, None)
    place = f"$URL/v1/sessions/{_SESSION}/scenario"
    put = f"curl -s -X PUT {place} {_JSON} -d {quote(_json(document))}\n"
    end = f'curl -s "{place}?wait_seconds=60"\n'
    python = _program(
        {"DOCUMENT": document},
        "session = client.create_session()",
        "outcome = session.put_scenario(DOCUMENT)",
        'while outcome.verdict == "running":',
        "    outcome = session.get_scenario(wait_seconds=20)",
        "print(outcome.verdict)",
    )
    return Repeat((), _BEGIN + put + end, python)


def _omitted(parts: int) -> tuple[str, ...]:
    if not parts:
        return ()
    return (f"The VM had {parts:,} more memslots, faults or workloads than this report has.",)


def _is_long(body: object) -> bool:
    return len(orjson.dumps(body)) > MAX_BODY_BYTES


def _json(body: object) -> str:
    return orjson.dumps(body, option=orjson.OPT_INDENT_2).decode()


def _post(path: str, body: dict[str, Any]) -> str:
    return f"curl -s $URL/v1/{path} {_JSON} -d {quote(_json(body))}\n"


def _program(values: dict[str, object], *lines: str) -> str:
    given = [
        f"{name} = {pformat(value, width=96, sort_dicts=False)}" for name, value in values.items()
    ]
    body = [f"    {line}" for line in lines]
    begin = ("from hacdbs_sim.client import Client", "")
    end = ("", "with Client.in_process() as client:", *body)
    return "\n".join((*begin, *given, *end)) + "\n"
