"""OpenTelemetry: a span for each request, sent over OTLP/HTTP. Imported only if HACDBS_OTEL is on."""

import asyncio
import threading
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, format_trace_id, get_current_span
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .build import NAME, installed_version
from .middleware import ANY_HOST_PATHS, NO_ROUTE, method_and_route
from .tracing import trace_id_of

SEND_SECONDS: Final = 2.0
"""How long a stop waits for a collector; the calls in flight have had their seconds before."""


def make_provider(instance: str) -> TracerProvider:
    """Return a provider that exports as the OTEL_* environment says, until `send_the_last()`.

    It is not the global one of the process, so each application has its own.

    Raises:
        ValueError: An OTEL_* variable has no usable value.
    """
    ours = {
        "service.name": NAME,
        "service.version": installed_version(),
        "service.instance.id": instance,
    }
    resource = Resource.create(ours).merge(OTELResourceDetector().detect())  # the user's come last
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


async def send_the_last(provider: TracerProvider) -> None:
    """Shut a provider down, which sends the spans that wait; for no longer than SEND_SECONDS."""
    # A daemon: the process need not wait for a collector that does not answer
    sending = threading.Thread(target=provider.shutdown, daemon=True)
    sending.start()
    await asyncio.to_thread(sending.join, SEND_SECONDS)


def trace_id_of_span(scope: Scope) -> str | None:
    """Return the trace id of the request's span; of a request without one, what its caller names."""
    span = get_current_span().get_span_context()
    return format_trace_id(span.trace_id) if span.is_valid else trace_id_of(scope)


class TelemetryMiddleware:
    """Middleware that makes a span of each request, named by its method and the route's template."""

    def __init__(self, app: ASGIApp, *, provider: TracerProvider) -> None:
        self._app = app
        self._traced = OpenTelemetryMiddleware(
            self._serve_named,
            default_span_details=lambda scope: (method_and_route(scope)[0], {}),
            tracer_provider=provider,
            meter_provider=NoOpMeterProvider(),  # /metrics has them
            exclude_spans=["receive", "send"],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        is_traced = scope["type"] == "http" and scope["path"] not in ANY_HOST_PATHS
        await (self._traced if is_traced else self._app)(scope, receive, send)

    async def _serve_named(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, and name its span once the route is known: the last piece sent ends it."""
        span = get_current_span()

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                _name(span, scope)
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        finally:
            _name(span, scope)  # if the client has gone before


def _name(span: Span, scope: Scope) -> None:
    method, route = method_and_route(scope)
    if span.is_recording() and route != NO_ROUTE:
        span.update_name(f"{method} {route}")
        span.set_attribute("http.route", route)
