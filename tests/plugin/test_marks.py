"""`@pytest.mark.hacdbs` in sample suites."""

import pytest

from tests.plugin.conftest import Run

MARKED = """
    import pytest

    from hacdbs_sim.model import MIB, SetMemslot

    pytestmark = pytest.mark.hacdbs(cpus=3, vcpus=2)

    def test_the_modules_mark(hacdbs_vm):
        info = hacdbs_vm().get()
        assert (info.cpus, info.vcpus, len(info.memslots)) == (3, 2, 1)

    @pytest.mark.hacdbs(cpus=5, seed=9, kernel="v1", features={"dbm": False})
    def test_a_nearer_mark_takes_precedence(hacdbs_vm):
        info = hacdbs_vm().get()
        assert (info.cpus, info.vcpus, info.seed, info.kernel) == (5, 2, 9, "v1")
        assert not info.features.dbm

    @pytest.mark.hacdbs(
        memslots=[SetMemslot(slot=7, guest_phys_addr=0, memory_size=MIB)], page_size="16KiB"
    )
    def test_a_calls_own_arguments_take_precedence(hacdbs_vm):
        info = hacdbs_vm(page_size="4KiB").get()
        assert (info.page_size, info.memslots[0].slot) == (4096, 7)
        assert hacdbs_vm().get().page_size == 16384
"""


def test_a_mark_sets_what_vms_are_made_of(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(MARKED)

    run("--strict-markers").assert_outcomes(passed=3)


WRONG = {
    "cpus=0": "cpus: must be an integer of 1..512 (got 0)",
    "cpu=2": "no parameter 'cpu'; there are name, page_size,",
    "session_id='a'": "no parameter 'session_id'",
    "4": "takes keyword arguments only, not 4",
    "kernel='v9'": "kernel: ",
    "memslots=[{'slot': 0}]": "memslots/0/guest_phys_addr: is required",
    "memslots=5": "memslots must be a list",
    "faults=[{'type': 'none'}]": "faults/0/type: must be one of structf, ",
    "page_size='3KiB'": "page_size: ",
}


def test_a_wrong_mark_is_an_error_that_names_the_field_and_the_test(
    pytester: pytest.Pytester, run: Run
) -> None:
    tests = "".join(
        f"@pytest.mark.hacdbs({arguments})\ndef test_{number}(): pass\n"
        for number, arguments in enumerate(WRONG)
    )
    pytester.makepyfile(test_marked=f"import pytest\n{tests}\ndef test_right(): pass\n")

    result = run()

    result.assert_outcomes(errors=len(WRONG), passed=1)
    shown = result.stdout.str()
    for number, message in enumerate(WRONG.values()):
        where = f"test_marked.py::test_{number}: @pytest.mark.hacdbs: "
        assert any(line.startswith(where) and message in line for line in shown.splitlines())
    assert "Traceback" not in shown
    assert "marks.py" not in shown


def test_the_mark_is_listed(run: Run) -> None:
    run("--markers").stdout.fnmatch_lines("@pytest.mark.hacdbs(**fields): *")
