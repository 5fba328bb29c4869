"""The first visit, scenarios step by step, and the documents of the API behind a token."""

import re
from collections.abc import Generator

import pytest
from playwright.sync_api import expect

from hacdbs_sim.client import Client, serve_in_thread
from tests.ui.conftest import Opening, Watched

pytestmark = pytest.mark.slow

LONG = 600_000
DEMO = "ui-cpu-unplugged-mid-migration"


@pytest.fixture(autouse=True)
def _sessions(client: Client) -> Generator[None]:
    """Delete the sessions that a test makes."""
    yield
    for session in client.list_sessions():
        if session.session_id != "default":
            client.session(session.session_id).delete()


def test_a_first_visit_reads_what_this_is_and_runs_the_demo(
    watched: Watched, client: Client
) -> None:
    page = watched.go("/")
    welcome = page.get_by_role("region", name="Virtual machines that track their dirty pages")
    expect(welcome).to_contain_text("FEAT_HACDBS")

    welcome.get_by_role("button", name="Run the demo").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("cpu-unplugged-mid-migration")
    expect(page.locator("#verdict")).to_have_text("passed: all is as expected.", timeout=LONG)
    assert client.session(DEMO).get_scenario().verdict == "passed"
    page.get_by_role("link", name=re.compile(f"{DEMO}-m1: completed")).click()
    expect(page.locator("#verdict")).to_contain_text("Every page arrived", timeout=LONG)
    page.get_by_role("link", name="VMs").click()
    expect(page.get_by_role("link", name=f"{DEMO}-1")).to_be_visible()
    expect(welcome).to_be_hidden()


def test_a_scenario_is_found_run_and_played_step_by_step(watched: Watched, client: Client) -> None:
    page = watched.go("#/scenarios")
    page.get_by_label("Find").fill("read-fails-after")
    expect(page.get_by_role("button", name="Run all-set-over-holes")).to_have_count(0)
    page.get_by_role("button", name="Run read-fails-after-clearing").click()
    expect(page.locator("#verdict")).to_contain_text("passed", timeout=LONG)
    step = page.locator("#step")
    expect(step).to_contain_text("Step 0: guest_write on src, passed, status 200")

    page.get_by_role("button", name="Next").click()

    expect(step).to_contain_text("Step 1: get_dirty_log")
    expect(step).to_contain_text("EFAULT")
    expect(page.locator(".steps li[aria-current]")).to_have_text("get_dirty_log on src")
    page.get_by_role("button", name="Play").click()
    expect(step).to_contain_text("Step 2: get_dirty_log")
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    page.get_by_role("button", name="Reset session").click()
    page.get_by_role("dialog").get_by_role("button", name="Reset").click()
    expect(page.get_by_text("No session has a scenario.")).to_be_visible()
    assert client.session("ui-read-fails-after-clearing").get().vm_count == 0


def test_a_scenario_that_fails_says_where(watched: Watched, client: Client) -> None:
    session = client.create_session("wrong")
    step = {
        "vm": "src",
        "action": {"op": "advance_clock", "duration_ns": 5},
        "expect": {"body": {"now_ns": 7}},
    }
    session.put_scenario({"scenario": "wrong", "vms": [{"key": "src"}], "steps": [step]})

    page = watched.go("#/scenarios")
    page.get_by_role("link", name="wrong").click()

    expect(page.locator("#verdict")).to_have_text("failed")
    expect(page.locator("#step .wrong")).to_contain_text("/body/now_ns")
    expect(page.locator("#step .wrong")).to_contain_text("expected 7, found 5")


def test_the_documents_of_the_api_are_used_with_a_token(opening: Opening) -> None:
    with (
        serve_in_thread(log_level="error", token="let-me-in") as guarded,  # noqa: S106 - the test's own
        opening(guarded.url, expects_refusals=True) as watched,
    ):
        page = watched.page
        page.goto(f"{guarded.url}/docs")
        page.get_by_role("button", name="Authorize").first.click()
        page.get_by_label("auth-bearer-value").fill("let-me-in")
        page.get_by_role("button", name="Apply credentials").click()
        page.get_by_role("button", name="Close").click()
        page.locator("#operations-vms-list_vms .opblock-summary").click()
        page.get_by_role("button", name="Try it out").click()

        page.get_by_role("button", name="Execute").click()

        expect(
            page.locator(".live-responses-table tr.response .response-col_status").first
        ).to_contain_text("200")
