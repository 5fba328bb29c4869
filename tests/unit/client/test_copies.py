"""Copies through the clients: the forms of pages, and what a verdict says."""

import asyncio

import numpy as np
import pytest

from hacdbs_sim.client import AsyncClient, Client, Copy, LogWindow, NotFoundError, Vm
from tests.unit.client.conftest import BASE_GFN, MEMSLOT, NPAGES


@pytest.fixture
def copy(vm: Vm) -> Copy:
    """A copy of a VM that lacks pages 3, 64 and 999, which no log names any more."""
    made = vm.copy()
    vm.guest_write([BASE_GFN + 3, BASE_GFN + 64, BASE_GFN + 999])
    return made


def test_a_log_is_received_as_it_came(vm: Vm, copy: Copy) -> None:
    log = vm.slot(0).get_dirty_log()

    outcome = copy.receive(0, log)

    assert (outcome.received_pages, outcome.num_pages) == (3, NPAGES)
    copy.verify().assert_complete()


def test_a_window_a_mask_words_and_numbers_are_pages(vm: Vm, copy: Copy) -> None:
    log = vm.slot(0).get_dirty_log()
    (first, second, *_) = log.windows(64)
    mask = np.zeros(64, np.bool_)
    mask[0] = True

    of_window = copy.receive(0, first)
    of_mask = copy.receive(0, mask, first_page=64)
    of_words = copy.receive(0, log.words)
    of_numbers = copy.receive(0, pages=[999, 3])
    of_range = copy.receive(0, pages=range(10, 20), first_page=0, num_pages=64)
    in_all = [of_window, of_mask, of_words, of_numbers, of_range]

    assert [each.received_pages for each in in_all] == [1, 1, 3, 2, 10]
    assert [(each.first_page, each.num_pages) for each in in_all] == [
        (0, 64),
        (64, 64),
        (0, NPAGES),
        (0, NPAGES),
        (0, 64),
    ]
    assert copy.receive(0, second) == copy.receive(0, LogWindow(64, 64, second.bitmap))
    assert copy.get().received_pages == 19


def test_pages_are_given_once(copy: Copy) -> None:
    with pytest.raises(TypeError, match="exactly one of words and pages must be given"):
        copy.receive(0)
    with pytest.raises(TypeError, match="exactly one of words and pages must be given"):
        copy.receive(0, np.zeros(16, np.uint64), pages=[1])


def test_pending_pages_are_named_by_slot(vm: Vm, copy: Copy) -> None:
    log = vm.slot(0).get_dirty_log()

    copy.verify(pending={0: log}).assert_no_lost_pages()
    copy.verify(pending={0: log.words}).assert_no_lost_pages()
    with pytest.raises(AssertionError, match=r"^slot 0 lost 2 pages: 64, 999$"):
        copy.verify(pending={0: next(log.windows(64))}).assert_no_lost_pages()


def test_a_copy_begins_with_another_one_by_handle_or_id(vm: Vm, copy: Copy) -> None:
    copy.receive(0, vm.slot(0).get_dirty_log())

    by_handle, by_id = vm.copy(copy), vm.create_copy("c1")

    for made in (by_handle, by_id):
        assert made.info is not None
        assert made.info.base == "c1"
        made.verify().assert_complete()
    assert vm.kept_copy("c2").get() == by_handle.info
    assert repr(by_handle) == "<Copy default-1 c2>"


def test_a_deleted_copy_is_gone(vm: Vm, copy: Copy) -> None:
    copy.delete()

    with pytest.raises(NotFoundError, match="no_such_copy"):
        copy.verify()
    assert list(vm.list_copies()) == []


def test_a_started_copy_is_a_vm(client: Client, copy: Copy) -> None:
    with client.create_session("elsewhere") as session:
        started = copy.start(session_id="elsewhere", name="restored")

        assert started.info == started.get()
        assert [each.vm_id for each in session.list_vms()] == [started.vm_id] == ["elsewhere-1"]


def test_the_verification_of_a_migration_asserts_in_the_same_way(vm: Vm) -> None:
    vm.guest_write([BASE_GFN])

    report = vm.start_migration().wait()

    report.verification.assert_no_lost_pages()
    report.verification.assert_complete()


def test_coroutines_have_the_same_copies() -> None:
    async def run() -> str:
        async with AsyncClient.in_process() as client:
            vm = await client.create_vm(memslots=[MEMSLOT])
            copy = await vm.copy()
            await vm.guest_write([BASE_GFN + 3])
            await copy.receive(0, await vm.slot(0).get_dirty_log())
            (await copy.verify()).assert_complete()
            onwards = await vm.copy(copy)
            await vm.guest_write([BASE_GFN + 4])
            await vm.slot(0).get_dirty_log()
            with pytest.raises(AssertionError) as raised:
                (await onwards.verify()).assert_no_lost_pages()
            return str(raised.value)

    assert asyncio.run(run()) == "slot 0 lost 1 page: 4"
