"""What a failed test with a migration shows, and how it is run again."""

import re
import shlex

import pytest

from hacdbs_sim.client import serve_in_thread
from hacdbs_sim.pytest_plugin.failure_report import sections_of
from tests.plugin.conftest import Run

pytestmark = pytest.mark.slow

LOSING = """
    def test_it_loses_pages(hacdbs_vm):
        vm = hacdbs_vm(
            manual_dirty_log_protect2=1,
            workloads=[{"slot": 0, "kind": "uniform", "writes_per_second": 20_000}],
        )
        slow = {"bandwidth_bytes_per_second": 100_000_000, "downtime_limit_ns": 1_000_000}
        report = vm.start_migration(clear_order="after_copy", **slow).wait()
        report.assert_no_lost_pages()
"""


def test_a_lost_page_shows_reason_passes_pages_seed_and_how_to_run_it_again(
    pytester: pytest.Pytester, run: Run
) -> None:
    pytester.makepyfile(test_losing=LOSING)

    result = run("--hacdbs-seed=42")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E*AssertionError: the migration is completed after * passes, reason *; slot 0 lost * pages: *",
            "*- hacdbs-sim migrations -*",
            "t-test-it-loses-pages-*-m1 of t-*-1: completed, reason *, * passes, * lost pages",
            "  slot 0 lost *: *",
            "*- hacdbs-sim VMs -*",
            "t-*-1 '' seed=*",
            "*- hacdbs-sim: to run it again -*",
            "pytest test_losing.py::test_it_loses_pages --hacdbs-seed=42",
        ]
    )
    assert "hacdbs_sim/model" not in result.stdout.str()  # the traceback ends at the user's line


def test_the_line_runs_the_same_test_on_the_same_service(
    pytester: pytest.Pytester, run: Run
) -> None:
    pytester.makepyfile(
        test_one="""
        import pytest

        @pytest.mark.parametrize("name", ["it's 1", "other"])
        def test_it(hacdbs_vm, name):
            hacdbs_vm()
            assert name == "other"
        """
    )
    with serve_in_thread() as service:
        result = run("--hacdbs-url", service.url, "--hacdbs-seed=random")
        lines = result.stdout.str().splitlines()
        (again,) = (line for line in lines if line.startswith("pytest "))
        repeated = run(*shlex.split(again)[1:])

    result.assert_outcomes(failed=1, passed=1)
    repeated.assert_outcomes(failed=1)
    header = next(line for line in lines if line.startswith("hacdbs-sim: --hacdbs-seed="))
    repeated.stdout.fnmatch_lines(header)
    seeds = [next(re.finditer(r" seed=\d+", each.stdout.str()))[0] for each in (result, repeated)]
    assert seeds[0] == seeds[1]


CANCELLED = """
    def test_it_is_cancelled(hacdbs_vm):
        migration = hacdbs_vm(
            workloads=[{"slot": 0, "kind": "uniform", "writes_per_second": 20_000}]
        ).start_migration(max_iterations=1, downtime_limit_ns=1)
        migration.wait().assert_no_lost_pages()
"""


def test_a_migration_that_did_not_complete_proves_nothing(
    pytester: pytest.Pytester, run: Run
) -> None:
    pytester.makepyfile(CANCELLED)

    result = run()

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        "E*AssertionError: nothing is proved: the migration is cancelled after * passes,"
        " reason max_iterations"
    )


def test_only_the_last_migrations_are_shown_and_no_idle_cpus() -> None:
    with serve_in_thread() as service, service.client() as client:
        session = client.create_session("many")
        vm = session.create_vm(
            cpus=8, memslots=[{"slot": 0, "guest_phys_addr": 0, "memory_size": "1MiB"}]
        )
        vm.set_cpu(5, online=False)
        for _ in range(10):
            vm.start_migration(verify=False).wait()
        shown = dict(sections_of(service, "many", []))

    migrations = shown["hacdbs-sim migrations"].splitlines()
    assert migrations[-1] == "and 2 earlier migrations"
    assert migrations[0].startswith("many-m3 of many-1: completed, ")
    assert migrations[0].endswith("lost pages not looked for")
    cpus = [line.split()[1] for line in shown["hacdbs-sim VMs"].splitlines() if "  cpu " in line]
    assert "5" in cpus
