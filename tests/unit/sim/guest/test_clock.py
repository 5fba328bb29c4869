"""Virtual time: what becomes of each nanosecond in which the guest may run."""

from hypothesis import given
from hypothesis import strategies as st

from hacdbs_sim.model import Clock
from hacdbs_sim.sim.guest.clock import GuestClock

SLICES = st.lists(
    st.tuples(st.integers(1, 10**6), st.integers(0, 99), st.integers(0, 10**9)), max_size=8
)


def test_a_new_clock_stands_at_zero() -> None:
    assert GuestClock(1).view() == Clock(
        now_ns=0, guest_ns=0, stalled_ns=0, throttled_ns=0, debt_ns=0
    )


def test_advancing_moves_the_time_and_not_the_guest() -> None:
    clock = GuestClock(1)

    clock.advance(7)

    assert clock.view() == Clock(now_ns=7)


def test_a_throttled_guest_runs_for_the_rest_of_the_time() -> None:
    clock = GuestClock(1)

    done = clock.run(1000, 30)

    assert (done.guest_ns, done.stalled_ns, done.throttled_ns) == (700, 0, 300)
    assert clock.view() == Clock(now_ns=1000, guest_ns=700, throttled_ns=300)


def test_what_faults_cost_is_paid_by_the_next_slices_and_shared_by_the_vcpus() -> None:
    clock = GuestClock(4)

    clock.owe(4 * 1_500_000 + 3_999)
    first, second = clock.run(1000, 0), clock.run(1000, 0)

    assert (first.guest_ns, first.stalled_ns) == (0, 1000)
    assert (second.guest_ns, second.stalled_ns) == (500, 500)
    clock.owe(1)
    assert clock.view().debt_ns == 1  # 3,999 ps of 4 vCPUs and 1 more


def test_a_throttled_guest_pays_in_the_time_left_to_it() -> None:
    clock = GuestClock(1)

    clock.owe(900_000)
    done = clock.run(1000, 40)

    assert (done.guest_ns, done.stalled_ns, done.throttled_ns) == (0, 600, 400)
    assert clock.view().debt_ns == 300


@given(SLICES, st.integers(1, 512))
def test_every_nanosecond_of_a_run_is_run_stalled_or_throttled(
    slices: list[tuple[int, int, int]], vcpus: int
) -> None:
    clock = GuestClock(vcpus)

    for duration_ns, throttle_percent, cost_ps in slices:
        clock.owe(cost_ps)
        clock.run(duration_ns, throttle_percent)

    view = clock.view()
    run_ns = sum(duration_ns for duration_ns, _, _ in slices)
    assert view.guest_ns + view.stalled_ns + view.throttled_ns == run_ns
    assert view.now_ns == clock.now_ns == clock.run_ns == run_ns
    paid = (view.stalled_ns + view.debt_ns) * 1000 * vcpus
    assert 0 <= sum(cost_ps for _, _, cost_ps in slices) - paid < 1000 * vcpus


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=20), st.integers(0, 99))
def test_cutting_a_throttled_run_loses_no_time(parts: list[int], throttle_percent: int) -> None:
    cut, whole = GuestClock(1), GuestClock(1)

    for part in parts:
        cut.run(part, throttle_percent)

    assert whole.awake_ns(sum(parts), throttle_percent) == cut.guest_ns
    whole.run(sum(parts), throttle_percent)
    assert whole.view() == cut.view()
