"""create_app(): the one place that joins all parts. `uvicorn app.main:app` serves it."""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING

from structlog.typing import FilteringBoundLogger

from .http import rendering
from .http.application import Application
from .http.deps import Context
from .http.metrics import Metrics
from .http.middleware import ServiceMiddleware
from .http.openapi import DESCRIPTION, SUMMARY, TITLE, VERSION
from .http.request_log import RequestLog
from .http.room import TrafficMiddleware
from .http.router import PathRouter
from .http.routes import ROUTERS, ROUTES, prepare_answers
from .http.startup_scenario import ScenarioNotStartedError, start_with
from .http.tracing import trace_id_of
from .logs import adopt_server, make_logger
from .server.workers import STARTUP_FAILURE, MoreWorkersError, check_one_worker
from .service.fleet import Fleet
from .service.limits import Limits
from .settings import BadSettingsError, LogLevel, Settings, read_settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider


@asynccontextmanager
async def _lifespan(
    app: Application,
    *,
    settings: Settings,
    logger: FilteringBoundLogger,
    request_log: RequestLog | None,
    telemetry: "TracerProvider | None",
) -> AsyncGenerator[None]:
    # Here, for a server may configure its loggers after it has loaded us
    adopt_server(settings.log_format)
    app.begin()
    if (scenario := settings.scenario) is not None:
        try:
            verdict = await start_with(app.context.fleet, scenario)
        except ScenarioNotStartedError as refused:
            app.refused_start = str(refused)
            raise
        logger.info("scenario", scenario=scenario, verdict=verdict)
    yield
    await app.end()
    if request_log is not None:
        request_log.flush()
    if telemetry is not None:
        from .http.telemetry import send_the_last  # noqa: PLC0415 - of an extra

        await send_the_last(telemetry)


def create_app(settings: Settings | None = None) -> Application:
    """Create an application with its own fleet; settings are read from the environment if absent.

    With the setting `otel` it makes spans until its lifespan ends.

    Raises:
        BadSettingsError: An OTEL_* variable has no usable value.
    """
    settings = settings or Settings.from_environment()
    fleet = Fleet(
        Limits(**{each.name: getattr(settings, each.name) for each in fields(Limits)}),
        host_kvm=settings.host_kvm,
    )
    metrics = Metrics(fleet)
    logger = make_logger(settings.log_format, settings.log_level)
    logs_requests = settings.log_level in {LogLevel.DEBUG, LogLevel.INFO}
    request_log = RequestLog(settings.log_format) if logs_requests else None
    telemetry: TracerProvider | None = None
    find_trace_id = trace_id_of
    if settings.otel:
        try:
            from .http.telemetry import make_provider, trace_id_of_span  # noqa: PLC0415 - of an extra

            telemetry = make_provider(fleet.instance)
        except ValueError as error:  # some OTEL_* are read by the import
            raise BadSettingsError(f"OTEL_*: {error}") from None
        find_trace_id = trace_id_of_span
    app = Application(
        title=TITLE,
        version=VERSION,
        summary=SUMMARY,
        description=DESCRIPTION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=partial(
            _lifespan,
            settings=settings,
            logger=logger,
            request_log=request_log,
            telemetry=telemetry,
        ),
        # One span a request, whatever the process has; its figures are those of /metrics
        telemetry={"tracing": telemetry is None, "metrics": False, "logs": False},
    )
    app.context = Context(
        fleet,
        metrics,
        settings.max_body_bytes,
        min(settings.max_batch_bytes, settings.max_body_bytes),
    )
    for router in ROUTERS:
        app.include_router(router)
    rendering.install(app, ROUTES)
    # The last one added comes first
    app.add_middleware(PathRouter, routes=ROUTES)
    app.add_middleware(TrafficMiddleware, budget=fleet.traffic)
    app.add_middleware(
        ServiceMiddleware,
        metrics=metrics,
        logger=logger,
        request_log=request_log,
        allowed_hosts=settings.allowed_hosts,
        token=None if settings.token is None else settings.token.get_secret_value(),
        instance=fleet.instance,
        trace_id_of=find_trace_id,
    )
    if telemetry is not None:
        from .http.telemetry import TelemetryMiddleware  # noqa: PLC0415 - of an extra

        app.add_middleware(TelemetryMiddleware, provider=telemetry)
    return app


def _app_of_environment() -> Application:
    """Create the application of `uvicorn app.main:app`; end with one line if it must not start."""
    try:
        check_one_worker()
        settings = read_settings()
        adopt_server(settings.log_format)  # before uvicorn reports that it starts
        prepare_answers()
        return create_app(settings)
    except (MoreWorkersError, BadSettingsError) as refused:
        sys.stderr.write(f"{refused}\n")
        sys.exit(STARTUP_FAILURE)


if TYPE_CHECKING:
    app: Application
else:

    def __getattr__(name: str) -> object:
        # `app` is made when a server asks for it: others import this module for create_app
        if name != "app":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        made = globals()["app"] = _app_of_environment()
        return made
