"""Where the service may be: at a URL, in this process, in a thread; and waiting for it."""

import asyncio
import itertools
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest
from pydantic import ValidationError
from typing_extensions import override

from app.settings import URL_VARIABLE, Settings
from hacdbs_sim.client import (
    AsyncClient,
    Client,
    ConflictError,
    ProblemError,
    UnexpectedAnswerError,
    WaitTimeoutError,
    serve_in_thread,
)
from hacdbs_sim.client.connecting import DEFAULT_URL
from hacdbs_sim.client.in_process import ThreadTransport, load_application

TOKEN = "a-token"  # noqa: S105 - of these tests


def test_the_environment_says_where_the_service_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HACDBS_URL", raising=False)
    with Client() as client:
        assert str(client.http.base_url) == DEFAULT_URL
    with serve_in_thread(token=TOKEN) as service:
        monkeypatch.setenv("HACDBS_URL", service.url)
        monkeypatch.setenv("HACDBS_TOKEN", TOKEN)
        with Client() as client:
            assert client.get_capabilities().limits.max_vms > 0


def test_the_variable_of_clients_does_not_disturb_the_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(URL_VARIABLE, "http://127.0.0.1:9")

    Settings.from_environment()


def test_in_process_takes_settings_and_refuses_what_is_none() -> None:
    with Client.in_process(max_vms=1) as client:
        client.create_vm()
        with pytest.raises(ConflictError, match="vm_limit"):
            client.create_vm()
    with pytest.raises(ValidationError, match="max_vmz"):
        Client.in_process(max_vmz=1)


def test_in_process_a_token_is_asked_for_and_given() -> None:
    async def get() -> int:
        async with AsyncClient.in_process(token=TOKEN) as client:
            return (await client.get_capabilities()).limits.max_vms

    with Client.in_process(token=TOKEN) as client:
        assert client.get_capabilities().limits.max_vms > 0
        assert client.http.get("/v1/vms", headers={"Authorization": ""}).status_code == 401
    assert asyncio.run(get()) > 0


def test_clients_in_process_have_services_of_their_own() -> None:
    with Client.in_process() as one, Client.in_process() as other:
        one.create_vm()

        assert len(list(one.list_vms())) == 1
        assert list(other.list_vms()) == []


def test_threads_may_share_a_client_in_process() -> None:
    with Client.in_process() as client:
        vm = client.create_vm(memslots=[{"slot": 0, "guest_phys_addr": 0, "memory_size": "4MiB"}])

        def write() -> None:
            for _ in range(20):
                vm.guest_write(range(10))

        threads = [threading.Thread(target=write) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(client.history) == 81
        assert {each.status for each in client.history} == {200, 201}


def test_a_service_that_stops_or_is_closed_leaves_no_thread() -> None:
    before = threading.active_count()

    with serve_in_thread() as service, Client.in_process() as client, service.client() as other:
        assert threading.active_count() > before
        client.get_livez()
        other.get_livez()
    client.close()

    assert threading.active_count() == before


def test_what_keeps_an_application_from_starting_is_told() -> None:
    application = load_application({})._replace(asgi=object())

    with pytest.raises(AttributeError, match="router"):
        ThreadTransport(application)


def test_both_places_say_the_same() -> None:
    with Client.in_process() as near, serve_in_thread() as service, service.client() as far:
        far.wait_ready()
        assert far.get_capabilities() == near.get_capabilities()
        assert near.create_vm(seed=3).info == far.create_vm(seed=3).info


class _Other(BaseHTTPRequestHandler):
    """What else may listen at a URL."""

    def do_GET(self) -> None:
        self.send_response(502 if self.path == "/livez" else 200)
        self.end_headers()
        self.wfile.write(b"<h1>It works!</h1>")

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""


def test_something_else_at_the_url_is_told() -> None:
    with HTTPServer(("127.0.0.1", 0), _Other) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            with Client(f"http://127.0.0.1:{server.server_port}") as client:
                with pytest.raises(
                    UnexpectedAnswerError, match="GET /version: not an answer of hacdbs-sim"
                ):
                    client.get_version()
                with pytest.raises(ProblemError, match="502 <h1>It works!") as refusal:
                    client.get_livez()
        finally:
            server.shutdown()
            thread.join()
    assert (refusal.value.code, refusal.value.errors) == (None, [])


def test_ready_is_waited_for_up_to_a_bound() -> None:
    with Client("http://127.0.0.1:9", retries=0) as client:
        with pytest.raises(WaitTimeoutError, match=r"no service that is ready within 0\.05 s"):
            client.wait_ready(0.05)
        assert len(client.history) > 1


def test_a_service_that_comes_later_is_found() -> None:
    """The listener is there, but who answers comes after the first look has failed."""
    with serve_in_thread() as service, socket.create_server(("127.0.0.1", 0)) as door:
        port = httpx.URL(service.url).port
        assert port is not None
        looks = 0

        def open_late() -> None:
            nonlocal looks
            while True:
                visitor, _ = door.accept()
                looks += 1
                if looks > 2:
                    break
                visitor.close()
            with visitor, socket.create_connection(("127.0.0.1", port)) as behind:
                behind.sendall(visitor.recv(65_536))
                visitor.sendall(behind.recv(65_536))

        keeper = threading.Thread(target=open_late)
        keeper.start()
        late = f"http://127.0.0.1:{door.getsockname()[1]}"

        async def wait() -> None:
            async with AsyncClient(late, retries=0) as client:
                await client.wait_ready(10)

        asyncio.run(wait())
        keeper.join()

    assert looks == 3


def test_a_refusal_ends_the_wait() -> None:
    with serve_in_thread(allowed_hosts=("elsewhere",)) as service, service.client() as client:
        with pytest.raises(ProblemError, match="host_not_allowed"):
            client.wait_ready(10)

        assert len(client.history) == 1


def test_anything_can_be_waited_for() -> None:
    numbers = itertools.count()

    async def wait() -> int:
        async def count() -> int:
            return next(numbers) // 3

        async with AsyncClient.in_process() as client:
            found: int = await client.wait_until(count)
            with pytest.raises(WaitTimeoutError, match="no flying pig within"):
                await client.wait_until(never, 0.03, what="flying pig")
            return found

    async def never() -> bool:
        return False

    with Client.in_process() as client:
        assert client.wait_until(lambda: next(numbers) // 3) == 1
        with pytest.raises(WaitTimeoutError, match="no flying pig within"):
            client.wait_until(lambda: None, 0.03, what="flying pig")
    assert asyncio.run(wait()) >= 1
