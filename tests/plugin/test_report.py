"""--hacdbs-report and the properties of tests, in one process and in several."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.plugin.conftest import Run

pytestmark = pytest.mark.slow

SAMPLE = """
    import pytest

    SLOT = {"slot": 0, "guest_phys_addr": 0, "memory_size": "1MiB"}
    WORKLOAD = {"slot": 0, "kind": "uniform", "writes_per_second": 1_000}

    def test_migrates_twice(hacdbs_vm):
        vm = hacdbs_vm(workloads=[WORKLOAD])
        assert vm.start_migration().wait().status == "completed"
        vm.start_migration(max_iterations=1, downtime_limit_ns=0).wait()

    @pytest.mark.parametrize("text", ["</pre><script>"])
    def test_loses(hacdbs_vm, text):
        report = hacdbs_vm().start_migration().wait()
        assert report.status == text

    def test_compares(hacdbs_session, hacdbs_client):
        hacdbs_client.start_comparison(
            {"session_id": hacdbs_session.session_id, "memslots": [SLOT]},
            variants=[{"name": "one"}],
        ).wait()

    def test_applies_a_scenario(hacdbs_session, hacdbs_client):
        document = hacdbs_client.get_builtin_scenario("lost-interrupt").document
        hacdbs_session.put_scenario(document)

    def test_deletes_its_session(hacdbs_session):
        hacdbs_session.delete()

    def test_uses_nothing():
        pass
"""


def properties_of(file: Path) -> dict[str, dict[str, str]]:
    """The properties of each test by name."""
    return {
        str(case.get("name")): {
            str(each.get("name")): str(each.get("value")) for each in case.iter("property")
        }
        for case in ET.parse(file).iter("testcase")  # noqa: S314 - pytest's own
    }


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["one process", "two workers"])
def test_a_run_leaves_a_page_and_properties(
    pytester: pytest.Pytester, run: Run, workers: list[str]
) -> None:
    pytester.makepyfile(SAMPLE)
    page, xml = pytester.path / "report.html", pytester.path / "junit.xml"

    result = run(*workers, f"--hacdbs-report={page}", f"--junitxml={xml}", "--hacdbs-seed=3")

    result.assert_outcomes(passed=5, failed=1)
    result.stdout.fnmatch_lines([f"hacdbs-sim report: {page}"])
    properties = properties_of(xml)
    twice = properties["test_migrates_twice"]
    assert twice["hacdbs.status"] == "completed"
    assert twice["hacdbs.reason"] == "converged"
    assert twice["hacdbs.lost_pages"] == "0"
    assert int(twice["hacdbs.passes"]) > 1
    assert int(twice["hacdbs.downtime_ns"]) > 0
    assert twice["hacdbs.migration"].endswith("-m1")
    assert twice["hacdbs.migration.2"].endswith("-m2")
    assert twice["hacdbs.seed"] == twice["hacdbs.seed.2"]
    assert properties["test_uses_nothing"] == properties["test_deletes_its_session"] == {}
    text = page.read_text(encoding="utf-8")
    assert "1 failed, 4 passed" in text
    assert "--hacdbs-seed=3" in text
    assert "test_uses_nothing" not in text
    assert "Scenario lost-interrupt" in text
    assert "<script" not in text
    assert f"<dd>{twice['hacdbs.seed']}</dd>" in text


def test_a_page_that_cannot_be_written_does_not_fail_the_run(
    pytester: pytest.Pytester, run: Run
) -> None:
    pytester.makepyfile("def test_one(): pass")

    result = run(f"--hacdbs-report={pytester.path}/none/report.html")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["hacdbs-sim report not written: *No such file*"])
