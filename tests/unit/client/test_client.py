"""The client: logs, faults, sessions, ETags, refusals, batches."""

import asyncio
from collections.abc import Callable
from typing import Any, assert_type

import numpy as np
import pytest

from hacdbs_sim.client import (
    AsyncClient,
    BadRequestError,
    Client,
    ConflictError,
    FetchedLog,
    FetchedMemslotChange,
    InvalidRequestError,
    NotAllowedError,
    NotFoundError,
    PreconditionFailedError,
    ProblemError,
    TransportError,
    Vm,
    serve_in_thread,
)
from hacdbs_sim.model import (
    AccessOutcome,
    AddIpaf,
    AddUniform,
    EntryWhen,
    Features,
    GetDirtyLog,
    Gfns,
    GuestWrite,
    MemslotFlags,
    UniformInfo,
    known,
)
from tests.unit.client.conftest import BASE_GFN, MEMSLOT, NPAGES


def test_a_log_is_the_pages_that_were_written(vm: Vm) -> None:
    pages = np.random.default_rng(5).choice(NPAGES, 300, replace=False)

    outcome = assert_type(vm.guest_write(pages + BASE_GFN, vcpu=1), AccessOutcome)
    log = assert_type(vm.slot(0).get_dirty_log(), FetchedLog)

    assert outcome.newly_dirty == 300
    assert log.pages().tolist() == sorted(pages.tolist())
    assert np.flatnonzero(log.mask()).tolist() == log.pages().tolist()
    assert log.words.dtype == np.uint64
    assert (log.dirty_count, log.remaining_count, log.num_pages) == (300, 0, NPAGES)
    assert log.accelerator is not None
    assert log.cleaned_by_hardware == 300
    assert known(log.software).ran is False


def test_gfns_go_as_a_list_a_range_ranges_or_nothing(vm: Vm) -> None:
    assert vm.guest_write([BASE_GFN, BASE_GFN]).pages == 2
    assert vm.guest_write(range(BASE_GFN, BASE_GFN + 6)).pages == 6
    assert vm.guest_write(range(BASE_GFN, BASE_GFN + 6, 2)).pages == 3
    assert vm.guest_write(gfn_ranges=[(BASE_GFN, 2), (BASE_GFN + 9, 2)]).pages == 4
    assert vm.guest_write([]).pages == 0
    assert vm.guest_write(range(BASE_GFN, BASE_GFN)).pages == 0
    assert vm.guest_write([1 << 27]).mmio_exits == 1
    with pytest.raises(TypeError, match="exactly one"):
        vm.guest_write([1], gfn_ranges=[(1, 1)])
    with pytest.raises(TypeError, match="exactly one"):
        vm.guest_write()


GOOD = "a-token"

CLEARS: dict[str, Callable[[Vm, FetchedLog], object]] = {
    "the log itself": lambda vm, log: vm.slot(0).clear_dirty_log(log),
    "windows of it": lambda vm, log: [
        vm.slot(0).clear_dirty_log(each) for each in log.windows(192)
    ],
    "pages": lambda vm, log: vm.slot(0).clear_dirty_log(log.pages()),
    "pages and their window": lambda vm, log: vm.slot(0).clear_dirty_log(
        log.pages(), num_pages=NPAGES
    ),
    "words": lambda vm, log: vm.slot(0).clear_dirty_log(bitmap=log.words),
    "a mask": lambda vm, log: vm.slot(0).clear_dirty_log(bitmap=log.mask()),
}


@pytest.mark.parametrize("clear", CLEARS.values(), ids=CLEARS)
def test_a_clear_names_its_pages_in_any_form(
    client: Client, clear: Callable[[Vm, FetchedLog], object]
) -> None:
    vm = client.create_vm(memslots=[MEMSLOT], manual_dirty_log_protect2=1)
    vm.guest_write(np.arange(0, NPAGES, 3) + BASE_GFN)
    log = vm.slot(0).get_dirty_log()
    vm.guest_write([BASE_GFN + 1])

    clear(vm, log)

    assert vm.slot(0).peek_dirty_log().pages().tolist() == [1]


def test_a_clear_of_a_window_leaves_the_rest(client: Client) -> None:
    vm = client.create_vm(memslots=[MEMSLOT], manual_dirty_log_protect2=1)
    vm.guest_write(range(BASE_GFN, BASE_GFN + 256))
    window = np.zeros(64, dtype=np.bool_)
    window[[0, 3]] = True

    report = vm.slot(0).clear_dirty_log(bitmap=window, first_page=64, trace=True)

    assert (report.dirty_count, report.remaining_count) == (2, 254)
    assert {64, 67}.isdisjoint(vm.slot(0).peek_dirty_log().pages().tolist())
    assert report.accelerator is not None
    assert report.accelerator.trace is not None
    with pytest.raises(TypeError, match="exactly one"):
        vm.slot(0).clear_dirty_log()
    with pytest.raises(ConflictError, match="bitmap must be 8 bytes") as refusal:
        vm.slot(0).clear_dirty_log(bitmap=np.zeros(3, dtype=np.uint64), num_pages=64)
    assert refusal.value.errno == "EINVAL"


def test_a_fault_is_armed_inside_its_block_only(vm: Vm) -> None:
    vm.guest_write(range(BASE_GFN, BASE_GFN + 600))

    with vm.fault("ipaf", times=1, when={"op": "get", "batch": 1, "index": 7}) as fault:
        assert fault.hits == 0
        log = vm.slot(0).get_dirty_log(trace=True)
        assert fault.hits == 0
        assert fault.refresh().hits == 1

    assert fault.hits == 1
    assert fault.info.last_hit is not None
    assert fault.info.last_hit.index == 7
    assert list(vm.list_faults()) == []
    assert log.accelerator is not None
    assert log.accelerator.error is not None
    assert log.accelerator.error.reason == "IPAF"
    assert len(log.accelerator.trace or ()) == 2


def test_a_fault_is_disarmed_whatever_happens(vm: Vm) -> None:
    with pytest.raises(ZeroDivisionError), vm.fault("unit_busy"):
        raise ZeroDivisionError
    assert list(vm.list_faults()) == []

    with vm.fault("unit_busy") as fault:
        vm.delete_faults()
    assert fault.hits == 0

    with vm.fault("unit_busy"):
        vm.delete()


def test_a_fault_that_cannot_be_disarmed_is_raised_unless_another_exception_was() -> None:
    serving = serve_in_thread()
    with serving as service, Client(service.url, retries=0) as client:
        vm = client.create_vm()

        def stop_and_fail() -> None:
            serving.__exit__(None, None, None)
            raise ZeroDivisionError

        with pytest.raises(TransportError), vm.fault("unit_busy"):  # noqa: SIM117 - both are met
            with pytest.raises(ZeroDivisionError), vm.fault("unit_busy"):
                stop_and_fail()


def test_faults_for_coroutines() -> None:
    async def arm() -> tuple[int, int]:
        async with AsyncClient.in_process() as client:
            vm = await client.create_vm(memslots=[MEMSLOT])
            await vm.guest_write(range(BASE_GFN, BASE_GFN + 5))
            async with vm.fault("unit_busy") as fault:
                await vm.slot(0).get_dirty_log()
            return fault.hits, len([each async for each in vm.list_faults()])

    assert asyncio.run(arm()) == (1, 0)


def test_a_session_goes_with_its_block(client: Client) -> None:
    with client.create_session("mine") as session:
        vm = session.create_vm(name="one", seed=7)
        assert vm.vm_id == "mine-1"
        assert vm.info is not None
        assert (vm.info.name, vm.info.seed) == ("one", 7)
        assert [info.vm_id for info in session.list_vms()] == ["mine-1"]
        session.reset()
        assert session.get().vm_count == 0

    with pytest.raises(NotFoundError) as refusal:
        session.get()
    assert refusal.value.code == "no_such_session"


def test_what_has_gone_meanwhile_for_coroutines() -> None:
    async def use() -> None:
        async with AsyncClient.in_process() as client:
            vm = await client.create_vm()
            async with vm.fault("unit_busy") as fault:
                assert fault.hits == 0
                await client.vm(vm.vm_id).delete()
            with pytest.raises(NotFoundError):
                async with await client.create_session("mine") as session:
                    await client.session(session.session_id).delete()
            with pytest.raises(ZeroDivisionError):  # noqa: PT012 - what is left of the block
                async with await client.create_session("mine") as session:
                    await session.delete()
                    raise ZeroDivisionError

    asyncio.run(use())


def test_sessions_for_coroutines() -> None:
    async def use() -> list[str]:
        async with AsyncClient.in_process() as client:
            async with await client.create_session("mine") as session:
                await session.create_vm()
                inside = [info.vm_id async for info in session.list_vms()]
            return inside + [info.session_id async for info in client.list_sessions()]

    assert asyncio.run(use()) == ["mine-1", "default"]


def test_lists_go_through_all_pages(client: Client) -> None:
    for _ in range(7):
        client.create_vm()
    client.history.clear()

    ids = [info.vm_id for info in client.list_vms(limit=3)]

    assert ids == [f"default-{number}" for number in range(1, 8)]
    assert len(client.history) == 3


def test_stage2_goes_through_all_runs(vm: Vm) -> None:
    vm.guest_write(range(BASE_GFN, BASE_GFN + 20, 2))

    runs = list(vm.get_stage2(BASE_GFN, 20, limit=3))

    assert [(run.gfn - BASE_GFN, run.count) for run in runs] == [(page, 1) for page in range(20)]
    assert {run.state for run in runs[::2]} == {"writable_dirty"}
    assert {run.descriptor for run in runs[1::2]} == {0}


def test_an_etag_guards_a_change(vm: Vm) -> None:
    etag, vm_etag = vm.get_memslot(0).etag, vm.get().etag
    assert etag is not None
    assert vm.info is not None
    assert vm.info.etag == vm_etag

    def set_flags(
        if_match: str | None = None, if_none_match: str | None = None
    ) -> FetchedMemslotChange:
        return vm.set_memslot(
            0,
            guest_phys_addr=BASE_GFN * 4096,
            memory_size=NPAGES * 4096,
            if_match=if_match,
            if_none_match=if_none_match,
        )

    changed = set_flags(etag)

    assert changed.change == "flags_only"
    assert changed.etag not in {None, etag}
    with pytest.raises(PreconditionFailedError):
        set_flags(etag)
    with pytest.raises(PreconditionFailedError):
        set_flags(if_none_match="*")
    with pytest.raises(PreconditionFailedError):
        vm.delete_memslot(0, if_match=etag)
    with pytest.raises(PreconditionFailedError):
        vm.delete(if_match=vm_etag)
    vm.delete_memslot(0, if_match=changed.etag)
    vm.delete(if_match=vm.get().etag)


def test_addresses_of_64_bits_reach_the_ioctl(vm: Vm) -> None:
    """JSON's integers end at 2^53: a number beyond would be refused as none."""
    high = (1 << 64) - (1 << 20)

    with pytest.raises(ConflictError, match="not 0xfffffffffff01000") as refusal:
        vm.set_memslot(1, guest_phys_addr=1 << 32, memory_size=4096, userspace_addr=high)
    vm.set_memslot(1, guest_phys_addr=1 << 32, memory_size=4096, userspace_addr=1 << 40)

    assert refusal.value.errno == "EINVAL"
    assert vm.get_memslot(1).userspace_addr == 1 << 40


def test_a_batch_gives_results_or_raises_the_refusal_in_it(vm: Vm) -> None:
    write = {"op": "guest_write", "gfns": np.array([BASE_GFN, BASE_GFN + 1])}
    bad = {"op": "get_dirty_log", "slot": 9}

    done, log = vm.run_batch([write, {"op": "get_dirty_log", "slot": 0, "format": "summary"}])
    with pytest.raises(NotFoundError, match="action 1: 404 no_dirty_log") as refusal:
        vm.run_batch([write, bad, write])
    results = vm.run_batch([write, bad, write], check=False)

    assert done.body is not None
    assert done.body["newly_dirty"] == 2
    assert log.body is not None
    assert log.body["dirty_count"] == 2
    assert refusal.value.errno == "ENOENT"
    assert [each.status for each in refusal.value.earlier] == [200]
    assert [each.is_refusal for each in results] == [False, True]


def test_methods_take_dataclasses_of_the_model(client: Client) -> None:
    vm = client.create_vm(
        memslots=[MEMSLOT],
        features=Features(dbm=False),
        faults=[AddIpaf(times=1, when=EntryWhen(batch=0))],
        workloads=[AddUniform(slot=0, writes_per_second=1000)],
    )

    wrote, log = vm.run_batch(
        [GuestWrite(pages=Gfns(np.array([BASE_GFN], dtype=np.uint64))), GetDirtyLog(slot=0)]
    )

    assert vm.info is not None
    assert vm.info.features == Features(dbm=False)
    assert [(fault.type, fault.when.batch) for fault in vm.info.faults] == [("ipaf", 0)]
    assert [type(workload) for workload in vm.info.workloads] == [UniformInfo]
    assert wrote.body is not None
    assert wrote.body["newly_dirty"] == 1
    assert log.body is not None
    assert log.body["page_ranges"] == [[0, 1]]


def test_flags_of_a_memslot_are_bits_or_names(client: Client) -> None:
    flags = MemslotFlags.LOG_DIRTY_PAGES | MemslotFlags.READONLY
    place: dict[str, Any] = {"guest_phys_addr": 0, "memory_size": "1MiB"}
    vm = client.create_vm(memslots=[{"slot": 0, **place, "flags": flags}])
    read_back = vm.get_memslot(0)

    assert read_back.flags == flags
    assert read_back.is_logging
    assert vm.set_memslot(0, **place, flags=read_back.flags).change == "none"
    assert vm.set_memslot(0, **place, flags=["LOG_DIRTY_PAGES", "READONLY"]).change == "none"


def test_a_request_of_ones_own_is_sent_like_the_others(client: Client, vm: Vm) -> None:
    answer = vm.send("POST", "guest", "write", params={"vcpu": 1}, body={"gfns": [BASE_GFN]})

    assert answer.json()["newly_dirty"] == 1
    assert "Idempotency-Key" in answer.request.headers
    with pytest.raises(NotFoundError, match="GET /v1/nothing: 404"):
        client.send("GET", "v1", "nothing")


def test_a_client_may_be_entered_after_its_first_call() -> None:
    client = Client.in_process()
    client.get_livez()

    with client:
        assert client.get_livez().status == "ok"


def test_a_refusal_carries_its_problem_document(vm: Vm) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        vm.add_fault("ipaf", when={"gfn": 3, "index": 1})

    error = refusal.value
    assert isinstance(error, ProblemError)
    assert (error.status, error.code) == (422, "invalid_request")
    assert error.title is not None
    assert error.errors[0]["pointer"].startswith("/when")
    assert error.problem["instance"] == "/v1/vms/default-1/faults"
    assert error.request_id
    assert "only one of gfn, index may be given" in str(error)


def test_refusals_have_classes() -> None:
    with serve_in_thread(token=GOOD) as service:
        with service.client() as client:
            assert client.get_capabilities().limits.max_vms > 0
            with pytest.raises(NotFoundError):
                client.get_problem("no-such-code")
        with Client(service.url, token=GOOD + "not") as stranger, pytest.raises(NotAllowedError):
            stranger.get_capabilities()
    with (
        serve_in_thread(allowed_hosts=("elsewhere",)) as hidden,
        hidden.client() as stranger,
        pytest.raises(BadRequestError, match="host_not_allowed"),
    ):
        stranger.get_capabilities()


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_that_leads_elsewhere_is_refused_before_it_is_sent(vm: Vm, name: str) -> None:
    """`DELETE .../faults/..` would delete the VM."""
    with pytest.raises(ValueError, match="a name in a path must not be"):
        vm.delete_fault(name)

    assert vm.get().vm_id == vm.vm_id


def test_a_name_with_a_slash_stays_a_name(client: Client, vm: Vm) -> None:
    with pytest.raises(NotFoundError):
        client.vm(f"x/../{vm.vm_id}").delete()

    assert vm.get().vm_id == vm.vm_id


def test_handles_show_their_ids(client: Client, vm: Vm) -> None:
    assert repr(vm) == "<Vm default-1>"
    assert repr(vm.slot(3)) == "<Slot default-1 3>"
    assert repr(client) == "<Client http://in-process>"
    assert repr(client.session()) == "<Session default>"
    assert vm.slot(3).number == 3
