"""Real KVM as the oracle: the same random sequences there, on the core and on the service.

A bounded run; scripts/oracle makes the long one. What x86-64 and arm64 need not answer alike is
named, rule by rule, in ground.py.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hacdbs_sim.host_kvm.memory import PAGE_SIZE
from hacdbs_sim.model import GetDirtyLog, GuestWrite, SetMemslot, UpdateVm
from tests.oracle.answers import Answer
from tests.oracle.comparing import Comparison, Difference, Start
from tests.oracle.ground import LOG, USER_BASE, HostFacts, gfns_of
from tests.oracle.scripts import bits_in, gfns, reproduce, script_of
from tests.oracle.service import HttpService
from tests.oracle.setups import BACKINGS, Setup
from tests.oracle.shrinking import shrink
from tests.oracle.sides import CoreSide, RealSide
from tests.oracle.wrong import FORGOTTEN_PAGE, Forgetful

pytestmark = pytest.mark.slow


CORE_OPS = 10_000
HTTP_OPS = 1_200
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def service() -> Iterator[HttpService]:
    opened = HttpService()
    yield opened
    opened.close()


def compare(facts: HostFacts, subject: Start, ops: int) -> Comparison:
    comparison = Comparison(facts, RealSide, subject)
    while comparison.tally.compared < ops:
        difference = comparison.random_run(f"test/{comparison.tally.sequences}")
        if difference is not None:
            pytest.fail(script_of(shrink(comparison, difference)))
    return comparison


def first_difference(comparison: Comparison) -> Difference:
    for number in range(100):
        difference = comparison.random_run(f"test/{number}")
        if difference is not None:
            return difference
    pytest.fail("a hundred sequences do not show the wrong bit")


def test_core_answers_as_real_kvm(facts: HostFacts) -> None:
    tally = compare(facts, CoreSide, CORE_OPS).tally

    kinds = {kind for kind, _ in tally.kinds}
    refusals = {errno for _, errno in tally.kinds} - {"ok"}
    assert len(kinds) == 8, "every kind of operation was compared"
    assert refusals == {"EINVAL", "ENOENT", "EEXIST"}
    assert tally.left_out.total() < tally.compared // 50


def test_service_answers_as_real_kvm_over_http(facts: HostFacts, service: HttpService) -> None:
    comparison = compare(facts, service.start, HTTP_OPS)

    assert comparison.tally.compared >= HTTP_OPS


def test_a_page_lost_against_real_kvm_shrinks_to_three_actions(facts: HostFacts) -> None:
    comparison = Comparison(facts, RealSide, Forgetful)

    shortest = shrink(comparison, first_difference(comparison))

    assert_shortest(shortest)


@pytest.mark.usefixtures("facts")
@pytest.mark.parametrize("backing", BACKINGS)
def test_a_faithful_guest_dirties_exactly_what_it_writes(backing: int) -> None:
    """Real KVM without any simulator: what the driver itself promises."""
    side = RealSide(Setup(backing))
    region = SetMemslot(
        slot=3,
        guest_phys_addr=16 << 20,
        memory_size=130 * PAGE_SIZE,
        userspace_addr=USER_BASE,
        flags=LOG,
    )
    end = (16 << 20) // PAGE_SIZE + 130

    assert side.perform(region) == Answer()
    assert side.perform(GuestWrite(pages=gfns(end - 1, end - 66, end))) == Answer(mmio_exits=1)
    assert side.perform(GetDirtyLog(slot=3)) == Answer(bitmap=bits_in(3, 129, 64).words.tobytes())
    assert side.perform(GetDirtyLog(slot=3)) == Answer(bitmap=bytes(24))
    assert side.perform(GetDirtyLog(slot=4)) == Answer("ENOENT")
    assert side.perform(UpdateVm(manual_dirty_log_protect2=2)) == Answer("EINVAL")
    side.close()


def test_the_printed_script_runs_and_finds_the_core_right(facts: HostFacts) -> None:
    # The core is right, so the script of a wrong side finds nothing when it runs on the core.
    comparison = Comparison(facts, RealSide, Forgetful)
    script = script_of(shrink(comparison, first_difference(comparison)))

    ran = subprocess.run(
        [sys.executable, "-"], input=script, cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert ran.stdout == "no difference\n", script


@pytest.mark.usefixtures("facts")  # to be skipped where there is none
def test_reproducing_shows_where_real_kvm_and_a_wrong_core_differ() -> None:
    region = SetMemslot(
        slot=0,
        guest_phys_addr=0,
        memory_size=128 * PAGE_SIZE,
        userspace_addr=USER_BASE,
        flags=LOG,
    )
    actions = (region, GuestWrite(pages=gfns(FORGOTTEN_PAGE)), GetDirtyLog(slot=0))

    found = reproduce(Setup(), *actions, subject=Forgetful)

    assert found == (
        "at action 3, GetDirtyLog(slot=0)\n"
        "real KVM: 16 bytes, 1 pages: [65]\n"
        "here:     16 bytes, 0 pages: []"
    )


def assert_shortest(difference: Difference) -> None:
    *_, get = difference.sequence.actions
    assert len(difference.sequence.actions) == 3
    assert isinstance(get, GetDirtyLog)
    writes = [each for each in difference.sequence.actions if isinstance(each, GuestWrite)]
    assert all(len(gfns_of(write)) == 1 for write in writes)
    assert difference.reference.bitmap != difference.subject.bitmap
