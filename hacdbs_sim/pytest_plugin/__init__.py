"""pytest plugin: a service for the tests, a session for each, and a report of it on failure.

pytest loads this before it measures coverage, and into every run of an environment. So this module
imports nothing of the application: a fixture does, when it is first asked for.
"""

import inspect
import os
import secrets
from collections.abc import Generator
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from hacdbs_sim.client import AsyncClient, AsyncSession, Client, Service, Session
    from hacdbs_sim.pytest_plugin.testbed import AsyncVmFactory, Testbed, VmFactory

SEED_KEY: Final = pytest.StashKey[int]()
TESTBED_KEY: Final = pytest.StashKey["Testbed"]()
RUNS_KEY: Final = pytest.StashKey[dict[str, Any]]()
SETTINGS_KEY: Final = pytest.StashKey[dict[str, Any]]()
WORKER_INPUT: Final = "hacdbs_seed"
URL_VARIABLE: Final = "HACDBS_URL"


def _seed(text: str) -> int:
    if text == "random":
        return secrets.randbelow(1 << 32)
    seed = int(text)
    if seed < 0:
        raise ValueError(text)
    return seed


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("hacdbs-sim")
    group.addoption(
        "--hacdbs-url",
        metavar="URL",
        default=None,
        help="The service (default: HACDBS_URL; without it one is served in a thread).",
    )
    group.addoption(
        "--hacdbs-seed",
        metavar="N",
        type=_seed,
        default=0,
        help="Source of the VMs' seeds: a number, or `random` (default: 0).",
    )
    group.addoption(
        "--hacdbs-report",
        metavar="FILE",
        default=None,
        help="Write an HTML file with the migrations, comparisons and scenarios of each test.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark, and set the seed: all workers have that of the run."""
    config.addinivalue_line(
        "markers",
        "hacdbs(**fields): parameters of Session.create_vm for the VMs that hacdbs_vm creates.",
    )
    worker: dict[str, Any] = getattr(config, "workerinput", {})
    config.stash[SEED_KEY] = worker.get(WORKER_INPUT, config.getoption("--hacdbs-seed"))
    if not worker and (path := config.getoption("--hacdbs-report")) is not None:
        from hacdbs_sim.pytest_plugin.report_file import ReportFile  # noqa: PLC0415 - see above

        config.pluginmanager.register(ReportFile(path, config.stash[SEED_KEY]))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # noqa: ANN401 - a class of pytest-xdist
    """Pass the seed to a worker."""
    node.workerinput[WORKER_INPUT] = node.config.stash[SEED_KEY]


def pytest_report_header(config: pytest.Config) -> str:
    """Return the seed and the service, to repeat the run."""
    place = _url(config) or "one in a thread"
    return f"hacdbs-sim: --hacdbs-seed={config.stash[SEED_KEY]}, service: {place}"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Check the marks of a test, whether or not it uses a fixture that heeds them."""
    if item.get_closest_marker("hacdbs") is not None:
        from hacdbs_sim.pytest_plugin.marks import settings_of  # noqa: PLC0415 - see above

        item.stash[SETTINGS_KEY] = settings_of(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add a failed test's migrations, VMs and requests to its report, and how to run it again."""
    report = yield
    if report.when == "teardown" and (runs := item.stash.get(RUNS_KEY, None)) is not None:
        vars(report)["hacdbs_runs"] = runs  # pytest sends it along, from a worker too
        del item.stash[RUNS_KEY]
    testbed = item.stash.get(TESTBED_KEY, None)
    if report.failed and testbed is not None and report.when != "teardown":
        report.sections += testbed.sections()
    return report


def _url(config: pytest.Config) -> str | None:
    url: str | None = config.getoption("--hacdbs-url")
    return url or os.environ.get(URL_VARIABLE) or None


def _why_not_ready(service: "Service", config: pytest.Config) -> str:
    """Wait until a service is ready; return why it is not, or nothing."""
    from hacdbs_sim.client import ClientError, TransportError, WaitTimeoutError  # noqa: PLC0415 - see above
    from hacdbs_sim.client.waiting import READY_SECONDS  # noqa: PLC0415

    source = "--hacdbs-url" if config.getoption("--hacdbs-url") else URL_VARIABLE
    try:
        with service.client() as client:
            client.wait_ready(READY_SECONDS)
    except WaitTimeoutError as error:
        why = error.cause.cause if isinstance(error.cause, TransportError) else error.cause
        return (
            f"no service at {service.url} (from {source}) within {READY_SECONDS:g} s: {why};"
            f" start one with `hacdbs-sim serve`, or leave {source} out"
        )
    except (ClientError, ValueError) as error:
        return f"{source}={service.url}: {error}"
    return ""


@pytest.fixture(scope="session")
def hacdbs_server(pytestconfig: pytest.Config) -> "Generator[Service]":
    """The service of --hacdbs-url or HACDBS_URL, else one in a thread of this process."""
    from hacdbs_sim.client import Service, serve_in_thread  # noqa: PLC0415 - see above
    from hacdbs_sim.client.connecting import token_of_environment  # noqa: PLC0415
    from hacdbs_sim.launcher import MissingExtraError  # noqa: PLC0415

    if (url := _url(pytestconfig)) is not None:
        service = Service(url, token_of_environment())
        if reason := _why_not_ready(service, pytestconfig):
            raise pytest.fail.Exception(reason, pytrace=False)
        yield service
        return
    with ExitStack() as stack:
        try:
            service = stack.enter_context(serve_in_thread())
        except MissingExtraError as error:
            reason = f"{error}; or name a service that runs: {URL_VARIABLE}"
            raise pytest.fail.Exception(reason, pytrace=False) from None
        yield service


@pytest.fixture
def hacdbs_testbed(
    request: pytest.FixtureRequest, hacdbs_server: "Service"
) -> "Generator[Testbed]":
    """What the other fixtures of a test share."""
    from hacdbs_sim.pytest_plugin.testbed import Testbed  # noqa: PLC0415 - see above

    is_shared = _url(request.config) is not None
    seed = request.config.stash[SEED_KEY]
    with hacdbs_server.client() as client:
        testbed = Testbed(
            hacdbs_server,
            client,
            request.node.nodeid,
            seed,
            is_shared=is_shared,
            settings=request.node.stash.get(SETTINGS_KEY, None),
        )
        request.node.stash[TESTBED_KEY] = testbed
        yield testbed
    del request.node.stash[TESTBED_KEY]


@pytest.fixture
def hacdbs_client(hacdbs_testbed: "Testbed") -> "Client":
    """A client of the service; if the test fails, its last requests are reported."""
    return hacdbs_testbed.client


@pytest.fixture
def hacdbs_session(
    request: pytest.FixtureRequest, hacdbs_testbed: "Testbed"
) -> "Generator[Session]":
    """A session of the test, deleted after it; if the test fails, its VMs are reported.

    What migrated in it is among the test's properties, which JUnit files have, and in the file of
    --hacdbs-report.
    """
    from hacdbs_sim.client import NotFoundError  # noqa: PLC0415 - see above

    session = hacdbs_testbed.create_session()
    yield session
    is_reported = request.config.getoption("--hacdbs-report") is not None
    runs = hacdbs_testbed.kept_runs(is_reported=is_reported)
    if is_reported:
        request.node.stash[RUNS_KEY] = runs.plain()
    request.node.user_properties += runs.properties()
    with suppress(NotFoundError):  # the test may have deleted it
        session.delete()


@pytest.fixture
def hacdbs_vm(hacdbs_testbed: "Testbed", hacdbs_session: "Session") -> "VmFactory":
    """A factory of VMs in the test's session; by default of 64 MiB with a dirty log.

    Its parameters are those of `Session.create_vm`. Seeds are derived from --hacdbs-seed and the
    test's name.
    """
    from hacdbs_sim.pytest_plugin.testbed import VmFactory  # noqa: PLC0415 - see above

    return VmFactory(hacdbs_session, hacdbs_testbed)


@pytest.fixture
def hacdbs_async_client(request: pytest.FixtureRequest, hacdbs_testbed: "Testbed") -> "AsyncClient":
    """An `AsyncClient` of the service, for tests that pytest-asyncio or anyio's plugin runs.

    It needs no `async with`, and belongs to no event loop: none of its connections outlasts a request.
    """
    is_run = "anyio_backend" in request.fixturenames or request.node.get_closest_marker("asyncio")
    if inspect.iscoroutinefunction(request.function) and not is_run:
        reason = (
            f"{request.node.nodeid}: nothing runs this coroutine: mark it with @pytest.mark.anyio, or"
            " with @pytest.mark.asyncio where pytest-asyncio is installed"
        )
        raise pytest.fail.Exception(reason, pytrace=False)
    return hacdbs_testbed.async_client


@pytest.fixture
def hacdbs_async_session(
    hacdbs_async_client: "AsyncClient", hacdbs_session: "Session"
) -> "AsyncSession":
    """The test's session, for coroutines."""
    return hacdbs_async_client.session(hacdbs_session.session_id)


@pytest.fixture
def hacdbs_async_vm(
    hacdbs_testbed: "Testbed", hacdbs_async_session: "AsyncSession"
) -> "AsyncVmFactory":
    """A factory of VMs in the test's session, as `hacdbs_vm`, whose calls are awaited."""
    from hacdbs_sim.pytest_plugin.testbed import AsyncVmFactory  # noqa: PLC0415 - see above

    return AsyncVmFactory(hacdbs_async_session, hacdbs_testbed)
