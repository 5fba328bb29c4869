import pytest
from typing_extensions import override

from hacdbs_sim.model import UnitStatus
from hacdbs_sim.sim.arm64.hacdbs import (
    TRANSITIONS,
    Unit,
    UnitEvent,
    Walk,
    end_of_array,
    interrupt_asserted,
    is_failure,
)
from hacdbs_sim.sim.arm64.sysregs import ErrReason, Hacdbsbr, Hacdbscons


def walk(**changes: object) -> Walk:
    figures: dict[str, object] = {
        "runs": 3,
        "entries": 1100,
        "cleaned": 1100,
        "end": end_of_array(76, 512),
        "last_size": 76,
        "interrupt_lost": False,
    }
    return Walk(**(figures | changes))  # type: ignore[arg-type]


def test_a_full_array_ends_finished_and_a_short_one_at_its_stop_entry() -> None:
    assert end_of_array(512, 512) == Hacdbscons(ErrReason.NOF, 512)
    assert end_of_array(76, 512) == Hacdbscons(ErrReason.IPAHACF, 76)


@pytest.mark.parametrize(
    ("end", "failure"),
    [
        (Hacdbscons(ErrReason.NOF, 512), False),
        (Hacdbscons(ErrReason.IPAHACF, 76), False),
        (Hacdbscons(ErrReason.IPAHACF, 75), True),
        (Hacdbscons(ErrReason.IPAF, 76), True),
        (Hacdbscons(ErrReason.STRUCTF, 0), True),
    ],
)
def test_ipahacf_at_the_stop_entry_alone_is_success(end: Hacdbscons, failure: bool) -> None:
    assert is_failure(end, 76) is failure


def test_the_interrupt_is_a_level_of_enable_and_end_or_error() -> None:
    on = Hacdbsbr(en=True)

    assert interrupt_asserted(on, Hacdbscons(ErrReason.NOF, 512))
    assert interrupt_asserted(on, Hacdbscons(ErrReason.IPAF, 3))
    assert not interrupt_asserted(on, Hacdbscons(ErrReason.NOF, 511))
    assert not interrupt_asserted(Hacdbsbr(), Hacdbscons(ErrReason.NOF, 512))


def test_a_run_leaves_the_unit_idle_with_the_base_register_zero() -> None:
    unit = Unit(2, built=True)

    unit.account(walk(), array_sz=0)

    view = unit.view()
    assert (view.status, view.hacdbsbr_el2.raw) == (UnitStatus.IDLE, 0)
    assert Hacdbscons.decode(view.hacdbscons_el2.raw) == Hacdbscons(ErrReason.IPAHACF, 76)
    assert (view.interrupts, view.runs, view.entries, view.cleaned) == (3, 3, 1100, 1100)


def test_a_unit_that_never_ran_has_registers_and_counters_of_zero() -> None:
    view = Unit(1, built=True).view()

    assert (view.online, view.status) == (True, UnitStatus.IDLE)
    assert (view.hacdbsbr_el2.raw, view.hacdbscons_el2.raw) == (0, 0)
    assert (view.interrupts, view.runs, view.entries, view.cleaned) == (0, 0, 0, 0)


class Watched(Unit):
    """A unit that remembers the statuses it went through."""

    def __init__(self) -> None:
        self.seen: list[UnitStatus] = []
        super().__init__(0, built=True)
        self.seen.clear()

    @override
    def _on(self, event: UnitEvent) -> None:
        super()._on(event)
        self.seen.append(self.status)


def test_a_run_that_ends_well_never_shows_an_error() -> None:
    unit = Watched()

    unit.account(walk(), array_sz=0)

    assert unit.seen == [UnitStatus.RUNNING, UnitStatus.IDLE, UnitStatus.IDLE]


def test_a_failure_passes_through_error_and_a_lost_interrupt_is_not_counted() -> None:
    unit = Watched()

    unit.account(
        walk(cleaned=1030, end=Hacdbscons(ErrReason.IPAF, 6), interrupt_lost=True), array_sz=0
    )

    assert unit.seen == [UnitStatus.RUNNING, UnitStatus.ERROR, UnitStatus.IDLE]
    view = unit.view()
    assert (view.interrupts, view.runs, view.cleaned) == (2, 3, 1030)


def test_calls_on_one_cpu_add_up() -> None:
    unit = Unit(3, built=True)

    unit.account(walk(), array_sz=0)
    unit.account(walk(runs=1, entries=76, cleaned=70, interrupt_lost=True), array_sz=0)

    view = unit.view()
    assert (view.cpu, view.interrupts, view.runs) == (3, 3, 4)
    assert (view.entries, view.cleaned) == (1176, 1170)


@pytest.mark.parametrize("array_sz", [0, 2, 4])
def test_a_run_that_raises_no_interrupt_is_a_bug(array_sz: int) -> None:
    """An array of 4, 16 or 64 KiB of which the last entry was not read, without an error."""
    short = Hacdbscons(ErrReason.NOF, (512 << array_sz) - 1)

    with pytest.raises(AssertionError, match=r"^a run ends by its interrupt"):
        Unit(0, built=True).account(walk(end=short), array_sz=array_sz)


def test_unplugging_turns_the_unit_off_and_keeps_its_last_end_and_counters() -> None:
    unit = Unit(0, built=True)
    unit.account(walk(), array_sz=0)
    before = unit.view()

    unit.set_online(online=False)
    unit.set_online(online=False)

    view = unit.view()
    assert (view.online, view.status) == (False, UnitStatus.OFF)
    assert (view.hacdbscons_el2, view.runs) == (before.hacdbscons_el2, before.runs)
    unit.set_online(online=True)
    assert unit.view() == before


def test_without_kernel_support_the_unit_stays_off() -> None:
    unit = Unit(0, built=False)

    assert (unit.view().online, unit.view().status) == (True, UnitStatus.OFF)
    unit.set_online(online=False)
    unit.set_online(online=True)
    assert unit.view().status is UnitStatus.OFF


def test_every_transition_of_the_table_is_reached_and_no_other_exists() -> None:
    legal = set(TRANSITIONS)

    assert {status for status, _ in legal} | set(TRANSITIONS.values()) == set(UnitStatus)
    assert {event for _, event in legal} == set(UnitEvent)
    assert (UnitStatus.OFF, UnitEvent.START) not in legal
    assert (UnitStatus.RUNNING, UnitEvent.CPU_DOWN) not in legal
