"""The client with a URL, in process and with a thread; and waiting until the service is ready."""

import asyncio
import itertools
import re
import socket
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest
from typing_extensions import override

from app.settings import URL_VARIABLE, Settings
from hacdbs_sim.client import (
    AsyncClient,
    Client,
    ConflictError,
    ProblemError,
    UnexpectedResponseError,
    WaitTimeoutError,
    serve_in_thread,
)
from hacdbs_sim.client.connecting import DEFAULT_URL
from hacdbs_sim.client.in_process import ThreadTransport, load_application

TOKEN = "a-token"  # noqa: S105 - of these tests


def test_the_environment_sets_the_url_and_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HACDBS_URL", raising=False)
    with Client() as client:
        assert str(client.http.base_url) == DEFAULT_URL
    with serve_in_thread(token=TOKEN) as service:
        monkeypatch.setenv("HACDBS_URL", service.url)
        monkeypatch.setenv("HACDBS_TOKEN", TOKEN)
        with Client() as client:
            assert client.get_capabilities().limits.max_vms > 0


@pytest.mark.parametrize(
    ("url", "refusal"),
    [
        ("foo", 'url must begin with http:// or https:// (got "foo")'),
        ("localhost:8000", "url must begin with http"),
        ("ftp://127.0.0.1/", "url must begin with http"),
        ("http://", "url must name a host"),
        ("http://[::1", "url is malformed: "),
        ("http://127.0.0.1:8000/v1", "url must not have the version: leave out /v1 (got "),
        ("http://127.0.0.1:8000/?page=1", "url must have no query and no fragment (got "),
    ],
)
def test_a_url_that_is_none_is_rejected_at_once(url: str, refusal: str) -> None:
    for client in (Client, AsyncClient):
        with pytest.raises(ValueError, match=re.escape(refusal)):
            client(url)


def test_a_url_of_the_environment_is_rejected_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HACDBS_URL", "foo")

    with pytest.raises(ValueError, match="HACDBS_URL must begin with"):
        Client()


@pytest.mark.parametrize("token", ["s\u00e9cret", "two parts", "line\n"])
def test_a_token_that_no_header_carries_is_rejected_and_not_shown(token: str) -> None:
    with pytest.raises(ValueError, match=r"^token must be visible ASCII characters$"):
        Client(token=token)


def test_the_variable_of_clients_does_not_disturb_the_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(URL_VARIABLE, "http://127.0.0.1:9")

    Settings.from_environment()


def test_in_process_takes_settings_and_rejects_unknown_ones() -> None:
    with Client.in_process(max_vms=1) as client:
        client.create_vm()
        with pytest.raises(ConflictError, match="vm_limit"):
            client.create_vm()
    with pytest.raises(
        ValueError, match=r"^unknown setting max_vmz; the settings are allowed_hosts, "
    ):
        Client.in_process(max_vmz=1)


def test_in_process_the_token_is_checked_and_sent() -> None:
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


def test_an_application_that_cannot_start_raises_its_exception() -> None:
    application = load_application({})._replace(asgi=object())

    with pytest.raises(AttributeError, match="router"):
        ThreadTransport(application)


def test_in_process_and_over_http_return_the_same() -> None:
    with Client.in_process() as near, serve_in_thread() as service, service.client() as far:
        far.wait_ready()
        assert far.get_capabilities() == near.get_capabilities()
        here, there = near.create_vm(seed=3).info, far.create_vm(seed=3).info
        assert here is not None
        assert there is not None
        assert replace(here, etag=None) == replace(there, etag=None)
        assert here.etag != there.etag  # each names its service


class _Other(BaseHTTPRequestHandler):
    """What else may listen at a URL."""

    def do_GET(self) -> None:
        self.send_response(502 if self.path == "/livez" else 200)
        self.end_headers()
        self.wfile.write(b"<h1>It works!</h1>")

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""


def test_a_response_of_another_server_is_an_exception() -> None:
    with HTTPServer(("127.0.0.1", 0), _Other) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            with Client(f"http://127.0.0.1:{server.server_port}") as client:
                with pytest.raises(
                    UnexpectedResponseError, match="GET /version: not a response of hacdbs-sim"
                ):
                    client.get_version()
                with pytest.raises(ProblemError, match="502 <h1>It works!") as refusal:
                    client.get_livez()
        finally:
            server.shutdown()
            thread.join()
    assert (refusal.value.code, refusal.value.errors) == (None, [])


def test_wait_ready_has_a_timeout() -> None:
    with Client("http://127.0.0.1:9", retries=0) as client:
        with pytest.raises(WaitTimeoutError, match=r"no service that is ready within 0\.05 s"):
            client.wait_ready(0.05)
        assert len(client.history) > 1


def test_a_service_that_comes_later_is_found() -> None:
    """The listener is there, but the first two connections are closed without a response."""
    with serve_in_thread() as service, socket.create_server(("127.0.0.1", 0)) as listener:
        port = httpx.URL(service.url).port
        assert port is not None
        connections = 0

        def open_late() -> None:
            nonlocal connections
            while True:
                near, _ = listener.accept()
                connections += 1
                if connections > 2:
                    break
                near.close()
            with near, socket.create_connection(("127.0.0.1", port)) as far:
                far.sendall(near.recv(65_536))
                response = b""
                while not response.endswith(b"}"):
                    response += far.recv(65_536)
                near.sendall(response)

        relay = threading.Thread(target=open_late)
        relay.start()
        late = f"http://127.0.0.1:{listener.getsockname()[1]}"

        async def wait() -> None:
            async with AsyncClient(late, retries=0) as client:
                await client.wait_ready(10)

        asyncio.run(wait())
        relay.join()

    assert connections == 3


def test_a_refusal_ends_the_wait() -> None:
    with serve_in_thread() as service, Client(service.url) as client:
        client.http.base_url = httpx.URL(f"{service.url}/elsewhere")
        with pytest.raises(ProblemError, match="no_such_path"):
            client.wait_ready(10)

        assert len(client.history) == 1


def test_wait_until_calls_its_predicate_until_it_is_true() -> None:
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
