"""Spans of requests, as the real exporter sends them to a receiver of OTLP/HTTP."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import TracerProvider
from typing_extensions import override

from app.http import telemetry
from app.main import create_app
from app.settings import LogFormat, Settings

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ROOT: Final = Path(__file__).parents[3]
TRACE: Final = "0af7651916cd43dd8448eb211c80319c"
CALLER: Final = "b7ad6b7169203331"
TRACEPARENT: Final = {"traceparent": f"00-{TRACE}-{CALLER}-01"}


class Receiver(ThreadingHTTPServer):
    """Collects what exporters post."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, ExportTraceServiceRequest]] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "HACDBS_OTEL": "1",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.server_port}",
            "NO_PROXY": "127.0.0.1",
        }

    @property
    def spans(self) -> list[Span]:
        assert all(path == "/v1/traces" for path, _ in self.posts)
        resources = [each for _, post in self.posts for each in post.resource_spans]
        return [span for each in resources for scope in each.scope_spans for span in scope.spans]

    @property
    def resource(self) -> dict[str, str]:
        attributes = self.posts[0][1].resource_spans[0].resource.attributes
        return {each.key: each.value.string_value for each in attributes}


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.append((self.path, ExportTraceServiceRequest.FromString(body)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    @override
    def log_message(self, *_: object) -> None:
        """Write nothing."""


@pytest.fixture
def receiver() -> Generator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@asynccontextmanager
async def traced(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of an application that makes spans; they are sent at its end."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    app = create_app(Settings.from_environment(log_format=LogFormat.JSON))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        yield client


def attributes(span: Span) -> dict[str, object]:
    return {
        each.key: getattr(each.value, each.value.WhichOneof("value") or "string_value")
        for each in span.attributes
    }


def traces_in(log: str) -> list[str | None]:
    lines = [json.loads(line) for line in log.splitlines()]
    return [line.get("trace_id") for line in lines if line["event"] == "request"]


async def test_a_span_continues_the_trace_and_has_the_template_and_the_status(
    monkeypatch: pytest.MonkeyPatch, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    async with traced(monkeypatch, receiver.environment) as client:
        found = await client.get("/v1/vms/none", headers=TRACEPARENT)
        assert found.status_code == 404

    (span,) = receiver.spans
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, CALLER)
    assert (span.name, span.kind) == ("GET /v1/vms/{vm_id}", Span.SPAN_KIND_SERVER)
    assert attributes(span)["http.route"] == "/v1/vms/{vm_id}"
    assert attributes(span)["http.status_code"] == 404
    assert receiver.resource["service.name"] == "hacdbs-sim"
    assert receiver.resource["service.instance.id"] == found.headers["Hacdbs-Instance"]
    assert traces_in(capsys.readouterr().err) == [TRACE]


async def test_a_request_without_a_trace_begins_one_and_the_log_names_it(
    monkeypatch: pytest.MonkeyPatch, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    async with traced(monkeypatch, receiver.environment) as client:
        await client.get("/v1/vms")
        await client.post("/v1/vms", json={})

    assert [span.name for span in receiver.spans] == ["GET /v1/vms", "POST /v1/vms"]
    begun = [span.trace_id.hex() for span in receiver.spans]
    assert len(set(begun)) == 2
    assert traces_in(capsys.readouterr().err) == begun


@pytest.mark.parametrize("path", ["/no/such/path", "/v1/vms/none/no-such"])
async def test_a_span_without_a_route_is_named_by_the_method(
    monkeypatch: pytest.MonkeyPatch, receiver: Receiver, path: str
) -> None:
    async with traced(monkeypatch, receiver.environment) as client:
        await client.get(path)
        await client.request("BREW", path)

    assert [span.name for span in receiver.spans] == ["GET", "other"]
    assert all("http.route" not in attributes(span) for span in receiver.spans)


async def test_probes_and_a_trace_that_the_caller_does_not_sample_have_no_span(
    monkeypatch: pytest.MonkeyPatch, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    async with traced(monkeypatch, receiver.environment) as client:
        for path in ("/livez", "/readyz", "/metrics"):
            assert (await client.get(path)).status_code == 200
        await client.get("/v1/vms", headers={"traceparent": f"00-{TRACE}-{CALLER}-00"})
        await client.get("/livez", headers=TRACEPARENT)
        await client.get("/version")

    assert [span.name for span in receiver.spans] == ["GET /version"]
    begun = receiver.spans[0].trace_id.hex()
    assert traces_in(capsys.readouterr().err) == [None, None, None, TRACE, TRACE, begun]


async def test_the_environment_names_the_service(
    monkeypatch: pytest.MonkeyPatch, receiver: Receiver
) -> None:
    named = {**receiver.environment, "OTEL_SERVICE_NAME": "mine"}
    async with traced(monkeypatch, named) as client:
        await client.get("/version")

    assert receiver.resource["service.name"] == "mine"


def environment_of(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HACDBS_")}
    return {**kept, **more}


def test_a_process_sends_the_spans_that_wait_when_it_stops(
    receiver: Receiver, tmp_path: Path
) -> None:
    port_file = tmp_path / "port"
    command = [sys.executable, "-m", "hacdbs_sim.cli", "serve", "--port", "0"]
    with subprocess.Popen(  # noqa: S603 - this interpreter
        [*command, "--port-file", str(port_file)],
        cwd=ROOT,
        env=environment_of(**receiver.environment, OTEL_BSP_SCHEDULE_DELAY="3600000"),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            while not port_file.exists():
                assert process.poll() is None, process.communicate()[1]
                time.sleep(0.05)
            url = f"http://127.0.0.1:{port_file.read_text().strip()}/v1/vms/none"
            httpx.get(url, headers=TRACEPARENT, trust_env=False)
            assert not receiver.posts
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0

    (span,) = receiver.spans
    assert (span.name, span.trace_id.hex()) == ("GET /v1/vms/{vm_id}", TRACE)


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment_of(**environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1", "max_queue_size must be a positive integer"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT must be"),
    ],
)
def test_a_variable_that_makes_no_sense_is_one_line(name: str, value: str, reason: str) -> None:
    ended = run("from app.main import app", HACDBS_OTEL="1", **{name: value})

    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr.startswith(f"OTEL_*: {reason}")
    assert ended.stderr.count("\n") == 1


def test_a_collector_that_does_not_answer_holds_no_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shutting down would take as long as the exporter tries again."""
    ended = threading.Event()
    given_up = threading.Event()

    class Provider(TracerProvider):
        @override
        def shutdown(self) -> None:
            given_up.wait()
            ended.set()

    monkeypatch.setattr(telemetry, "SEND_SECONDS", 0.01)
    asyncio.run(telemetry.send_the_last(Provider(shutdown_on_exit=False)))
    assert not ended.is_set()
    given_up.set()
    assert ended.wait(60)


@pytest.mark.parametrize("is_on", [False, True])
def test_nothing_of_it_is_imported_unless_it_is_on(*, is_on: bool) -> None:
    code = """
import sys
from app.main import app
names = ("app.http.telemetry", "opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.instrumentation")
print(*(name in sys.modules for name in names))
"""
    ended = run(code, HACDBS_OTEL=str(int(is_on)))

    assert ended.stdout.split() == [str(is_on)] * 4, ended.stderr


@pytest.mark.parametrize(
    "package",
    ["opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.instrumentation.asgi"],
)
@pytest.mark.parametrize(
    ("start", "status"),
    [
        ("sys.argv = ['hacdbs-sim', 'serve', '--port', '0']; hacdbs_sim.cli.main()", 2),
        ("from app.main import app", 3),
    ],
)
def test_a_package_that_is_missing_names_the_extra_and_the_service_does_not_start(
    package: str, start: str, status: int
) -> None:
    code = f"import sys, hacdbs_sim.cli; sys.modules[{package!r}] = None; {start}"

    ended = run(code, HACDBS_OTEL="1")

    assert (ended.returncode, ended.stdout) == (status, ""), ended.stderr
    line = f"hacdbs-sim needs the extra `otel`: pip install -e '{ROOT}[otel]'"
    assert ended.stderr == f"HACDBS_OTEL: {line}\n"
