"""Copies that callers keep: what is current, pending and lost, and which slots they are of."""

from typing import Any

import numpy as np
import pytest

from hacdbs_sim import model
from hacdbs_sim.model import (
    Bitmap,
    ClearDirtyLog,
    DeleteMemslot,
    GetDirtyLog,
    GetLastVersion,
    Gfns,
    GuestWrite,
    HintFree,
    MemslotFlags,
    MigrationSpec,
    MigrationStatus,
    PageRanges,
    PageWindow,
    ReceivedPages,
    ReceivePages,
    RunGuest,
    SetMemslot,
    SlotBegan,
    Verification,
    VmConfig,
)
from hacdbs_sim.model.errors import (
    InvalidArgumentError,
    KvmError,
    NoSuchMemslotError,
    TooManyWritesError,
    WindowOutsideMemslotError,
)
from hacdbs_sim.sim.machine import Machine
from hacdbs_sim.vmm import Copy, DirtyRate, DirtyTracking, LiveMigration, TransferHistory
from hacdbs_sim.vmm.stream import PAGES_PER_FLUSH

PAGE = 4096
BASE_GFN = 0x40000
NPAGES = 200
LOGGING = int(MemslotFlags.LOG_DIRTY_PAGES)


def region(slot: int = 0, flags: int = LOGGING, npages: int = NPAGES) -> SetMemslot:
    base = (BASE_GFN + slot * 0x1000) * PAGE
    return SetMemslot(slot=slot, guest_phys_addr=base, memory_size=npages * PAGE, flags=flags)


def machine(*regions: SetMemslot, **config: Any) -> Machine:
    made = Machine(VmConfig(**config))
    for each in regions or (region(),):
        made.perform(each)
    return made


def write(made: Machine, *pages: int, slot: int = 0) -> None:
    first = BASE_GFN + slot * 0x1000
    made.perform(GuestWrite(pages=Gfns(np.array([first + page for page in pages], np.uint64))))


def get(made: Machine, slot: int = 0) -> Bitmap:
    bitmap = made.perform(GetDirtyLog(slot=slot)).bitmap
    assert bitmap is not None
    return bitmap


def ranges(*pairs: tuple[int, int]) -> PageRanges:
    first, count = np.array(pairs, np.uint64).T
    return PageRanges(first.copy(), count.copy())


def pages(*numbers: int) -> PageRanges:
    return ranges(*((number, 1) for number in numbers))


def every(npages: int = NPAGES) -> PageRanges:
    return ranges((0, npages))


def receive(copy: Copy, what: PageRanges | Bitmap, slot: int = 0, **window: int) -> ReceivedPages:
    return copy.receive(ReceivePages(slot=slot, pages=what, **window))


def counts(found: Verification) -> tuple[int, int, int, int]:
    """Pages that are current, pending, unneeded and lost."""
    assert found.enabled
    return found.current_pages, found.pending_pages, found.unneeded_pages, found.lost_pages


def lost(found: Verification, slot: int = 0) -> tuple[tuple[int, int], ...]:
    (of_slot,) = (each for each in found.slots if each.slot == slot)
    return of_slot.lost_ranges


# What a copy begins with


def test_a_copy_that_begins_empty_has_the_pages_that_were_never_written() -> None:
    made = machine()
    copy = Copy(made)

    write(made, 3)

    assert copy.slots[0].began is SlotBegan.ZEROS
    assert counts(copy.verify()) == (NPAGES - 1, 1, 0, 0)


def test_a_copy_of_a_vm_that_wrote_before_begins_with_nothing() -> None:
    made = machine()
    write(made, 3)
    get(made)

    copy = Copy(made)

    assert copy.slots[0].began is SlotBegan.NOTHING
    assert counts(copy.verify()) == (0, 0, 0, NPAGES)


def test_a_copy_that_received_all_pages_is_current_until_the_guest_writes() -> None:
    made = machine()
    write(made, 3)
    copy = Copy(made)
    get(made)
    receive(copy, every())

    copy.verify().assert_complete()
    write(made, 5, 130)

    assert counts(copy.verify()) == (NPAGES - 2, 2, 0, 0)
    get(made)
    assert lost(copy.verify()) == ((5, 1), (130, 1))


def test_a_copy_of_the_source_lacks_what_the_log_names_from_the_start() -> None:
    made = machine()
    write(made, 7)

    copy = Copy(made, "source")
    get(made)  # and forgets what it named

    assert copy.slots[0].began is SlotBegan.BASE
    assert lost(copy.verify()) == ((7, 1),)


def test_a_copy_of_the_source_lacks_what_a_cancelled_migration_took() -> None:
    made = machine()
    write(made, 7, 8)
    history = TransferHistory()
    migration = LiveMigration(made, MigrationSpec(full_first_pass=False), history)
    migration.step()
    migration.step()
    migration.cancel()
    migration.run()
    assert migration.status is MigrationStatus.CANCELLED

    found = Copy(made, "source", DirtyTracking(history)).verify()

    assert lost(found) == ((7, 2),)


def attempt(made: Machine, tracking: DirtyTracking, **fields: Any) -> LiveMigration:
    """Begin an incremental migration, and let it send 64 pages of a link of 1 MB/s."""
    given = {"full_first_pass": False, "bandwidth_bytes_per_second": 1_000_000, **fields}
    link = model.LinkSpec(bytes_per_second=1_000_000)
    migration = LiveMigration(made, MigrationSpec(link=link, **given), tracking=tracking)
    while migration.report().stats.normal < 64:
        migration.step()
    return migration


def cancelled(made: Machine, tracking: DirtyTracking, **fields: Any) -> None:
    migration = attempt(made, tracking, **fields)
    migration.cancel()
    migration.run()
    assert migration.status is MigrationStatus.CANCELLED


def test_a_copy_of_the_source_lacks_what_a_running_migration_took_and_may_not_have_delivered() -> (
    None
):
    made, tracking = machine(), DirtyTracking()
    write(made, *range(150))
    migration = attempt(made, tracking)
    write(made, 190)
    get(made)  # lost to the migration
    sent = migration.report().stats.normal
    on_the_way = PAGES_PER_FLUSH

    copy = Copy(made, "source", tracking)

    lacking = ((sent - on_the_way, 150 - sent + on_the_way), (190, 1))
    assert lost(copy.verify()) == lacking
    migration.cancel()
    migration.run()
    assert lost(copy.verify()) == lacking
    assert lost(Copy(made, "source", tracking).verify()) == ((sent, 150 - sent), (190, 1))


def test_a_copy_of_the_source_lacks_a_slot_whose_log_was_switched_off_since_an_attempt() -> None:
    made, tracking = machine(), DirtyTracking()
    write(made, *range(150))
    cancelled(made, tracking)
    made.perform(region(flags=0))
    write(made, 190)
    made.perform(region())

    copy = Copy(made, "source", tracking)

    assert copy.slots[0].began is SlotBegan.NOTHING
    assert counts(copy.verify()) == (0, 0, 0, NPAGES)


@pytest.mark.parametrize("verify", [True, False])
def test_a_copy_of_the_source_has_nothing_where_nobody_knows_what_was_lost_since_an_attempt(
    *, verify: bool
) -> None:
    made, tracking = machine(), DirtyTracking()
    write(made, *range(150))
    cancelled(made, tracking, verify=verify)
    write(made, 190)
    if verify:
        get(made)

    copy = Copy(made, "source", tracking)

    assert copy.slots[0].began is SlotBegan.NOTHING


def test_a_copy_of_the_source_lacks_what_a_complete_migration_lost() -> None:
    made, tracking = machine(), DirtyTracking()
    migration = attempt(made, tracking, full_first_pass=True)
    write(made, 7)
    get(made)  # and forgets what it named
    assert migration.run().verification.lost_pages == 1

    found = Copy(made, "source", tracking).verify()

    assert lost(found) == ((7, 1),)


def test_a_copy_of_the_source_lacks_a_slot_that_was_made_after_the_first_migration() -> None:
    made, tracking = machine(), DirtyTracking()
    LiveMigration(made, MigrationSpec(), tracking=tracking).run()
    made.perform(region(slot=1))

    copy = Copy(made, "source", tracking)

    assert [slot.began for slot in copy.slots] == [SlotBegan.BASE, SlotBegan.NOTHING]


def test_a_copy_of_the_source_lacks_of_a_readonly_slot_what_an_attempt_did_not_deliver() -> None:
    made, tracking = machine(region(flags=int(MemslotFlags.READONLY))), DirtyTracking()
    cancelled(made, tracking, full_first_pass=True)

    found = Copy(made, "source", tracking).verify()

    assert found.lost_pages == NPAGES - 64


def test_a_copy_of_the_source_during_a_migration_without_its_slot_is_of_the_log_alone() -> None:
    made, tracking = machine(region(), region(slot=1)), DirtyTracking()
    write(made, *range(150))
    attempt(made, tracking, slots=(0,))
    write(made, 3, slot=1)

    copy = Copy(made, "source", tracking)

    get(made, slot=1)
    assert lost(copy.verify(), slot=1) == ((3, 1),)


def test_a_copy_of_the_source_lacks_a_slot_that_does_not_log_whole() -> None:
    made = machine(region(flags=0))

    copy = Copy(made, "source")

    assert copy.slots[0].began is SlotBegan.NOTHING
    assert counts(copy.verify()) == (0, 0, 0, NPAGES)


def test_a_copy_of_the_source_lacks_a_slot_that_logs_for_a_measurement_only() -> None:
    made = machine(region(0, 0), region(1))
    tracking = DirtyTracking()
    rate = model.CalcDirtyRate(duration_ns=10**9, mode=model.DirtyRateMode.DIRTY_BITMAP)
    DirtyRate(tracking).start(made, rate)

    copy = Copy(made, "source", tracking)

    assert [slot.began for slot in copy.slots] == [SlotBegan.NOTHING, SlotBegan.BASE]


def test_a_copy_of_the_source_lacks_what_a_measurement_took_from_the_log() -> None:
    made = machine()
    tracking = DirtyTracking()
    write(made, 3, 4)
    rate = model.CalcDirtyRate(duration_ns=10**9, mode=model.DirtyRateMode.DIRTY_BITMAP)
    DirtyRate(tracking).start(made, rate)

    found = Copy(made, "source", tracking).verify()

    assert counts(found) == (NPAGES - 2, 0, 0, 2)


def test_the_end_of_a_measurement_keeps_the_versions_of_a_copy() -> None:
    made = machine()
    measured = DirtyRate(DirtyTracking())
    measured.start(made, model.CalcDirtyRate(duration_ns=10**9))
    copy = Copy(made)
    receive(copy, every())

    while measured.is_measuring:
        measured.run(made)
    write(made, 3)

    assert counts(copy.verify()) == (NPAGES - 1, 1, 0, 0)


def test_a_readonly_slot_needs_no_log_for_nobody_writes_it() -> None:
    made = machine(region(flags=int(MemslotFlags.READONLY)))

    copy = Copy(made, "source")

    copy.verify().assert_complete()
    Copy(made, copy).verify().assert_complete()


def test_a_copy_on_another_one_has_what_that_one_has_and_lacks_what_it_lacked() -> None:
    made = machine()
    base = Copy(made)
    write(made, 1, 2)
    receive(base, get(made))
    write(made, 3)
    get(made)  # page 3 is lost to the base

    copy = Copy(made, base)
    write(made, 4)

    assert copy.slots[0].began is SlotBegan.BASE
    found = copy.verify()
    assert (counts(found), lost(found)) == ((NPAGES - 2, 1, 0, 1), ((3, 1),))


def test_a_copy_and_its_base_receive_each_for_itself() -> None:
    made = machine()
    base = Copy(made)
    write(made, 1)
    copy = Copy(made, base)

    receive(copy, get(made))

    copy.verify().assert_complete()
    assert lost(base.verify()) == ((1, 1),)


def test_a_slot_that_stopped_logging_since_the_base_is_lacking_whole() -> None:
    made = machine()
    base = Copy(made)
    receive(base, every())
    made.perform(region(flags=0))
    made.perform(region())

    copy = Copy(made, base)

    assert copy.slots[0].began is SlotBegan.NOTHING
    assert counts(copy.verify()) == (0, 0, 0, NPAGES)
    receive(copy, every())
    copy.verify().assert_complete()


def test_a_base_made_before_logging_began_counts_from_what_it_received_since() -> None:
    made = machine(region(flags=0))
    write(made, 9)
    base = Copy(made)
    made.perform(region())
    receive(base, every())

    copy = Copy(made, base)

    copy.verify().assert_complete()


# What it receives


def test_pages_have_the_version_of_the_beginning_of_their_read() -> None:
    made = machine()
    made.perform(model.AddSequential(slot=0, writes_per_second=1_000_000, num_pages=50))
    copy = Copy(made)

    outcome = receive(copy, every(), duration_ns=10_000)

    assert outcome.now_ns == 10_000
    found = copy.verify()
    assert counts(found) == (NPAGES - 10, 10, 0, 0)
    get(made)
    assert lost(copy.verify()) == ((0, 10),)


def test_a_read_that_takes_too_long_to_simulate_changes_nothing() -> None:
    made = machine()
    made.perform(model.AddSequential(slot=0, writes_per_second=10**9))
    copy = Copy(made)
    write(made, 3)

    with pytest.raises(TooManyWritesError):
        receive(copy, every(), duration_ns=10**12)

    assert counts(copy.verify()) == (NPAGES - 1, 1, 0, 0)
    assert copy.received_pages == 0


@pytest.mark.parametrize(
    ("what", "window", "received"),
    [
        (ranges((64, 3), (190, 10)), {}, [*range(64, 67), *range(190, 200)]),
        (ranges((64, 64)), {"first_page": 64, "num_pages": 64}, [*range(64, 128)]),
        (Bitmap(np.array([5], np.uint64)), {"first_page": 64, "num_pages": 64}, [64, 66]),
        (Bitmap(np.full(4, ~np.uint64(0))), {}, [*range(NPAGES)]),
        (Bitmap(np.array([1 << 7, 1 << 60], np.uint64)), {"first_page": 128}, [135]),
    ],
    ids=["ranges", "range of a window", "bitmap of a window", "bits past the end", "sparse"],
)
def test_a_window_is_received_as_a_clear_takes_it(
    what: PageRanges | Bitmap, window: dict[str, int], received: list[int]
) -> None:
    made = machine()
    write(made, 0)
    copy = Copy(made)
    get(made)

    outcome = receive(copy, what, **window)

    assert outcome.received_pages == len(received) == copy.received_pages
    lacking = sorted(set(range(NPAGES)) - set(received))
    expanded = [page for first, n in lost(copy.verify()) for page in range(first, first + n)]
    assert expanded == lacking


@pytest.mark.parametrize(
    ("request_", "refusal", "field"),
    [
        ({"slot": 9, "pages": pages(0)}, NoSuchMemslotError, "slot"),
        (
            {"slot": 0, "pages": pages(0), "first_page": 256},
            WindowOutsideMemslotError,
            "first_page",
        ),
        ({"slot": 0, "pages": pages(0), "num_pages": 201}, WindowOutsideMemslotError, "num_pages"),
        ({"slot": 0, "pages": pages(0), "num_pages": 65}, WindowOutsideMemslotError, "num_pages"),
        ({"slot": 0, "pages": pages(200)}, InvalidArgumentError, "page_ranges"),
        ({"slot": 0, "pages": Bitmap(np.zeros(3, np.uint64))}, InvalidArgumentError, "bitmap"),
        ({"slot": 0, "pages": pages(0), "first_page": 3}, InvalidArgumentError, "first_page"),
    ],
)
def test_a_window_that_is_not_one_of_the_slot_is_named_and_nothing_changes(
    request_: dict[str, Any], refusal: type[KvmError], field: str
) -> None:
    made = machine()
    copy = Copy(made)
    write(made, 0)
    before = copy.verify()

    with pytest.raises(refusal) as of_receive:
        copy.receive(ReceivePages(**request_))
    with pytest.raises(refusal) as of_verify:
        copy.verify([PageWindow(slot=0, pages=pages(1)), PageWindow(**request_)])

    assert of_receive.value.field == field
    assert of_verify.value.field == f"pending.1.{field}"
    assert copy.verify() == before


# What is pending


def test_pages_that_the_caller_still_has_to_send_are_pending() -> None:
    made = machine()
    copy = Copy(made)
    write(made, 1, 70, 199)
    taken = get(made)
    write(made, 2)

    whole = copy.verify([PageWindow(slot=0, pages=taken)])
    part = copy.verify([PageWindow(slot=0, pages=pages(70), first_page=64)])
    both = copy.verify([PageWindow(slot=0, pages=pages(page)) for page in (1, 199)])

    assert counts(whole) == (NPAGES - 4, 4, 0, 0)
    assert lost(part) == ((1, 1), (199, 1))
    assert lost(both) == ((70, 1),)
    assert lost(copy.verify()) == ((1, 1), (70, 1), (199, 1))  # what was named is not kept


def test_a_clear_after_the_read_loses_what_was_written_between() -> None:
    made = machine(manual_dirty_log_protect2=1)
    copy = Copy(made)
    write(made, 1, 2)
    reported = get(made)
    receive(copy, reported)
    write(made, 2)
    made.perform(ClearDirtyLog(slot=0, pages=reported))

    assert lost(copy.verify()) == ((2, 1),)


def test_pages_that_the_guest_gave_up_are_unneeded_until_it_writes_them() -> None:
    made = machine()
    copy = Copy(made)
    write(made, 1, 2)
    get(made)
    gfns = np.array([BASE_GFN + 1, BASE_GFN + 2], np.uint64)
    made.perform(HintFree(pages=Gfns(gfns)))

    assert counts(copy.verify()) == (NPAGES - 2, 0, 2, 0)
    write(made, 2)
    get(made)
    assert counts(copy.verify()) == (NPAGES - 2, 0, 1, 1)


# Which slots


def test_a_slot_that_was_deleted_and_made_again_is_another() -> None:
    made = machine()
    copy = Copy(made)
    receive(copy, every())
    made.perform(DeleteMemslot(slot=0))
    made.perform(region())

    found = copy.verify()

    assert lost(found) == ((0, NPAGES),)
    receive(copy, pages(*range(100)))
    assert lost(copy.verify()) == ((100, 100),)
    assert lost(Copy(made, copy).verify()) == ((100, 100),)


def test_a_slot_that_was_made_since_is_lacking_whole_until_it_is_received() -> None:
    made = machine()
    copy = Copy(made)
    made.perform(region(slot=1))

    assert lost(copy.verify(), slot=1) == ((0, NPAGES),)
    receive(copy, every(), slot=1)
    copy.verify().assert_complete()
    assert [each.began for each in copy.slots] == [SlotBegan.ZEROS, SlotBegan.NOTHING]


def test_nothing_is_proved_of_a_slot_that_has_gone() -> None:
    made = machine(region(), region(slot=1))
    copy = Copy(made)
    made.perform(DeleteMemslot(slot=1))

    found = copy.verify()

    assert (found.verified, found.unproved_slots) == (False, (1,))
    with pytest.raises(AssertionError, match="nothing is proved of slots 1"):
        found.assert_no_lost_pages()
    assert Copy(made, copy).verify().verified  # a copy that begins now is of what there is


def test_a_slot_that_moves_keeps_its_pages() -> None:
    made = machine()
    copy = Copy(made)
    write(made, 1)
    receive(copy, get(made))
    user = BASE_GFN * PAGE
    size = NPAGES * PAGE

    made.perform(
        SetMemslot(slot=0, guest_phys_addr=0, memory_size=size, userspace_addr=user, flags=LOGGING)
    )

    copy.verify().assert_complete()


def test_the_memslots_of_a_copy_are_those_that_it_was_last_given() -> None:
    made = machine(region(), region(slot=1, npages=64))
    copy = Copy(made)

    made.perform(DeleteMemslot(slot=1))

    assert [(view.slot, view.npages) for view in copy.memslots] == [(0, NPAGES), (1, 64)]
    assert copy.state_bytes == 4 * (NPAGES + 64)


# Whose versions


def test_versions_are_kept_while_a_copy_is_open() -> None:
    made = machine()
    one, other = Copy(made), Copy(made)

    one.close()
    one.close()  # once more is nothing
    kept = made.query(GetLastVersion())
    other.close()

    assert kept == 0
    assert made.query(GetLastVersion()) is None


def test_the_end_of_a_migration_keeps_the_versions_of_a_copy_that_began_meanwhile() -> None:
    made = machine()
    write(made, 1)
    migration = LiveMigration(made, MigrationSpec())
    for _ in range(3):
        migration.step()
    copy = Copy(made)
    receive(copy, every())
    migration.run()

    write(made, 5)

    assert migration.status is MigrationStatus.COMPLETED
    assert counts(copy.verify()) == (NPAGES - 1, 1, 0, 0)


def test_the_end_of_a_copy_keeps_the_versions_of_a_migration() -> None:
    made = machine()
    copy = Copy(made)
    migration = LiveMigration(made, MigrationSpec())
    for _ in range(3):
        migration.step()
    copy.close()

    report = migration.run()

    report.verification.assert_complete()
    assert made.query(GetLastVersion()) is None


def test_a_migration_refused_before_it_tracks_takes_nothing_from_a_copy() -> None:
    made = machine()
    copy = Copy(made)
    migration = LiveMigration(made, MigrationSpec())
    migration.cancel()
    migration.run()

    assert made.query(GetLastVersion()) == 0
    copy.verify().assert_complete()


# What the result says


def test_a_result_names_slots_and_ranges_that_are_lost() -> None:
    made = machine(region(), region(slot=1))
    copy = Copy(made)
    write(made, 5, 64, 65, 66)
    write(made, 0, slot=1)
    get(made)
    get(made, slot=1)

    with pytest.raises(AssertionError) as raised:
        copy.verify().assert_no_lost_pages()

    assert str(raised.value) == "slot 0 lost 4 pages: 5, 64..66; slot 1 lost 1 page: 0"


def test_a_result_says_how_many_ranges_it_leaves_out() -> None:
    made = machine(region(npages=2_000))
    copy = Copy(made)
    write(made, *range(0, 2_000, 2))
    get(made)

    first = "0, 2, 4, 6, 8, 10, 12, 14, 16, 18"
    with pytest.raises(AssertionError, match=f"lost 1000 pages: {first} and 990 more$"):
        copy.verify().assert_no_lost_pages()


def test_a_complete_copy_has_nothing_pending() -> None:
    made = machine()
    copy = Copy(made)
    write(made, 5)

    copy.verify().assert_no_lost_pages()
    with pytest.raises(AssertionError, match=r"^1 page still to be sent: 1 of slot 0$"):
        copy.verify().assert_complete()


def test_a_result_of_a_migration_that_verified_nothing_proves_nothing() -> None:
    report = LiveMigration(machine(), MigrationSpec(verify=False)).run()

    with pytest.raises(AssertionError, match="versions of pages were not tracked"):
        report.verification.assert_no_lost_pages()


def test_the_guest_runs_while_pages_are_read_as_a_run_of_it_does() -> None:
    one, other = machine(), machine()
    for made in (one, other):
        made.perform(model.AddUniform(slot=0, writes_per_second=1_000_000))
    receive(Copy(one), every(), duration_ns=123_456)

    other.perform(RunGuest(duration_ns=123_456))

    assert one.query(model.GetClock()) == other.query(model.GetClock())
    assert get(one) == get(other)
