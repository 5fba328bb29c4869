"""Reports as pages: one file each, with inline style and SVG, without scripts or other files."""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import jinja2
import orjson
from markupsafe import Markup

from hacdbs_sim import model
from hacdbs_sim.report import comparisons, figures, migrations, repeat, settings
from hacdbs_sim.report.parts import Drawn, Table, Verdict, table
from hacdbs_sim.wire.writer import Written

MAX_ANSWER_CHARS: Final = 2_000
"""How much of a step's answer is shown."""

_FOLDER: Final = Path(__file__).parent / "templates"
_STYLE: Final = (_FOLDER / "report.css").read_text(encoding="utf-8")
_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'"
)
"""The Content-Security-Policy of a report: its own style, and nothing else. The file has it, too."""

_TEMPLATES: Final = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_FOLDER),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A run on a page.

    Attributes:
        anchor: Its id on the page.
        title: Its heading.
        verdict: How it ended.
        facts: Its figures.
        charts: Its charts.
        tables: What happened, in tables.
        settings: How it was set up, in tables.
        is_folded: Whether only its heading is shown until it is opened.
    """

    anchor: str
    title: str
    verdict: Verdict
    facts: Sequence[tuple[str, str]] = ()
    charts: Sequence[Drawn] = ()
    tables: Sequence[Table] = ()
    settings: Sequence[Table] = ()
    is_folded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TestRun:
    """A test, and the runs that it left.

    Attributes:
        name: Its node id.
        outcome: passed, failed or skipped.
        migrations: The migrations of its session.
        comparisons: The comparisons of its session.
        scenario: The scenario of its session, if it has one.
        failure: The end of its failure's text.
        used_service: Whether it had a session of the service.
    """

    __test__ = False

    name: str
    outcome: str
    migrations: Sequence[model.MigrationInfo] = ()
    comparisons: Sequence[model.ComparisonInfo] = ()
    scenario: model.ScenarioOutcome | None = None
    failure: str = ""
    used_service: bool = False


def migration_html(info: model.MigrationInfo, version: str) -> str:
    """Return the report of a migration as a page; `version` is the service's."""
    section = _migration(info)
    return _render(
        "migration.html",
        version,
        title=f"Migration {info.migration_id}",
        lead=_place(info),
        verdict=section.verdict,
        section=section,
        repeat=repeat.repeat_migration(info),
    )


def comparison_html(info: model.ComparisonInfo, version: str) -> str:
    """Return the report of a comparison as a page."""
    return _render(
        "comparison.html",
        version,
        title=f"Comparison {info.comparison_id}",
        lead=f"One VM and one migration in {len(info.rows)} variants, with one seed.",
        verdict=_verdict_of_comparison(info),
        section=_comparison(info),
        variants=_variants(info),
        repeat=repeat.repeat_comparison(info),
    )


def scenario_html(outcome: model.ScenarioOutcome, version: str) -> str:
    """Return the report of a scenario as a page."""
    document = outcome.document
    return _render(
        "scenario.html",
        version,
        title=f"Scenario {outcome.scenario}",
        lead=str(document.get("description") or ""),
        seen_in=str(document.get("seen_in") or ""),
        verdict=_verdict_of_scenario(outcome),
        tables=_scenario_tables(outcome),
        steps=_steps(outcome),
        section=None if outcome.migration is None else _migration(outcome.migration),
        repeat=repeat.repeat_scenario(outcome),
    )


def suite_html(runs: Sequence[TestRun], seed: int, version: str) -> str:
    """Return the report of a run of tests as a page; `seed` is that of --hacdbs-seed."""
    counted = {each: sum(run.outcome == each for run in runs) for each in ("failed", "passed")}
    verdict = Verdict(
        "bad" if counted["failed"] else "good",
        f"{counted['failed']:,} failed, {counted['passed']:,} passed",
    )
    return _render(
        "tests.html",
        version,
        title="Tests on hacdbs-sim",
        lead=f"{len(runs):,} tests that used the service, with --hacdbs-seed={seed}.",
        verdict=verdict,
        seed=seed,
        summary=[_summary(index, run) for index, run in enumerate(runs)],
        tests=[_sections_of(index, run) for index, run in enumerate(runs)],
    )


def _render(name: str, version: str, **values: Any) -> str:  # noqa: ANN401 - the template's own
    return _template(name).render(
        policy=POLICY,
        style=Markup(_STYLE),  # noqa: S704 - a file of this package
        version=version,
        **values,
    )


@cache
def _template(name: str) -> jinja2.Template:
    return _TEMPLATES.get_template(f"{name}.jinja")


# Migrations


def _place(info: model.MigrationInfo) -> str:
    there = "" if info.destination_vm_id is None else f" to {info.destination_vm_id}"
    return f"VM {info.vm_id} of session {info.session_id}{there}."


def _migration(info: model.MigrationInfo, anchor: str = "migration") -> Section:
    vm = info.origin.vm
    return Section(
        anchor=anchor,
        title=f"Migration {info.migration_id}",
        verdict=migrations.verdict_of(info),
        facts=migrations.facts_of(info, vm.seed),
        charts=migrations.charts_of(info, vm.page_size),
        tables=_happened(info),
        settings=(
            settings.spec_table(info.origin.migration),
            *settings.schedule_table(info.origin.migration),
            *settings.vm_tables(vm),
        ),
    )


def _happened(report: model.MigrationReport) -> tuple[Table, ...]:
    return (
        *migrations.proof_tables(report),
        *migrations.story_tables(report),
        *migrations.pass_tables(report),
    )


# Comparisons


def _verdict_of_comparison(info: model.ComparisonInfo) -> Verdict:
    if not info.is_over:
        return Verdict("open", "Not ended")
    lost = [row.name for row in info.rows if row.lost_pages]
    if lost:
        return Verdict("bad", f"Pages are lost in {', '.join(lost)}")
    others = [row.name for row in info.rows if row.status is not model.MigrationStatus.COMPLETED]
    if others:
        return Verdict("bad", f"Not completed: {', '.join(others)}")
    return Verdict("good", "All variants completed, and no page is lost")


def _comparison(info: model.ComparisonInfo, anchor: str = "comparison") -> Section:
    return Section(
        anchor=anchor,
        title=f"Comparison {info.comparison_id}",
        verdict=_verdict_of_comparison(info),
        facts=(("Seed", str(info.compared.vm.seed)),),
        charts=comparisons.comparison_charts(info),
        tables=(comparisons.comparison_table(info), comparisons.differences_table(info)),
        settings=(
            settings.spec_table(info.compared.migration),
            *settings.schedule_table(info.compared.migration),
            *settings.vm_tables(info.compared.vm),
        ),
    )


def _variants(info: model.ComparisonInfo, anchor: str = "variant") -> list[Section]:
    vm = info.compared.vm
    return [
        Section(
            anchor=f"{anchor}-{index}",
            title=f"Variant {report.name}",
            verdict=migrations.verdict_of(report),
            facts=migrations.facts_of(report, vm.seed),
            charts=migrations.charts_of(report, vm.page_size),
            tables=_happened(report),
            is_folded=True,
        )
        for index, report in enumerate(info.reports)
    ]


# Scenarios


def _verdict_of_scenario(outcome: model.ScenarioOutcome) -> Verdict:
    match outcome.verdict:
        case model.Verdict.PASSED:
            return Verdict("good", "Passed: all is as expected")
        case model.Verdict.RUNNING:
            return Verdict("open", "Not ended")
        case model.Verdict.FAILED:
            why = "" if outcome.problem is None else _problem(outcome.problem)
            return Verdict("bad", "Failed", why)


def _problem(problem: model.Problem) -> str:
    return f"The migration was refused: {problem.code}: {problem.detail}."


def _scenario_tables(outcome: model.ScenarioOutcome) -> list[Table]:
    found = [(f"step {each.step}", wrong) for each in outcome.steps for wrong in each.mismatches]
    found += [("migration", wrong) for wrong in outcome.mismatches]
    rows = [
        (of, wrong.pointer, wrong.detail, _json(wrong.expected), _json(wrong.found))
        for of, wrong in found
    ]
    tables = [table("VMs", ("key", "VM"), [(each.key, each.vm_id) for each in outcome.vms])]
    if rows:
        headers = ("of", "where", "what", "expected", "found")
        tables.insert(0, table("What is not as expected", headers, rows))
    return tables


@dataclass(frozen=True, slots=True)
class _Step:
    """A step of a scenario: what was called, expected and answered."""

    outcome: model.StepOutcome
    action: str
    expected: str
    answer: str


def _steps(outcome: model.ScenarioOutcome) -> list[_Step]:
    given = list(outcome.document.get("steps") or ())
    given += [{}] * (len(outcome.steps) - len(given))  # a long document is not decoded
    return [
        _Step(
            done,
            _shortened(_json(step["action"])) if step else "",
            _shortened(_json(step["expect"])) if step.get("expect") else "",
            "" if done.body is None else _shortened(_json(done.body)),
        )
        for done, step in zip(outcome.steps, given, strict=False)
    ]


def _json(value: object) -> str:
    if isinstance(value, Written):
        return value.octets.decode()
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()


def _shortened(text: str) -> str:
    if len(text) <= MAX_ANSWER_CHARS:
        return text
    return f"{text[:MAX_ANSWER_CHARS]} … and {len(text) - MAX_ANSWER_CHARS:,} characters more"


# Tests


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A migration of a test in the summary; a test without one has a row without figures."""

    anchor: str
    name: str
    outcome: str
    figures: tuple[str, ...] = ("", "", "", "", "", "", "")


def _summary(index: int, run: TestRun) -> list[_Row]:
    anchor = f"test-{index}"
    rows = [
        _Row(
            anchor=anchor,
            name=run.name,
            outcome=run.outcome,
            figures=(
                info.migration_id,
                info.status,
                info.reason or "",
                figures.count(info.verification.lost_pages) if info.verification.enabled else "",
                figures.count(info.totals.iterations),
                figures.nanoseconds(info.totals.downtime_ns),
                str(info.origin.vm.seed),
            ),
        )
        for info in run.migrations
    ]
    return rows or [_Row(anchor=anchor, name=run.name, outcome=run.outcome)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Test:
    """A test on the page."""

    anchor: str
    run: TestRun
    sections: Sequence[tuple[Section, repeat.Repeat]]


def _sections_of(index: int, run: TestRun) -> _Test:
    anchor = f"test-{index}"
    return _Test(anchor=anchor, run=run, sections=tuple(_runs_of(anchor, run)))


def _runs_of(anchor: str, run: TestRun) -> Iterable[tuple[Section, repeat.Repeat]]:
    for at, info in enumerate(run.migrations):
        yield _migration(info, f"{anchor}-m{at}"), repeat.repeat_migration(info)
    for at, each in enumerate(run.comparisons):
        yield _comparison(each, f"{anchor}-c{at}"), repeat.repeat_comparison(each)
    if (scenario := run.scenario) is not None:
        section = Section(
            anchor=f"{anchor}-s",
            title=f"Scenario {scenario.scenario}",
            verdict=_verdict_of_scenario(scenario),
            tables=_scenario_tables(scenario),
        )
        yield section, repeat.repeat_scenario(scenario)
