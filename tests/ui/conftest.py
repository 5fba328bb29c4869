"""The page in a real Chromium, on a real server; its hidden errors fail a test as well."""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from hacdbs_sim.client import Client, Service, Vm, serve_in_thread

CHROMIUM: Final = Path("/usr/bin/chromium")
MEMSLOT: Final[Any] = {
    "slot": 0,
    "guest_phys_addr": 0x40000000,
    "memory_size": "16MiB",
    "flags": ["LOG_DIRTY_PAGES"],
}
BASE_GFN: Final = 0x40000


@dataclass(slots=True)
class Watched:
    """A page, and its hidden faults: errors, and requests to other hosts."""

    page: Page
    url: str
    wrongs: list[str] = field(default_factory=list)
    unanswered: set[Request] = field(default_factory=set)
    """Requests in flight, but for the stream of events, which does not end."""

    def watch(self, *, expects_refusals: bool) -> None:
        def hear(message: ConsoleMessage) -> None:
            is_refusal = message.text.startswith("Failed to load resource")
            is_ours = message.text.startswith("Canvas2D: Multiple readback")  # a test reads pixels
            if message.type not in {"error", "warning"} or is_ours:
                return
            if not (expects_refusals and is_refusal):
                self.wrongs.append(message.text)

        def answered(request: Request) -> None:
            self.unanswered.discard(request)

        def check(request: Request) -> None:
            if "/v1/events" not in request.url:
                self.unanswered.add(request)
            if not request.url.startswith(self.url + "/"):
                self.wrongs.append(request.url)

        self.page.on("console", hear)
        self.page.on("pageerror", lambda error: self.wrongs.append(str(error)))
        self.page.on("request", check)
        self.page.on("requestfinished", answered)
        self.page.on("requestfailed", answered)

    def settle(self) -> None:
        """Wait until the page has all its responses and has drawn them."""
        while True:
            self.page.evaluate(
                "new Promise((drawn) => requestAnimationFrame(() => setTimeout(drawn)))"
            )
            if not self.unanswered:
                return

    def go(self, place: str) -> Page:
        self.page.goto(f"{self.url}/ui{place}")
        return self.page


PATIENCE_MS: Final = 600_000
"""The maximum time to wait for an expected change."""

expect.set_options(timeout=PATIENCE_MS)

Opening = Callable[..., AbstractContextManager[Watched]]


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    """A browser for a module's tests, gone before those of another module begin.

    While playwright runs, its event loop counts as the running one of this thread, so that no
    other test of the same worker could run one.
    """
    if not CHROMIUM.exists():
        pytest.skip(f"the page is not tested: there is no {CHROMIUM}, which .ci/run installs")
    with sync_playwright() as playwright:
        # As root its sandbox cannot be; what it is shown comes from this checkout alone
        launched = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def service() -> Generator[Service]:
    with serve_in_thread(log_level="error") as running:
        yield running


@pytest.fixture
def client(service: Service) -> Generator[Client]:
    with service.client() as opened:
        yield opened
        opened.session().reset()


@pytest.fixture
def vm(client: Client) -> Vm:
    return client.create_vm(name="src", vcpus=2, memslots=[MEMSLOT])


@pytest.fixture
def opening(
    browser: Browser,
    service: Service,
    client: Client,  # noqa: ARG001 - closed after the page
) -> Opening:
    """The way a test opens the page; at its end, hidden errors fail the test.

    It needs the client so that the page is closed before the VMs are deleted, which it would report.
    """

    @contextmanager
    def open_page(
        url: str = service.url, *, expects_refusals: bool = False, **context: Any
    ) -> Generator[Watched]:
        with browser.new_context(reduced_motion="reduce", **context) as opened:
            page = opened.new_page()
            page.set_default_timeout(PATIENCE_MS)
            watched = Watched(page, url)
            watched.watch(expects_refusals=expects_refusals)
            yield watched
        assert watched.wrongs == []

    return open_page


@pytest.fixture
def watched(opening: Opening) -> Generator[Watched]:
    with opening() as opened:
        yield opened
