"""Pages of the service in a real Chromium: they work under their policies, and nobody frames them."""

import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser, expect
from typing_extensions import override

from hacdbs_sim.client import Client, Service, Vm
from tests.ui.conftest import PATIENCE_MS, Opening

pytestmark = pytest.mark.slow


@pytest.fixture
def foreign() -> Generator[str]:
    """The URL of a site that frames the page that its query names."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            framed = self.path.partition("?")[2]
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(
                f'<title>foreign</title><iframe id="f" src="{framed}"></iframe>'.encode()
            )

        @override
        def log_message(self, *_: object) -> None:
            """Be silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "path", ["/docs", "/ui", "/ui/index.html", "/", "/v1/vms", "/v1/vms/none", "/nowhere"]
)
def test_a_foreign_page_that_frames_us_gets_nothing(
    browser: Browser, service: Service, foreign: str, path: str
) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        refused: list[str] = []
        page.on("console", lambda message: refused.append(message.text))

        with page.expect_console_message(lambda message: "frame-ancestors" in message.text):
            page.goto(f"{foreign}/?{service.url}{path}")
        (_, frame) = page.frames

        assert page.title() == "foreign"
        assert not frame.url.startswith(service.url)
        assert "frame-ancestors 'none'" in " ".join(refused)


def test_the_documentation_works_under_its_policy(
    opening: Opening, service: Service, client: Client, vm: Vm
) -> None:
    with opening() as watched:
        page = watched.page
        page.goto(f"{service.url}/docs")
        expect(page.locator(".opblock").first).to_be_visible()

        page.locator("#operations-vms-get_vm").get_by_role("button").first.click()
        page.get_by_role("button", name="Try it out").click()
        page.get_by_placeholder("vm_id").fill(vm.vm_id)
        page.get_by_role("button", name="Execute").click()
        expect(page.locator(".live-responses-table .response-col_status").last).to_contain_text(
            "200"
        )
        watched.settle()

    assert client.vm(vm.vm_id).get().vm_id == vm.vm_id
