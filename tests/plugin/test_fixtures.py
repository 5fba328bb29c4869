"""The fixtures in sample suites, in one process and in several."""

import json
from pathlib import Path

import pytest

from hacdbs_sim.client import Service, serve_in_thread
from hacdbs_sim.pytest_plugin.failure_report import SHOWN_REQUESTS, sections_of
from hacdbs_sim.pytest_plugin.testbed import Testbed
from tests.plugin.conftest import Run
from tests.unit.client.test_docs import EXAMPLES

SAMPLE = """
    import pathlib
    import pytest

    NOTES = pathlib.Path(__file__).parent / "notes"

    def note(text):
        NOTES.mkdir(exist_ok=True)
        (NOTES / text).touch()

    def test_a_vm_logs_without_more_ado(hacdbs_vm):
        vm = hacdbs_vm()
        vm.guest_write(range(0x40000, 0x40000 + 100))
        assert vm.slot(0).get_dirty_log().pages().tolist() == list(range(100))

    @pytest.mark.parametrize("number", range(6))
    def test_a_session_is_ones_own(hacdbs_session, hacdbs_vm, hacdbs_client, number):
        note(hacdbs_session.session_id)
        vm = hacdbs_vm(memslots=[], vcpus=2, name=f"vm {number}")
        assert vm.vm_id == f"{hacdbs_session.session_id}-1"
        assert [info.name for info in hacdbs_session.list_vms()] == [f"vm {number}"]
        assert len(hacdbs_client.history) == 3

    def test_a_session_may_be_deleted_by_its_test(hacdbs_session):
        hacdbs_session.delete()

    def test_the_server_has_other_clients(hacdbs_server, hacdbs_session):
        with hacdbs_server.client() as client:
            assert client.session(hacdbs_session.session_id).get().vm_count == 0
"""


def notes(pytester: pytest.Pytester) -> list[str]:
    return sorted(path.name for path in Path(pytester.path, "notes").iterdir())


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["one process", "two workers"])
def test_each_test_has_a_session_of_its_own(
    pytester: pytest.Pytester, run: Run, workers: list[str]
) -> None:
    pytester.makepyfile(SAMPLE)

    result = run(*workers)

    result.assert_outcomes(passed=9)
    assert len(notes(pytester)) == 6
    assert all(name.startswith("t-test-a-session-is-ones-own-") for name in notes(pytester))


@pytest.mark.slow
@pytest.mark.parametrize("by", ["option", "environment"])
def test_a_service_that_runs_is_used_and_left_as_it_was(
    pytester: pytest.Pytester, run: Run, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    pytester.makepyfile(SAMPLE)
    with serve_in_thread() as service, service.client() as client:
        if by == "option":
            result = run("-n", "2", "--hacdbs-url", service.url)
        else:
            monkeypatch.setenv("HACDBS_URL", service.url)
            result = run()

        left = [session.session_id for session in client.list_sessions()]
        made = 'route="/v1/sessions",status="201"'
        assert any(made in line for line in client.get_metrics().splitlines())

    result.assert_outcomes(passed=9)
    result.stdout.fnmatch_lines(f"hacdbs-sim: --hacdbs-seed=0, service: {service.url}")
    assert left == ["default"]


def test_ids_are_the_same_on_each_run_unless_others_may_run_the_same() -> None:
    def ids(*, is_shared: bool) -> set[str]:
        made = set()
        with serve_in_thread() as service, service.client() as client:
            for _ in range(2):
                testbed = Testbed(service, client, "a.py::test_it[1]", 0, is_shared=is_shared)
                session = testbed.create_session()
                made.add(session.session_id)
                session.delete()
        return made

    assert len(ids(is_shared=False)) == 1
    assert len(ids(is_shared=True)) == 2


def test_a_name_of_any_characters_makes_an_id() -> None:
    with serve_in_thread() as service, service.client() as client:
        for nodeid in ("a.py::test_\N{GREEK SMALL LETTER PI}[%$ -]", "", "x" * 500, "\udc80"):
            Testbed(service, client, nodeid, 0, is_shared=True).create_session()


FAILING = """
    def test_it_fails(hacdbs_vm):
        vm = hacdbs_vm(vcpus=2, name="the culprit", manual_dirty_log_protect2=1)
        vm.guest_write(range(0x40000, 0x40000 + 77), vcpu=1)
        vm.add_fault("ipaf", times=1, when={"op": "clear", "batch": 0, "index": 3})
        vm.slot(0).clear_dirty_log([0, 1, 2, 3, 4])
        vm.set_cpu(1, online=False)
        assert vm.slot(0).peek_dirty_log().dirty_count == 5

    def test_it_passes(hacdbs_vm):
        hacdbs_vm(name="innocent")

    def test_it_fails_without_a_vm(hacdbs_client):
        hacdbs_client.get_version()
        assert False

    def test_it_fails_without_the_service():
        assert False
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["one process", "two workers"])
def test_a_failure_reports_its_vms_and_its_requests(
    pytester: pytest.Pytester, run: Run, workers: list[str]
) -> None:
    pytester.makepyfile(FAILING)

    result = run(*workers)

    result.assert_outcomes(failed=3, passed=1)
    result.stdout.fnmatch_lines(
        [
            "*- hacdbs-sim VMs -*",
            "t-test-it-fails-*-1 'the culprit' seed=* vcpus=2 * manual_dirty_log_protect2=1 *",
            "  slot 0 at 0x40000000 npages=16384 flags=LOG_DIRTY_PAGES backing=4096 dirty=72",
            "  fault f1 ipaf when op=clear batch=0 index=3 times=1 opportunities=1 hits=1",
            "  cpu 0 online unit * err_reason=* runs=*",
            "  cpu 1 offline unit OFF *",
            "  counters *",
            "*- hacdbs-sim calls -*",
            "201 POST /v1/sessions",
            "201 POST /v1/vms",
            "200 POST /v1/vms/*/guest/write?vcpu=1",
            "201 POST /v1/vms/*/faults",
            "200 POST /v1/vms/*/memslots/0/dirty-log/clear?first_page=0",
            "200 PATCH /v1/vms/*/cpus/1",
            "200 GET /v1/vms/*/memslots/0/dirty-log",
        ]
    )
    shown = result.stdout.str()
    assert "innocent" not in shown
    assert shown.count("hacdbs-sim VMs") == 1
    assert shown.count("hacdbs-sim calls") == 2
    assert "200 GET /version" in shown


REFUSED = """
    import pytest

    def test_refused(hacdbs_vm):
        hacdbs_vm().slot(9).get_dirty_log()

    def test_no_page(hacdbs_vm):
        hacdbs_vm().guest_write([0.5])

    def test_no_such_kernel(hacdbs_vm):
        hacdbs_vm(kernel="v9")

    def test_in_a_block(hacdbs_vm):
        with hacdbs_vm().fault("no_such_fault"):
            pass

    def test_no_service():
        from hacdbs_sim import Client
        Client("http://127.0.0.1:9").get_index()

    def test_never_ready():
        from hacdbs_sim import Client
        Client("http://127.0.0.1:9").wait_ready(0.1)

    def test_not_in_time(hacdbs_client):
        hacdbs_client.wait_until(lambda: False, 0.01)

    def test_coroutines(hacdbs_server):
        import asyncio

        async def peek():
            async with hacdbs_server.async_client() as client:
                await client.vm("default-99").slot(0).peek_dirty_log()

        asyncio.run(peek())
"""


def test_a_traceback_ends_at_the_users_own_line(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(REFUSED)

    result = run()

    result.assert_outcomes(failed=8)
    shown = result.stdout.str()
    assert ">       hacdbs_vm().slot(9).get_dirty_log()" in shown
    assert "E       hacdbs_sim.client.errors.NotFoundError: POST /v1/vms/" in shown
    assert "hacdbs_sim/" not in shown.replace(str(Path(__file__).parents[2]), "")
    assert shown.count("test_a_traceback_ends_at_the_users_own_line.py:") >= 8
    assert "During handling" not in shown
    assert "direct cause" not in shown


NOBODY = """\
no service at http://127.0.0.1:9 (from HACDBS_URL) within 0.1 s: * refused; \
start one with `hacdbs-sim serve`, or leave HACDBS_URL out"""
NO_URL = '--hacdbs-url=foo: url must begin with http:// or https:// (got "foo")'


@pytest.mark.parametrize(
    ("arguments", "line"), [([], NOBODY), (["--hacdbs-url=foo"], NO_URL)], ids=["nobody", "no URL"]
)
def test_no_service_there_is_one_line(
    arguments: list[str],
    line: str,
    pytester: pytest.Pytester,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HACDBS_URL", "http://127.0.0.1:9")
    pytester.makeconftest("import hacdbs_sim.client.waiting as w; w.READY_SECONDS = 0.1")
    pytester.makepyfile("def test_one(hacdbs_vm): pass\ndef test_without(): pass")

    result = run(*arguments)

    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines(["*ERROR at setup of*", line, "=====*"], consecutive=True)


def test_a_service_that_is_gone_is_shown_and_does_not_hold_the_run() -> None:
    sections = dict(sections_of(Service("http://127.0.0.1:9"), "mine", []))

    assert list(sections) == ["hacdbs-sim VMs"]
    assert sections["hacdbs-sim VMs"].startswith(
        "not available: no service at http://127.0.0.1:9: "
    )


def test_what_is_shown_has_bounds() -> None:
    with serve_in_thread() as service, service.client() as client:
        session = client.create_session("many")
        shown = dict(sections_of(service, "many", []))
        assert shown["hacdbs-sim VMs"] == "session many has no VMs"
        for number in range(9):
            vm = session.create_vm(
                cpus=64,
                memslots=[
                    {"slot": slot, "guest_phys_addr": slot << 20, "memory_size": "1MiB"}
                    for slot in range(40)
                ],
            )
            for cpu in range(20 * (number == 0)):
                vm.set_cpu(cpu, online=False)
        for _ in range(60):
            client.get_livez()

        shown = dict(sections_of(service, "many", list(client.history)))

    vms = shown["hacdbs-sim VMs"].splitlines()
    assert vms[-1] == "and more VMs than 8"
    assert "  and 24 more slots" in vms
    assert len(vms) == 8 * (1 + 16 + 1 + 1) + 16 + 1
    assert "not logged" in vms[1]
    calls = shown["hacdbs-sim calls"].splitlines()
    assert calls == [f"(the last {SHOWN_REQUESTS})"] + ["200 GET /livez"] * SHOWN_REQUESTS


SEEDS = """
    import json, pathlib
    import pytest

    @pytest.fixture(autouse=True)
    def noted(request):
        seeds = []
        yield seeds
        name = request.node.name.replace("/", "_")
        (pathlib.Path(__file__).parent / f"{name}.seeds").write_text(json.dumps(seeds))

    @pytest.mark.parametrize("number", [1, 2])
    def test_seeds(hacdbs_vm, noted, number):
        vms = [hacdbs_vm(), hacdbs_vm(), hacdbs_vm(seed=5)]
        noted += [vm.get().seed for vm in vms]
"""


@pytest.mark.slow
def test_the_same_seed_makes_the_same_vms(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(SEEDS)

    def seeds(*arguments: str) -> list[list[int]]:
        result = run(*arguments)
        result.assert_outcomes(passed=2)
        return [
            json.loads(Path(pytester.path, f"test_seeds[{number}].seeds").read_text())
            for number in (1, 2)
        ]

    once = seeds("--hacdbs-seed", "42")
    apart = seeds("--hacdbs-seed", "42", "-n", "2")
    other = seeds("--hacdbs-seed", "43")

    assert once == apart
    (a, b, given), (c, d, _) = once
    assert len({a, b, c, d}) == 4
    assert given == 5
    assert {a, b, c, d}.isdisjoint(other[0] + other[1])


@pytest.mark.slow
def test_a_random_seed_is_shown_and_all_workers_have_it(
    pytester: pytest.Pytester, run: Run
) -> None:
    pytester.makepyfile(
        """
        import pathlib
        import pytest
        from hacdbs_sim.pytest_plugin import SEED_KEY

        @pytest.mark.parametrize("number", range(8))
        def test_seed(pytestconfig, number):
            seed = pytestconfig.stash[SEED_KEY]
            (pathlib.Path(__file__).parent / f"{seed}.seed").touch()
        """
    )

    result = run("--hacdbs-seed", "random", "-n", "2")

    result.assert_outcomes(passed=8)
    (seen,) = (path.stem for path in Path(pytester.path).glob("*.seed"))
    result.stdout.fnmatch_lines(f"hacdbs-sim: --hacdbs-seed={seen}, service: one in a thread")


@pytest.mark.parametrize("seed", ["-1", "some", "1.5"])
def test_a_seed_that_is_none_is_a_usage_error(run: Run, seed: str) -> None:
    result = run(f"--hacdbs-seed={seed}")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines("*--hacdbs-seed*")


def test_the_example_of_the_document_passes(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(EXAMPLES[1])

    run().assert_outcomes(passed=1)
