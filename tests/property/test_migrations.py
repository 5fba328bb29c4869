"""Whatever the machine, the guest and the spec: in the safe order no page is lost.

And the same migration twice has the same report.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hacdbs_sim import model as a
from hacdbs_sim.model.migrations import NS_PER_SECOND
from hacdbs_sim.vmm import LiveMigration, Report
from tests.support.faults import fault
from tests.support.machine import Machine

LOGS = int(a.MemslotFlags.LOG_DIRTY_PAGES)
HEADER = 8
PAGE = 4_096


@dataclass(frozen=True, slots=True)
class Story:
    """A machine to make, and how to migrate it."""

    config: dict[str, Any]
    slots: tuple[a.SetMemslot, ...]
    workloads: tuple[a.AddWorkload, ...]
    faults: tuple[a.AddFault, ...]
    spec: dict[str, Any]


configs = st.fixed_dictionaries(
    {
        "manual_dirty_log_protect2": st.sampled_from([0, 1, 3]),
        "features": st.builds(a.Features, dbm=st.booleans(), hacdbs=st.booleans()),
        "kernel": st.sampled_from(list(a.KernelProfile)),
        "eager_split_chunk_size": st.sampled_from([0, 4096, 2 << 20]),
        "vcpus": st.integers(1, 3),
        "seed": st.integers(0, 9),
    }
)
kinds: st.SearchStrategy[Callable[..., a.AddWorkload]] = st.sampled_from(
    [
        a.AddSequential,
        a.AddUniform,
        a.AddHotSet,
        a.AddZipf,
        partial(a.AddMoving, set_pages=3, move_every_writes=10),
    ],
)
specs = st.fixed_dictionaries(
    {
        "bandwidth_bytes_per_second": st.sampled_from([10**7, 10**9, 10**10]),
        "downtime_limit_ns": st.sampled_from([0, 10**5, 10**7, 10**9]),
        "max_iterations": st.integers(1, 6),
        "timeout_ns": st.sampled_from([None, 10**6, 10**9]),
        "stall_ns": st.sampled_from([None, 10**8]),
        "timeout_strategy": st.sampled_from(
            [a.TimeoutStrategy.CANCEL, a.TimeoutStrategy.SWITCH_OVER]
        ),
        "auto_converge": st.sampled_from([None, a.AutoConverge()]),
        "clear_chunk_pages": st.sampled_from([64, 256, 1 << 20]),
        "full_first_pass": st.booleans(),
        "zero_pages": st.booleans(),
        "timing": st.sampled_from(list(a.Timing)),
        "postcopy": st.sampled_from([None, a.PostcopySpec(after_iterations=1)]),
        "link": st.sampled_from([None, a.LinkSpec(bytes_per_second=10**8, latency_ns=10**6)]),
    }
)
faults = st.builds(
    fault,
    st.sampled_from(a.FaultType),
    after=st.integers(0, 3),
    every=st.integers(1, 3),
)
unplugs = st.lists(
    st.builds(
        a.Scheduled,
        iteration=st.integers(0, 4),
        action=st.builds(a.SetCpu, cpu=st.integers(0, 3), online=st.booleans()),
    ),
    max_size=3,
)


@st.composite
def stories(draw: st.DrawFn) -> Story:
    sizes = draw(st.lists(st.integers(1, 1_500), min_size=1, max_size=3))
    backing = draw(st.sampled_from([4096, 2 << 20]))
    spec = {**draw(specs), "schedule": tuple(draw(unplugs))}
    # An incremental migration needs slots that log
    flags = st.sampled_from([0, LOGS]) if spec["full_first_pass"] else st.just(LOGS)
    slots = tuple(
        a.SetMemslot(
            slot=number,
            guest_phys_addr=number << 30,
            memory_size=pages * PAGE,
            flags=draw(flags),
            backing=backing,
        )
        for number, pages in enumerate(sizes)
    )
    workloads = tuple(
        draw(kinds)(
            slot=draw(st.integers(0, len(sizes) - 1)),
            # Enough for each page of a pass to be written, whatever the bandwidth
            writes_per_second=draw(st.sampled_from([1_000, 100_000])),
            writer=draw(st.sampled_from(list(a.Writer))),
        )
        for _ in range(draw(st.integers(0, 3)))
    )
    return Story(draw(configs), slots, workloads, tuple(draw(st.lists(faults, max_size=2))), spec)


def made(story: Story) -> Machine:
    machine = Machine(a.VmConfig(**story.config))
    for slot in story.slots:
        machine.perform(slot)
    for workload in story.workloads:
        if not isinstance(workload, a.AddMoving) or _fits(story, workload):
            machine.perform(workload)
    for armed in story.faults:
        machine.perform(armed)
    return machine


def _fits(story: Story, workload: a.AddMoving) -> bool:
    return story.slots[workload.slot].memory_size // PAGE >= workload.set_pages


def migrate(story: Story, machine: Machine, **fields: Any) -> Report:
    return LiveMigration(machine, a.MigrationSpec(**{**story.spec, **fields})).run()


def fails_copies(story: Story) -> bool:
    return any(armed.type is a.FaultType.COPY_TO_USER for armed in story.faults)


@given(stories())
def test_in_the_safe_order_no_page_is_lost_and_the_slots_are_as_they_were(story: Story) -> None:
    machine = made(story)
    before = [view.flags for view in machine.memslots()]

    report = migrate(story, machine)

    assert report.verification.verified
    if story.config["manual_dirty_log_protect2"] or not fails_copies(story):
        assert report.verification.lost_pages == 0
    assert [view.flags for view in machine.memslots()] == before
    assert machine.last_version is None


@given(stories())
def test_the_figures_add_up(story: Story) -> None:
    machine = made(story)

    report = migrate(story, machine)

    totals, stats = report.totals, report.stats
    assert totals.sent_bytes == (totals.sent_pages - totals.zero_pages) * report.page_size
    assert stats.normal + stats.duplicate == totals.sent_pages
    assert stats.duplicate == totals.zero_pages
    octets = stats.precopy + stats.downtime + stats.postcopy
    assert octets == stats.normal * (PAGE + HEADER) + stats.duplicate * 9
    assert stats.transferred >= octets
    assert totals.total_ns == machine.clock().now_ns
    running_ns = totals.total_ns - totals.downtime_ns - totals.blocked_ns
    assert totals.guest_ns + totals.guest_stall_ns + totals.throttled_ns <= running_ns
    link = report.spec.link
    speed = link.bytes_per_second if link else max(10**10, 1_250_000_000)
    assert speed is not None
    assert totals.total_ns >= octets * NS_PER_SECOND // speed
    if report.status == "completed":
        assert report.remaining_pages == 0
        assert report.iterations[-1].phase == ("postcopy" if report.postcopy else "device")
        assert report.iterations[-1].remaining_pages == 0


@given(stories())
def test_the_passes_follow_one_another_without_a_gap(story: Story) -> None:
    report = migrate(story, made(story))

    ends = [each.started_ns + each.duration_ns for each in report.iterations]
    starts = [each.started_ns for each in report.iterations]
    assert starts[0] == report.setup_ns
    assert starts[1:] == ends[:-1]
    assert ends[-1] == report.now_ns


@given(stories())
def test_the_same_migration_has_the_same_report(story: Story) -> None:
    one, other = made(story), made(story)

    assert migrate(story, one) == migrate(story, other)
    assert one.clock() == other.clock()
    assert one.counters() == other.counters()


@given(stories())
def test_without_a_proof_it_does_the_same(story: Story) -> None:
    # Which pages are zero is known from the versions alone
    proved, unproved = (
        migrate(story, made(story), verify=verify, zero_pages=False) for verify in (True, False)
    )

    assert proved.iterations == unproved.iterations
    assert (proved.status, proved.reason) == (unproved.status, unproved.reason)


@given(stories())
def test_the_hazard_loses_only_what_was_written_meanwhile(story: Story) -> None:
    if not story.config["manual_dirty_log_protect2"]:
        return
    still = Story(story.config, story.slots, (), story.faults, story.spec)

    report = migrate(still, made(still), clear_order=a.ClearOrder.AFTER_COPY)

    assert report.verification.lost_pages == 0


def test_the_hazard_loses_pages_where_the_guest_writes_and_the_property_would_see_it() -> None:
    slot = a.SetMemslot(slot=0, memory_size=1_000 * PAGE, guest_phys_addr=0, flags=LOGS)
    workload = a.AddUniform(slot=0, writes_per_second=100_000)
    config = {"manual_dirty_log_protect2": 3}
    story = Story(config, (slot,), (workload,), (), {"bandwidth_bytes_per_second": 10**9})

    report = migrate(story, made(story), clear_order=a.ClearOrder.AFTER_COPY)

    assert report.verification.verified
    assert report.verification.lost_pages > 0
