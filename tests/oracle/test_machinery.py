"""The oracle's own machinery, without /dev/kvm: the core is compared with a core that is wrong."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from typing_extensions import override

from hacdbs_sim import model as a
from hacdbs_sim.host_kvm import device as kvm
from hacdbs_sim.host_kvm.memory import HUGE_PAGE_SIZE, PAGE_SIZE
from tests.oracle import scripts
from tests.oracle.answers import Answer
from tests.oracle.comparing import Comparison
from tests.oracle.ground import LOG, PHYS_END, READONLY, USER_BASE, Ground, HostFacts, OracleAction
from tests.oracle.scripts import bits_in, gfns, pages_of, script_of, source_of
from tests.oracle.sequences import Sequence
from tests.oracle.setups import Setup, draw_setup
from tests.oracle.shrinking import shorten, shrink
from tests.oracle.sides import CoreSide
from tests.oracle.wrong import WRONG_SIDES, Sticky

PAGE = PAGE_SIZE
SLOT = a.SetMemslot(
    slot=0, guest_phys_addr=0, memory_size=130 * PAGE, userspace_addr=USER_BASE, flags=LOG
)


def comparison(subject: Callable[[Setup], CoreSide]) -> Comparison:
    return Comparison(HostFacts(), CoreSide, subject)


def test_the_core_never_differs_from_itself() -> None:
    same = comparison(CoreSide)

    assert [same.random_run(f"self/{number}") for number in range(4)] == [None] * 4
    assert same.tally.compared > 400


@pytest.mark.parametrize("wrong_side", WRONG_SIDES, ids=lambda side: side.__name__)
def test_random_sequences_find_what_is_wrong_and_show_it_in_few_actions(
    wrong_side: type[CoreSide],
) -> None:
    wrong = comparison(wrong_side)
    found = (wrong.random_run(f"wrong/{number}") for number in range(60))
    difference = next((each for each in found if each is not None), None)
    assert difference is not None, "sixty sequences do not show it"

    shortest = shrink(wrong, difference)

    assert len(shortest.sequence.actions) <= 5, script_of(shortest)


@pytest.mark.parametrize("seed", range(3))
def test_a_long_sequence_shrinks_to_the_pages_that_matter(seed: int) -> None:
    everything = range(130)
    noise = (
        a.SetMemslot(
            slot=1, guest_phys_addr=4 << 30, memory_size=PAGE, userspace_addr=USER_BASE, flags=LOG
        ),
        a.GuestWrite(pages=gfns(*everything)),
        a.GetDirtyLog(slot=1),
        a.UpdateVm(manual_dirty_log_protect2=1),
        a.GetDirtyLog(slot=0),
    )
    clear = a.ClearDirtyLog(slot=0, pages=bits_in(1, *range(64)), first_page=64, num_pages=64)
    sequence = Sequence(
        draw_setup(Random(seed)), (SLOT, *noise, clear, a.GetDirtyLog(slot=0), *noise)
    )
    wrong = comparison(Sticky)
    found = wrong.run(sequence)
    assert found is not None

    shortest = shrink(wrong, found)

    assert [source_of(action) for action in shortest.sequence.actions] == [
        source_of(SLOT),
        "GuestWrite(pages=gfns(70))",
        "ClearDirtyLog(slot=0, pages=bits_in(1, 6), first_page=64, num_pages=64)",
        "GetDirtyLog(slot=0)",
    ]
    assert shortest.sequence.setup == Setup()
    assert str(shortest.reference) == "24 bytes, 0 pages: []"
    assert str(shortest.subject) == "24 bytes, 1 pages: [70]"


@pytest.mark.parametrize("wanted", [set(), {0}, {17}, {3, 4, 99}, set(range(100))])
def test_shortening_leaves_just_the_items_that_are_needed(wanted: set[int]) -> None:
    left = shorten(tuple(range(100)), lambda some: wanted <= set(some))

    assert set(left) == wanted
    assert left == tuple(sorted(wanted))


def test_sources_repeat_the_same_actions() -> None:
    actions: tuple[OracleAction, ...] = (
        SLOT,
        a.SetMemslot(
            slot=63,
            guest_phys_addr=(1 << 64) - PAGE,
            memory_size=8,
            userspace_addr=1 << 63,
            flags=1 << 31,
        ),
        a.UpdateVm(manual_dirty_log_protect2=4),
        a.GuestWrite(pages=gfns(3, 1, 1, 7)),
        a.GuestRead(pages=gfns()),
        a.HostWrite(pages=gfns(*range(40, 80))),
        a.HostUnmap(pages=gfns(1 << 20)),
        a.GetDirtyLog(slot=40000),
        a.ClearDirtyLog(slot=2, pages=bits_in(2, *range(20, 100)), first_page=64, num_pages=66),
        a.ClearDirtyLog(slot=0, pages=bits_in(0), first_page=0, num_pages=0),
    )
    names = vars(a) | vars(scripts)

    again = [eval(source_of(action), dict(names)) for action in actions]  # noqa: S307

    assert [source_of(action) for action in again] == [source_of(action) for action in actions]
    assert [type(action) for action in again] == [type(action) for action in actions]
    np.testing.assert_array_equal(again[5].pages.gfns, np.arange(40, 80))
    assert pages_of(again[8].pages.words) == tuple(range(20, 100))


def test_a_script_compiles_and_says_what_differed() -> None:
    wrong = comparison(Sticky)
    clear = a.ClearDirtyLog(slot=0, pages=bits_in(1, 6), first_page=64, num_pages=64)
    actions = (SLOT, a.GuestWrite(pages=gfns(70)), clear, a.GetDirtyLog(slot=0))
    found = wrong.run(Sequence(Setup(), actions))
    assert found is not None

    script = script_of(found, http=True)

    compile(script, "script", "exec")
    assert "# at action 4, GetDirtyLog(slot=0)" in script
    assert "# here:     24 bytes, 1 pages: [70]" in script
    assert "        subject=HttpService().start," in script


def test_the_same_seed_draws_the_same_sequence() -> None:
    def drawn(seed: str) -> list[str]:
        seen: list[str] = []

        class Recorder(CoreSide):
            @override
            def perform(self, action: a.Action[Any]) -> Answer:
                seen.append(repr(type(action)) + str(getattr(action, "slot", "")))
                return super().perform(action)

        comparison(Recorder).random_run(seed)
        return seen

    assert drawn("7/1") == drawn("7/1")
    assert drawn("7/1") != drawn("7/2")


LEFT_OUT: list[tuple[OracleAction, str]] = [
    (a.GetDirtyLog(slot=32764), "slot ids"),
    (a.GetDirtyLog(slot=32763), "slot ids"),
    (a.GetDirtyLog(slot=1 << 16), "address space 1"),
    (
        a.SetMemslot(slot=1, guest_phys_addr=PHYS_END, memory_size=PAGE, userspace_addr=USER_BASE),
        "physical addresses",
    ),
    (
        a.SetMemslot(
            slot=1, guest_phys_addr=kvm.TSS_ADDR, memory_size=PAGE, userspace_addr=USER_BASE
        ),
        "private slots",
    ),
    (
        a.SetMemslot(slot=1, guest_phys_addr=0, memory_size=PAGE, userspace_addr=1 << 60),
        "arm64's userspace",
    ),
    (a.GuestRead(pages=gfns(500, 5)), "reads while logging"),
    (a.GuestWrite(pages=gfns(PHYS_END // PAGE)), "beyond what the oracle's guest maps"),
    (a.GuestWrite(pages=gfns(kvm.TSS_ADDR // PAGE)), "private slots"),
    (a.UpdateVm(manual_dirty_log_protect2=1), "initially-set turned off"),
]
COMMON: list[OracleAction] = [
    a.GetDirtyLog(slot=32767),
    a.GetDirtyLog(slot=2 << 16),
    a.SetMemslot(
        slot=1, guest_phys_addr=(1 << 64) - PAGE, memory_size=PAGE, userspace_addr=USER_BASE
    ),
    a.SetMemslot(slot=1, guest_phys_addr=0, memory_size=1 << 43, userspace_addr=USER_BASE),
    a.SetMemslot(slot=1, guest_phys_addr=0, memory_size=PAGE, userspace_addr=1 << 63),
    a.GuestRead(pages=gfns(130, 1000)),
    a.GuestWrite(pages=gfns(5)),
    a.UpdateVm(manual_dirty_log_protect2=2),
    a.UpdateVm(manual_dirty_log_protect2=3),
]


def logging_ground() -> Ground:
    """Slot 0, huge pages behind it, that began to log in initially-set mode."""
    ground = Ground(HostFacts(address_spaces=2), HUGE_PAGE_SIZE)
    silent = a.SetMemslot(
        slot=0, guest_phys_addr=0, memory_size=130 * PAGE, userspace_addr=USER_BASE
    )
    for action in (silent, a.UpdateVm(manual_dirty_log_protect2=3), SLOT):
        ground.note(action, Answer())
    return ground


@pytest.mark.parametrize(("action", "why"), LEFT_OUT)
def test_actions_that_depend_on_the_architecture_are_left_out(
    action: OracleAction, why: str
) -> None:
    assert why in (logging_ground().why_not(action) or "")


@pytest.mark.parametrize("action", COMMON, ids=source_of)
def test_actions_of_every_architecture_are_compared(action: OracleAction) -> None:
    assert logging_ground().why_not(action) is None


def test_initially_set_may_be_turned_off_once_the_slot_has_moved_or_stopped_logging() -> None:
    moved = a.SetMemslot(
        slot=0, guest_phys_addr=PAGE, memory_size=130 * PAGE, userspace_addr=USER_BASE, flags=LOG
    )
    silent = a.SetMemslot(
        slot=0, guest_phys_addr=0, memory_size=130 * PAGE, userspace_addr=USER_BASE
    )
    gone = a.SetMemslot(slot=0, guest_phys_addr=0, memory_size=0, userspace_addr=USER_BASE)
    for action in (moved, silent, gone):
        ground = logging_ground()
        ground.note(action, Answer())

        assert ground.why_not(a.UpdateVm(manual_dirty_log_protect2=1)) is None


def test_a_refused_change_of_a_slot_teaches_nothing() -> None:
    ground = logging_ground()

    ground.note(
        a.SetMemslot(
            slot=1, guest_phys_addr=0, memory_size=PAGE, userspace_addr=USER_BASE, flags=READONLY
        ),
        Answer("EEXIST"),
    )

    assert list(ground.slots) == [0]


def test_without_the_device_the_reason_names_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(kvm, "DEVICE", tmp_path / "kvm")
    absent = kvm.why_unusable()
    (tmp_path / "kvm").touch()
    useless = kvm.why_unusable()

    assert absent is not None
    assert "does not exist" in absent or "needs x86-64" in absent
    assert useless is not None
    assert "cannot be used" in useless or "needs x86-64" in useless
