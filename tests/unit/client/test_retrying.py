"""Lost responses, over real connections: which requests are sent again, and the state afterwards."""

import asyncio
import threading
from collections.abc import Generator

import httpx
import pytest

from hacdbs_sim.client import (
    AsyncClient,
    Client,
    ConflictError,
    NotFoundError,
    PreconditionFailedError,
    Service,
    ServiceRestartedError,
    TransportError,
    Vm,
    serve_in_thread,
)
from hacdbs_sim.client.retrying import Attempts
from hacdbs_sim.model import known
from tests.unit.client.conftest import BASE_GFN, MEMSLOT
from tests.unit.client.lossy_proxy import LossyProxy, lossy_proxy


@pytest.fixture(scope="module")
def service() -> Generator[Service]:
    with serve_in_thread() as running:
        yield running


@pytest.fixture
def proxy(service: Service) -> Generator[LossyProxy]:
    with lossy_proxy(service.url) as standing:
        yield standing


@pytest.fixture
def client(proxy: LossyProxy) -> Generator[Client]:
    with Client(proxy.url) as opened:
        opened.session().reset()
        yield opened


@pytest.fixture
def vm(client: Client, proxy: LossyProxy) -> Vm:
    made = client.create_vm(memslots=[MEMSLOT])
    proxy.passed.clear()
    client.history.clear()
    return made


def test_a_get_whose_response_is_lost_is_replayed(
    client: Client, vm: Vm, proxy: LossyProxy
) -> None:
    vm.guest_write(range(BASE_GFN, BASE_GFN + 500))
    proxy.lose("POST", 2)

    log = vm.slot(0).get_dirty_log()

    assert log.pages().tolist() == list(range(500))
    assert log.is_replayed
    (key,) = {key for _, key in proxy.passed[1:]}
    assert key is not None
    assert [str(each) for each in client.history][1:] == [
        "--- POST /v1/vms/default-1/memslots/0/dirty-log/get RemoteProtocolError",
        "--- POST /v1/vms/default-1/memslots/0/dirty-log/get RemoteProtocolError",
        "200 POST /v1/vms/default-1/memslots/0/dirty-log/get replayed",
    ]
    assert vm.slot(0).get_dirty_log().dirty_count == 0


def test_coroutines_retry_as_well(proxy: LossyProxy, vm: Vm) -> None:
    async def write_and_get() -> list[int]:
        async with AsyncClient(proxy.url) as client:
            twin = client.vm(vm.vm_id)
            await twin.guest_write([BASE_GFN, BASE_GFN + 9])
            proxy.lose("POST", 1)
            pages: list[int] = (await twin.slot(0).get_dirty_log()).pages().tolist()
            return pages

    assert asyncio.run(write_and_get()) == [0, 9]


def test_each_call_has_a_key_of_its_own_unless_it_is_given(vm: Vm, proxy: LossyProxy) -> None:
    vm.guest_write([BASE_GFN])
    vm.guest_write([BASE_GFN])
    vm.guest_write([BASE_GFN], key="mine")

    first, second, third = (key for _, key in proxy.passed)
    assert first != second
    assert third == "mine"


def test_the_last_loss_is_raised_and_says_that_the_call_may_have_been_served(
    vm: Vm, proxy: LossyProxy
) -> None:
    proxy.lose("POST", 4)

    with pytest.raises(TransportError, match=r"POST .*/guest/write") as lost:
        vm.guest_write([BASE_GFN])

    assert lost.value.may_be_done
    assert len(proxy.passed) == 4
    assert vm.slot(0).peek_dirty_log().dirty_count == 1


def test_no_connection_is_retried_too_and_nothing_was_done() -> None:
    with Client("http://127.0.0.1:9", retries=1) as client:
        with pytest.raises(TransportError) as lost:
            client.create_vm()
        why = f"no service at http://127.0.0.1:9: {lost.value.cause}; start one with `hacdbs-sim serve`"
        assert str(lost.value).startswith(why)

        assert len(client.history) == 2
    assert not lost.value.may_be_done


def test_what_cannot_be_sent_is_not_retried() -> None:
    with Client() as client:
        client.http.base_url = httpx.URL("ftp://127.0.0.1/")
        with pytest.raises(TransportError, match="UnsupportedProtocol"):
            client.get_index()

        assert len(client.history) == 1


def test_a_delete_whose_response_is_lost_succeeds(vm: Vm, proxy: LossyProxy) -> None:
    proxy.lose("DELETE", 1)

    vm.delete()

    assert [method for method, _ in proxy.passed] == ["DELETE", "DELETE"]
    with pytest.raises(NotFoundError):
        vm.delete()


def test_a_put_and_a_patch_are_retried(vm: Vm, proxy: LossyProxy) -> None:
    proxy.lose("PUT", 1)
    proxy.lose("PATCH", 1)

    vm.set_memslot(1, guest_phys_addr=1 << 32, memory_size="1MiB")
    assert not vm.set_cpu(0, online=False).online

    assert vm.get_memslot(1).npages == 256


def test_a_change_with_a_precondition_is_not_repeated_by_itself(vm: Vm, proxy: LossyProxy) -> None:
    """Its own first try would make the second fail, as if somebody else had changed the VM."""
    etag = vm.get().etag
    proxy.lose("PATCH", 1)

    with pytest.raises(TransportError) as lost:
        vm.update(manual_dirty_log_protect2=1, if_match=etag)
    with pytest.raises(PreconditionFailedError):
        vm.update(manual_dirty_log_protect2=3, if_match=etag)

    assert lost.value.may_be_done
    assert vm.get().manual_dirty_log_protect2 == 1


def test_a_request_in_flight_is_waited_for(vm: Vm) -> None:
    """Many clients with one key: one is served, the others get its response."""
    vm.guest_write(range(BASE_GFN, BASE_GFN + 100))
    counts: list[int] = []

    def get() -> None:
        counts.append(known(vm.slot(0).get_dirty_log(key="one").dirty_count))

    threads = [threading.Thread(target=get) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert counts == [100] * 8


IN_FLIGHT = httpx.Response(409, json={"code": "idempotency_key_in_flight", "detail": "busy"})
REQUEST = httpx.Request("POST", "http://service/v1/vms/v/guest/write")


def test_pauses_grow_to_a_bound_and_their_sum_too() -> None:
    attempts = Attempts(REQUEST, in_flight_seconds=3)

    pauses = [attempts.responded(IN_FLIGHT) for _ in range(7)]

    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    with pytest.raises(ConflictError, match="idempotency_key_in_flight"):
        attempts.responded(IN_FLIGHT)


def test_other_refusals_are_not_retried(client: Client, vm: Vm) -> None:
    client.history.clear()

    with pytest.raises(NotFoundError):
        vm.slot(7).get_dirty_log()

    assert len(client.history) == 1


def test_a_restart_is_not_taken_for_the_service_before(service: Service) -> None:
    with serve_in_thread() as other, Client(service.url) as client:
        client.session().reset()
        vm = client.create_vm(memslots=[MEMSLOT])
        with other.client() as elsewhere:
            assert elsewhere.create_vm().vm_id == vm.vm_id  # of the same name, and without the slot
        client.http.base_url = httpx.URL(other.url)  # as a new service on the old port

        with pytest.raises(ServiceRestartedError, match="was restarted") as restarted:
            vm.get()
        with pytest.raises(ServiceRestartedError):
            client.wait_ready()
        client.accept_restart()

        assert client.get_version().instance == restarted.value.now != restarted.value.before
        assert list(vm.list_memslots()) == []
