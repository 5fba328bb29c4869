"""Reports as files: what they need, what they escape, and that what they show repeats the run."""

import base64
import hashlib
import io
import re
import subprocess
from collections.abc import Generator
from contextlib import redirect_stdout
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from typing import Any, Final

import pytest
from typing_extensions import override

from hacdbs_sim.client import Client, Migration, Session, serve_in_thread
from hacdbs_sim.model import ComparisonInfo, MigrationInfo, ScenarioOutcome
from hacdbs_sim.report import POLICY, TestRun, migration_html, scenario_html, suite_html
from hacdbs_sim.wire import to_plain

MEMSLOT: Final[dict[str, Any]] = {"slot": 0, "guest_phys_addr": 0x40000000, "memory_size": "8MiB"}
WORKLOAD: Final[dict[str, Any]] = {"slot": 0, "kind": "uniform", "writes_per_second": 200_000}
SLOW: Final = 20_000_000
EVIL: Final = "</style></pre><script>alert('\"&1')</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def client() -> Generator[Client]:
    with Client.in_process() as opened:
        yield opened


@pytest.fixture
def session(client: Client) -> Generator[Session]:
    with client.create_session() as made:
        yield made


def start(session: Session, **spec: Any) -> Migration:
    vm = session.create_vm(
        seed=11,
        manual_dirty_log_protect2=3,
        memslots=[MEMSLOT],
        workloads=[WORKLOAD],
        faults=[{"type": "ipaf", "every": 2, "when": {"op": "clear"}}],
        costs={"ioctl_ps": 1_000},
    )
    return vm.start_migration(bandwidth_bytes_per_second=SLOW, **spec)


class Outline(HTMLParser):
    """The elements of a page, with what each names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.feed(text)

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    @override
    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    @override
    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def outline_of(text: str) -> Outline:
    """The outline of a page that is well formed, and needs and runs nothing."""
    outline = Outline(text)
    assert outline.open == []
    assert outline.tags.count("h1") == 1
    assert not {"script", "img", "link", "iframe", "object", "form"} & set(outline.tags)
    for name, value in outline.attributes:
        assert not name.startswith("on")
        assert name not in {"src", "style"}
        assert name != "href" or (value or "").startswith("#")
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in POLICY
    assert ("content", POLICY) in outline.attributes
    return outline


def snippet(text: str, kind: str) -> str:
    (found,) = re.findall(rf'<pre class="{kind}">(.*?)</pre>', text, re.DOTALL)
    return unescape(found)


def same(one: MigrationInfo, other: MigrationInfo) -> bool:
    """Whether two reports are equal but for what names the session."""
    named = {"migration_id": "", "session_id": "", "vm_id": ""}
    return to_plain(one) | named == to_plain(other) | named


def test_the_report_of_a_migration_needs_nothing_and_has_its_figures(session: Session) -> None:
    migration = start(
        session,
        downtime_limit_ns=1_000_000,
        max_iterations=6,
        timeout_strategy="switch_over",
        auto_converge={"initial": 30},
        schedule=[
            {"iteration": 1, "set": {"downtime_limit_ns": 2_000_000}},
            {"iteration": 999, "action": {"op": "set_cpu", "cpu": 1, "online": False}},
        ],
    )
    info = migration.wait()

    text = migration.report()

    outline = outline_of(text)
    assert outline.tags.count("figure") == 3
    assert info.status.capitalize() in text
    assert f"<dd>{info.origin.vm.seed}</dd>" in text
    for row in info.iterations:
        assert f'<td class="n">{row.sent_pages:,}</td>' in text
    assert "never reached" in text
    assert "downtime_limit_ns: 2 ms" in text
    assert text.count('<rect x="') >= 2 * len(info.iterations)


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"downtime_limit_ns": 0, "max_iterations": 5, "timeout_strategy": "switch_over"},
        {"clear_order": "after_copy", "max_iterations": 4, "timeout_strategy": "switch_over"},
        {
            "postcopy": {"after_iterations": 1},
            "link": {"latency_ns": 1_000_000, "events": [{"type": "down", "at_ns": 1, "duration_ns": 9}]},
        },
        {
            "downtime_limit_ns": 0,
            "schedule": [
                {"at": {"phase": "device"}, "action": {"op": "host_write", "gfns": [0x40000]}},
                {"at": {"ns": 300_000_000}, "set": {"command": "switch_over"}},
            ],
        },
    ],
    ids=["as usual", "without end", "with a loss", "post-copy", "with a schedule"],
)  # fmt: skip
def test_the_program_in_a_report_gives_the_same_report(
    session: Session, spec: dict[str, Any]
) -> None:
    migration = start(session, **spec)
    info = migration.wait()
    text = migration.report()
    program = snippet(text, "python")

    scope: dict[str, Any] = {}
    with redirect_stdout(io.StringIO()) as printed:
        exec(program, scope)  # noqa: S102 - that it runs is what is tested

    assert "The same calls give the same report." in text
    assert same(scope["report"], info)
    assert printed.getvalue().split()[0] == info.status


def test_the_commands_in_a_report_give_the_same_report(session: Session) -> None:
    migration = start(session)
    info = migration.wait()
    commands = snippet(migration.report(), "shell")
    with serve_in_thread(log_level="error") as service, service.client() as other:
        here = commands.replace("http://127.0.0.1:8000", service.url)

        subprocess.run(["/bin/sh", "-eu", "-c", here], capture_output=True, check=True)  # noqa: S603

        assert same(other.migration("repeat-m1").get(), info)


def test_a_report_says_what_its_calls_do_not_repeat(session: Session) -> None:
    vm = session.create_vm(memslots=[MEMSLOT])
    vm.guest_write([0x40000])
    used = vm.start_migration(pause_before_switchover=True)
    used.wait("pre-switchover")
    running = used.report()
    used.continue_()
    used.wait()

    ended = used.report()

    assert "The migration had not ended." in running
    assert "Not ended: pre-switchover." in running
    assert "The VM had been used before" in ended
    assert "Calls changed the migration while it ran" in ended
    assert "The same calls give the same report." not in ended


def test_a_vm_that_is_only_set_up_counts_as_new(session: Session) -> None:
    vm = session.create_vm()
    vm.set_memslot(**{**MEMSLOT, "memory_size": "4MiB"})
    vm.add_workload(**WORKLOAD)
    vm.add_fault("lost_interrupt", times=1)

    info = vm.start_migration().wait()

    assert not info.origin.was_used
    assert info.origin.omitted_parts == 0
    assert [each.type for each in info.origin.vm.faults] == ["lost_interrupt"]
    assert info.origin.vm.workloads[0].seed is not None


def test_a_vm_of_many_parts_is_not_kept_whole(session: Session) -> None:
    slots = [{"slot": at, "guest_phys_addr": at << 21, "memory_size": "64KiB"} for at in range(300)]
    trace = {"slot": 0, "kind": "intervals", "interval_ns": 1_000_000, "pages": [[0], [1]]}
    vm = session.create_vm(memslots=slots, workloads=[trace])
    migration = vm.start_migration()

    info = migration.wait()

    assert len(info.origin.vm.memslots) == 256
    assert info.origin.vm.workloads == ()
    assert info.origin.omitted_parts == 45
    assert "The VM had 45 more memslots, faults or workloads" in migration.report()


def test_a_comparison_names_what_differs_and_is_repeated(client: Client, session: Session) -> None:
    body = {
        "session_id": session.session_id,
        "name": EVIL[:60],
        "seed": 5,
        "memslots": [MEMSLOT],
        "workloads": [WORKLOAD],
    }
    comparison = client.start_comparison(
        body,
        {
            "bandwidth_bytes_per_second": SLOW,
            "max_iterations": 3,
            "timeout_strategy": "switch_over",
        },
        variants=[
            {"name": "plain"},
            {"name": "no-unit", "features": {"hacdbs": False}},
            {"name": "manual", "manual_dirty_log_protect2": 3},
        ],
    )
    info = comparison.wait()

    text = comparison.report()

    outline_of(text)
    assert "features" in text
    assert "hacdbs: no" in text
    assert "as the VM" in text
    assert text.count("<details") == 3
    scope: dict[str, Any] = {}
    with redirect_stdout(io.StringIO()):
        exec(snippet(text, "python"), scope)  # noqa: S102 - as above
    repeated: ComparisonInfo = scope["report"]
    assert (repeated.rows, repeated.reports) == (info.rows, info.reports)


def test_the_strings_of_users_are_never_markup(session: Session) -> None:
    outcome = session.put_scenario(
        {
            "scenario": "evil",
            "description": EVIL,
            "seen_in": EVIL,
            "vms": [{"key": "src", "name": EVIL[:60], "memslots": [MEMSLOT]}],
            "steps": [
                {
                    "vm": "src",
                    "action": {"op": "guest_write", "gfns": [0x40000]},
                    "expect": {"body": {"newly_dirty": EVIL}},
                }
            ],
        }
    )

    text = session.report_scenario()

    outline_of(text)
    assert EVIL in unescape(text)
    assert EVIL not in text
    assert "What is not as expected" in text
    assert text == scenario_html(outcome, re.findall(r"hacdbs-sim (\S+) · report", text)[0])


def test_a_scenario_shows_its_steps_and_its_migration(session: Session, client: Client) -> None:
    document = client.get_builtin_scenario("clear-after-copy-loses-pages").document
    outcome: ScenarioOutcome = session.put_scenario(document)
    while outcome.verdict == "running":
        outcome = session.get_scenario(wait_seconds=20)

    text = session.report_scenario()

    outline_of(text)
    assert "Passed: all is as expected" in text
    assert outcome.migration is not None
    assert f"{outcome.migration.verification.lost_pages:,}" in text
    scope: dict[str, Any] = {}
    with redirect_stdout(io.StringIO()) as printed:
        exec(snippet(text, "python"), scope)  # noqa: S102 - as above
    assert printed.getvalue() == "passed\n"


def test_tests_are_one_page_whatever_their_names_are(session: Session) -> None:
    migration = start(session)
    info = migration.wait()
    runs = [
        TestRun(name=f"test_a.py::test[{EVIL}]", outcome="failed", migrations=[info], failure=EVIL),
        TestRun(name="test_a.py::test_b", outcome="passed"),
    ]

    text = suite_html(runs, 3, "1.2.3")

    outline_of(text)
    assert "1 failed, 1 passed" in text
    assert EVIL not in text
    assert f"<td>{info.migration_id}</td>" in text
    assert 'href="#test-0"' in text
    assert 'id="test-0" open' in text


def test_a_thousand_passes_are_drawn_as_lines(session: Session) -> None:
    migration = start(session, max_iterations=3, timeout_strategy="switch_over")
    info = migration.wait()
    rows = tuple(replace(info.iterations[0], iteration=at) for at in range(1_000))

    text = migration_html(replace(info, iterations=rows), "1.2.3")

    outline_of(text)
    assert '<rect x="' not in text.replace('<rect x="0"', "")
    assert '<path d="M' in text
