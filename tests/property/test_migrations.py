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
from hacdbs_sim.vmm import Precopy, Report
from tests.support.faults import fault
from tests.support.machine import Machine

LOGS = int(a.MemslotFlags.LOG_DIRTY_PAGES)


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
        "downtime_limit_ns": st.sampled_from([0, 10**5, 10**7]),
        "max_iterations": st.integers(1, 6),
        "timeout_ns": st.sampled_from([None, 10**6, 10**9]),
        "timeout_strategy": st.sampled_from(list(a.TimeoutStrategy)),
        "auto_converge": st.sampled_from([None, a.AutoConverge()]),
        "clear_chunk_pages": st.sampled_from([64, 256, 1 << 20]),
        "full_first_pass": st.booleans(),
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
    slots = tuple(
        a.SetMemslot(
            slot=number,
            guest_phys_addr=number << 30,
            memory_size=pages * 4096,
            flags=draw(st.sampled_from([0, LOGS])),
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
    spec = {**draw(specs), "schedule": tuple(draw(unplugs))}
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
    return story.slots[workload.slot].memory_size // 4096 >= workload.set_pages


def migrate(story: Story, machine: Machine, **fields: Any) -> Report:
    return Precopy(machine, a.MigrationSpec(**{**story.spec, **fields})).run()


def told_of_copies(story: Story) -> bool:
    return any(armed.type is a.FaultType.COPY_TO_USER for armed in story.faults)


@given(stories())
def test_in_the_safe_order_no_page_is_lost_and_the_slots_are_as_they_were(story: Story) -> None:
    machine = made(story)
    before = [view.flags for view in machine.memslots()]

    report = migrate(story, machine)

    assert report.verification.verified
    if story.config["manual_dirty_log_protect2"] or not told_of_copies(story):
        assert report.verification.lost_pages == 0
    assert [view.flags for view in machine.memslots()] == before
    assert machine.last_version is None


@given(stories())
def test_the_figures_add_up(story: Story) -> None:
    machine = made(story)

    report = migrate(story, machine)

    totals, page_size = report.totals, report.page_size
    assert totals.sent_bytes == totals.sent_pages * page_size
    assert totals.total_ns == machine.clock().now_ns
    assert totals.sent_pages == report.sent_pages
    running_ns = totals.total_ns - totals.downtime_ns
    assert totals.guest_ns + totals.guest_stall_ns + totals.throttled_ns <= running_ns
    link_ns = totals.sent_bytes * NS_PER_SECOND // story.spec["bandwidth_bytes_per_second"]
    assert totals.total_ns >= link_ns
    if report.status == "completed":
        assert report.remaining_pages == 0
        assert report.iterations[-1].phase == "device"


@given(stories())
def test_the_same_migration_has_the_same_report(story: Story) -> None:
    one, other = made(story), made(story)

    assert migrate(story, one) == migrate(story, other)
    assert one.clock() == other.clock()
    assert one.counters() == other.counters()


@given(stories())
def test_the_hazard_loses_only_what_was_written_meanwhile(story: Story) -> None:
    if not story.config["manual_dirty_log_protect2"]:
        return
    still = Story(story.config, story.slots, (), story.faults, story.spec)

    report = migrate(still, made(still), clear_order=a.ClearOrder.AFTER_COPY)

    assert report.verification.lost_pages == 0


def test_the_hazard_loses_pages_where_the_guest_writes_and_the_property_would_see_it() -> None:
    slot = a.SetMemslot(slot=0, memory_size=1_000 * 4096, guest_phys_addr=0)
    workload = a.AddUniform(slot=0, writes_per_second=100_000)
    config = {"manual_dirty_log_protect2": 1}
    story = Story(config, (slot,), (workload,), (), {"bandwidth_bytes_per_second": 10**9})

    report = migrate(story, made(story), clear_order=a.ClearOrder.AFTER_COPY)

    assert report.verification.verified
    assert report.verification.lost_pages > 0
