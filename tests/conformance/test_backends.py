"""One body for every backend: what each must answer alike, the simulated machine and the host's KVM."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from hacdbs_sim import model as m
from hacdbs_sim.host_kvm import HostKvmBackend
from hacdbs_sim.model.errors import Errno, GfnBeyondIpaSpaceError, KvmError, NoSuchVcpuError
from tests.support.machine import Machine
from tests.support.real_kvm import require_kvm

PAGE = 4096
BASE = 0x1000_0000
BASE_GFN = BASE // PAGE
LOG, READONLY = m.MemslotFlags.LOG_DIRTY_PAGES, m.MemslotFlags.READONLY


@pytest.fixture(params=[m.BackendName.SIMULATED, m.BackendName.HOST_KVM])
def backend(request: pytest.FixtureRequest) -> Iterator[m.Backend]:
    if request.param is m.BackendName.SIMULATED:
        yield Machine(m.VmConfig())
        return
    require_kvm()
    real = HostKvmBackend(m.VmConfig())
    yield real
    real.close()


def region(slot: int = 0, npages: int = 130, **changes: int) -> m.SetMemslot:
    given = {"guest_phys_addr": BASE, "memory_size": npages * PAGE, "flags": int(LOG), **changes}
    return m.SetMemslot(slot=slot, **given)


def gfns(*numbers: int) -> m.Gfns:
    return m.Gfns(np.array(numbers, np.uint64))


def ranges(*pairs: tuple[int, int]) -> m.PageRanges:
    first, count = zip(*pairs, strict=True)
    return m.PageRanges(np.array(first, np.uint64), np.array(count, np.uint64))


def words(*values: int) -> m.Bitmap:
    return m.Bitmap(np.array(values, np.uint64))


def write(backend: m.Backend, *pages: int) -> None:
    """Write pages of the slot at `BASE`."""
    backend.perform(m.GuestWrite(pages=gfns(*(BASE_GFN + page for page in pages))))


def got(backend: m.Backend, slot: int = 0) -> list[int]:
    """Get the log; return its words."""
    log = backend.perform(m.GetDirtyLog(slot=slot))
    assert log.bitmap is not None
    assert log.dirty_count == int(np.bitwise_count(log.bitmap.words).sum())
    return [int(word) for word in log.bitmap.words]


def refused(backend: m.Backend, action: m.Action[Any]) -> tuple[type[KvmError], Errno | None]:
    before = backend.query(m.ListMemslots())
    with pytest.raises(KvmError) as caught:
        backend.perform(action)
    assert backend.query(m.ListMemslots()) == before
    return type(caught.value), caught.value.errno


@pytest.mark.parametrize("userspace_addr", [PAGE, 1 << 40, 0x7FFF_E000_0000])
def test_a_slot_is_deleted_wherever_it_is_backed(backend: m.Backend, userspace_addr: int) -> None:
    backend.perform(region(userspace_addr=userspace_addr))

    changed = backend.perform(m.DeleteMemslot(slot=0))

    assert changed.change is m.MemslotChange.DELETE
    assert backend.query(m.ListMemslots()) == ()


def test_a_delete_with_an_unaligned_address_is_einval(backend: m.Backend) -> None:
    backend.perform(region(flags=int(READONLY), userspace_addr=1 << 40))

    delete = region(flags=int(READONLY), memory_size=0, userspace_addr=(1 << 40) + 0x800)

    assert refused(backend, delete) == (m.InvalidArgumentError, Errno.EINVAL)


@pytest.mark.parametrize("pages", [words(1), ranges((0, 1))], ids=["words", "ranges"])
@pytest.mark.parametrize("num_pages", [None, 64])
@pytest.mark.parametrize("slot", [1, 6], ids=["without a log", "absent"])
def test_a_clear_without_a_log_is_enoent_whatever_its_pages(
    backend: m.Backend, slot: int, num_pages: int | None, pages: m.Bitmap | m.PageRanges
) -> None:
    backend.perform(region(1, guest_phys_addr=2 * BASE, flags=0))
    clear = m.ClearDirtyLog(slot=slot, pages=pages, num_pages=num_pages)

    assert refused(backend, clear) == (m.NoDirtyLogError, Errno.ENOENT)


def test_ranges_of_bytes_write_the_pages_that_they_touch(backend: m.Backend) -> None:
    backend.perform(region())
    ranges_of_bytes = ((BASE + PAGE - 1, 2), (BASE + 64 * PAGE + 100, 2 * PAGE))

    backend.perform(m.GuestWriteMemory(gpa_ranges=ranges_of_bytes))

    assert got(backend) == [0b11, 0b111, 0]


# Memslots


def test_a_slot_is_created_moved_and_deleted(backend: m.Backend) -> None:
    changes = [
        backend.perform(each).change
        for each in (
            region(),
            region(),
            region(flags=0),
            region(flags=0, guest_phys_addr=2 * BASE, userspace_addr=BASE),
            m.DeleteMemslot(slot=0),
        )
    ]

    change = m.MemslotChange
    assert changes == [change.CREATE, change.NONE, change.FLAGS_ONLY, change.MOVE, change.DELETE]
    assert backend.query(m.ListMemslots()) == ()


def test_a_slot_is_shown_as_it_was_given(backend: m.Backend) -> None:
    made = backend.perform(region(5, npages=3, userspace_addr=1 << 40))
    shown = backend.query(m.GetMemslot(slot=5))

    assert (shown.slot, shown.npages, shown.base_gfn, shown.userspace_addr, shown.backing) == (
        5, 3, BASE_GFN, 1 << 40, PAGE,
    )  # fmt: skip
    assert {name: value for name, value in vars(made).items() if name != "change"} == vars(shown)


@pytest.mark.parametrize(
    ("action", "refusal", "errno"),
    [
        (region(1, guest_phys_addr=BASE + PAGE), m.MemslotOverlapError, Errno.EEXIST),
        (region(1, guest_phys_addr=2 * BASE + 8), m.InvalidArgumentError, Errno.EINVAL),
        (region(1, memory_size=PAGE + 1), m.InvalidArgumentError, Errno.EINVAL),
        (region(1, userspace_addr=1), m.InvalidArgumentError, Errno.EINVAL),
        (region(1, userspace_addr=1 << 63), m.InvalidArgumentError, Errno.EINVAL),
        (region(1, memory_size=1 << 43), m.InvalidArgumentError, Errno.EINVAL),
        (region(1, guest_phys_addr=(1 << 64) - PAGE), m.InvalidArgumentError, Errno.EINVAL),
        (region(1, guest_phys_addr=2 * BASE, flags=4), m.InvalidArgumentError, Errno.EINVAL),
        (region(npages=131), m.MemslotChangedError, Errno.EINVAL),
        (region(flags=LOG | READONLY), m.MemslotChangedError, Errno.EINVAL),
        (region(userspace_addr=BASE + PAGE), m.MemslotChangedError, Errno.EINVAL),
        (region(backing=2 << 20), m.MemslotChangedError, Errno.EINVAL),
        (m.DeleteMemslot(slot=1), m.NoSuchMemslotError, Errno.EINVAL),
        (m.UpdateVm(manual_dirty_log_protect2=2), m.InvalidArgumentError, Errno.EINVAL),
        (m.GetDirtyLog(slot=1), m.NoDirtyLogError, Errno.ENOENT),
        (m.ClearDirtyLog(slot=1, pages=words()), m.NoDirtyLogError, Errno.ENOENT),
        (m.GuestWrite(pages=gfns(BASE_GFN), vcpu=1), NoSuchVcpuError, None),
        (m.GuestWrite(pages=gfns(1 << 30)), GfnBeyondIpaSpaceError, None),
    ],
)  # fmt: skip
def test_a_refusal_has_the_kernels_errno_and_changes_nothing(
    backend: m.Backend, action: m.Action[Any], refusal: type[KvmError], errno: Errno | None
) -> None:
    backend.perform(region())
    write(backend, 7)

    assert refused(backend, action) == (refusal, errno)
    assert got(backend) == [1 << 7, 0, 0]


def test_a_look_at_an_absent_slot_is_refused(backend: m.Backend) -> None:
    with pytest.raises(m.NoSuchMemslotError):
        backend.query(m.GetMemslot(slot=3))


# Accesses


def test_accesses_count_what_no_slot_takes(backend: m.Backend) -> None:
    backend.perform(region(flags=int(READONLY)))
    inside, outside = BASE_GFN, BASE_GFN + 130

    wrote = backend.perform(m.GuestWrite(pages=gfns(inside, outside, outside)))
    read = backend.perform(m.GuestRead(pages=ranges((inside, 130), (outside, 2))))
    host = backend.perform(m.HostWrite(pages=gfns(inside, outside)))

    assert (wrote.pages, wrote.mmio_exits) == (3, 3)
    assert (read.pages, read.mmio_exits) == (132, 2)
    assert (host.pages, host.mmio_exits) == (2, 2)


def test_accesses_are_counted(backend: m.Backend) -> None:
    backend.perform(region())
    write(backend, 1, 2, 500)
    backend.perform(m.HostUnmap(pages=gfns(BASE_GFN + 1, BASE_GFN + 2)))
    got(backend)
    backend.perform(m.ClearDirtyLog(slot=0, pages=ranges((0, 1))))

    counted = backend.query(m.GetCounters())
    names = ("guest_writes", "host_unmaps", "mmio_exits", "dirty_log_gets", "dirty_log_clears")
    assert [counted[name] for name in names] == [3, 2, 1, 1, 1]


@pytest.mark.parametrize("backing", [PAGE, 2 << 20])
def test_writes_are_logged_by_page_whatever_backs_the_slot(
    backend: m.Backend, backing: int
) -> None:
    base = 64 << 20
    backend.perform(region(npages=1024, guest_phys_addr=base, backing=backing))

    backend.perform(m.GuestWrite(pages=ranges((base // PAGE + 510, 4))))

    expected = [0] * 16
    expected[7], expected[8] = 3 << 62, 3
    assert got(backend) == expected


def test_a_page_that_the_host_writes_is_logged_and_one_that_it_unmaps_is_not(
    backend: m.Backend,
) -> None:
    backend.perform(region())

    backend.perform(m.HostWrite(pages=gfns(BASE_GFN + 64)))
    backend.perform(m.HostUnmap(pages=gfns(BASE_GFN + 65)))

    assert got(backend) == [0, 1, 0]


def test_a_page_that_was_unmapped_is_logged_when_it_is_written_again(backend: m.Backend) -> None:
    backend.perform(region())
    write(backend, 3)
    got(backend)
    backend.perform(m.HostUnmap(pages=gfns(BASE_GFN + 3)))

    write(backend, 3)

    assert got(backend) == [8, 0, 0]


# The dirty log


def test_a_get_cleans_the_log(backend: m.Backend) -> None:
    backend.perform(region())
    write(backend, 0, 63, 64, 129, 129)

    assert got(backend) == [1 << 63 | 1, 1, 2]
    assert got(backend) == [0, 0, 0]
    write(backend, 63)
    assert got(backend) == [1 << 63, 0, 0]


def test_with_manual_protect_a_get_is_a_copy_and_a_clear_cleans(backend: m.Backend) -> None:
    backend.perform(m.UpdateVm(manual_dirty_log_protect2=1))
    backend.perform(region())
    write(backend, *range(130))

    assert got(backend) == got(backend) == [(1 << 64) - 1, (1 << 64) - 1, 3]
    backend.perform(m.ClearDirtyLog(slot=0, first_page=64, num_pages=64, pages=words(0xFF)))
    assert got(backend) == [(1 << 64) - 1, (1 << 64) - 1 - 0xFF, 3]
    write(backend, 64, 72)
    assert got(backend) == [(1 << 64) - 1, (1 << 64) - 1 - 0xFE, 3]
    assert backend.query(m.GetConfig()).manual_dirty_log_protect2 == 1


def test_in_init_set_mode_a_log_begins_full(backend: m.Backend) -> None:
    backend.perform(m.UpdateVm(manual_dirty_log_protect2=3))
    backend.perform(region(npages=65))

    assert got(backend) == [(1 << 64) - 1, 1]
    backend.perform(m.ClearDirtyLog(slot=0, pages=ranges((0, 65))))
    assert got(backend) == [0, 0]
    write(backend, 64)
    assert got(backend) == [0, 1]


@pytest.mark.parametrize(
    ("first_page", "num_pages", "is_legal"),
    [
        (0, 130, True),
        (0, None, True),
        (0, 64, True),
        (64, None, True),
        (64, 66, True),
        (128, 2, True),
        (128, 0, True),
        (0, 0, True),
        (0, 65, False),
        (128, 1, False),
        (128, 3, False),
        (192, 0, False),
        (192, None, False),
        (1 << 40, 1, False),
        (0, (1 << 32) - 1, False),
    ],
)
def test_the_window_of_a_clear_ends_aligned_or_with_the_slot(
    backend: m.Backend, first_page: int, num_pages: int | None, *, is_legal: bool
) -> None:
    backend.perform(m.UpdateVm(manual_dirty_log_protect2=1))
    backend.perform(region())
    write(backend, *range(130))
    length = max(130 - first_page, 0) if num_pages is None else num_pages
    every = m.Bitmap(np.full(min(-(-length // 64), 4), (1 << 64) - 1, np.uint64))
    clear = m.ClearDirtyLog(slot=0, first_page=first_page, num_pages=num_pages, pages=every)

    if not is_legal:
        assert refused(backend, clear)[1] is Errno.EINVAL
        assert sum(word.bit_count() for word in got(backend)) == 130
        return
    cleared = backend.perform(clear)
    assert (cleared.first_page, cleared.num_pages) == (first_page, length)
    assert sum(word.bit_count() for word in got(backend)) == 130 - length


def test_a_bitmap_of_another_length_is_refused(backend: m.Backend) -> None:
    backend.perform(region())

    for pages in (words(1), words(1, 1, 1, 1)):
        assert refused(backend, m.ClearDirtyLog(slot=0, pages=pages))[1] is Errno.EINVAL
    outside = m.ClearDirtyLog(slot=0, pages=ranges((129, 2)))
    assert refused(backend, outside) == (m.InvalidArgumentError, Errno.EINVAL)


def test_a_move_keeps_the_log_and_turning_it_off_deletes_it(backend: m.Backend) -> None:
    backend.perform(region())
    write(backend, 5)

    backend.perform(region(guest_phys_addr=2 * BASE, userspace_addr=BASE))
    assert got(backend) == [1 << 5, 0, 0]
    backend.perform(m.GuestWrite(pages=gfns(2 * BASE_GFN + 6)))
    backend.perform(region(guest_phys_addr=2 * BASE, userspace_addr=BASE, flags=0))
    backend.perform(region(guest_phys_addr=2 * BASE, userspace_addr=BASE))
    assert got(backend) == [0, 0, 0]


# What a backend says of itself


def test_each_operation_that_it_names_is_one_and_the_others_are_refused(backend: m.Backend) -> None:
    backend.perform(region())
    named = set(backend.capabilities.ops)

    assert named <= {kind.op for kind in (*m.ACTIONS, *m.QUERIES)}
    missing = {m.PeekDirtyLog(slot=0), m.ListCpus(), m.GetStage2(gfn=0, count=1, limit=1)}
    for query in missing:
        if query.op not in named:
            with pytest.raises(m.NotSupportedByBackendError, match=query.op):
                backend.query(query)
    for action in (m.AdvanceClock(duration_ns=1), m.SetCpu(cpu=0, online=True), m.DeleteFaults()):
        if action.op not in named:
            with pytest.raises(m.NotSupportedByBackendError, match=action.op):
                backend.perform(action)
            with pytest.raises(m.NotSupportedByBackendError):
                backend.estimate(action)


def test_fields_that_it_cannot_know_are_null_and_no_others(backend: m.Backend) -> None:
    backend.perform(region())
    outcomes: list[Any] = [
        backend.perform(m.GuestWrite(pages=gfns(BASE_GFN))),
        backend.perform(m.ClearDirtyLog(slot=0, pages=words(1, 0, 0))),
        backend.perform(m.GetDirtyLog(slot=0)),
        backend.query(m.GetMemslot(slot=0)),
    ]

    null = {
        name
        for outcome in outcomes
        for name in (each.name for each in fields(outcome))
        if getattr(outcome, name) is None
    }
    assert null - {"bitmap"} == set(backend.capabilities.unknown_fields)


def test_an_estimate_holds_what_the_action_adds(backend: m.Backend) -> None:
    before = backend.query(m.GetFootprint())
    estimate = backend.estimate(region())

    backend.perform(region())

    after = backend.query(m.GetFootprint())
    assert (estimate.pages, estimate.state_bytes) == (after.pages, after.state_bytes)
    assert after.pages == before.pages + 130
    assert after.state_bytes > before.state_bytes


def test_generations_change_with_the_settings_alone(backend: m.Backend) -> None:
    seen = [backend.query(m.GetGenerations(slot=0))]
    for action in (region(), region(flags=0), m.UpdateVm(manual_dirty_log_protect2=1)):
        backend.perform(action)
        seen.append(backend.query(m.GetGenerations(slot=0)))
    backend.perform(region(flags=0))
    backend.perform(m.GuestWrite(pages=gfns(BASE_GFN)))

    assert len({(each.capabilities, each.memslots, each.slot) for each in seen}) == len(seen)
    assert backend.query(m.GetGenerations(slot=0)) == seen[-1]
