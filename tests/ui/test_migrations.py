"""Migrations and comparisons on the page, while they run and afterwards."""

import re

import pytest
from playwright.sync_api import Locator, expect

from hacdbs_sim.client import Client
from tests.ui.conftest import Watched

pytestmark = pytest.mark.slow


LONG = 600_000
LEAST_HEIGHT = 1.5
"""A bar that is not nothing is never lower, so that it can be seen."""


def heights_of(bars: Locator) -> list[float]:
    return [float(bar.get_attribute("height") or 0) for bar in bars.all()]


def test_a_migration_is_begun_watched_and_read(watched: Watched, client: Client) -> None:
    page = watched.go("#/migrations")
    card = page.get_by_role("region", name="Preset: converges")
    card.get_by_role("button").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("default-m1")
    verdict, bars = page.locator("#verdict"), page.locator("#chart .bar-left")
    expect(verdict).to_contain_text("active")
    expect(bars.first).to_be_attached()

    expect(verdict).to_contain_text("completed, converged", timeout=LONG)

    report = client.http.get("/v1/migrations/default-m1").json()
    passes = len(report["iterations"])
    expect(verdict).to_contain_text("Every page arrived as it was at the switch-over.")
    expect(page.get_by_role("table", name="Passes").get_by_role("row")).to_have_count(passes + 1)
    expect(bars).to_have_count(passes)
    by_powers = heights_of(bars)
    page.get_by_role("button", name="Linear").click()
    heights = heights_of(bars)
    sent = heights_of(page.locator("#chart .bar-sent"))
    for row, left_height, sent_height in zip(report["iterations"], heights, sent, strict=True):
        if min(left_height, sent_height) > LEAST_HEIGHT:
            share = row["remaining_pages"] / row["sent_pages"]
            assert left_height / sent_height == pytest.approx(share, rel=0.01)
    assert heights[0] > LEAST_HEIGHT
    assert heights[-1] == 0
    expect(page.get_by_role("img", name=re.compile("Convergence: after pass"))).to_be_visible()
    assert all(high >= low for low, high in zip(heights, by_powers, strict=True))
    assert by_powers != heights
    expect(page.get_by_role("button", name="Cancel migration")).to_be_hidden()


def test_a_migration_that_does_not_end_is_cancelled(watched: Watched, client: Client) -> None:
    page = watched.go("#/migrations")
    page.get_by_role("region", name="Preset: never converges").get_by_role("button").click()
    expect(page.locator("#verdict")).to_contain_text("active")

    page.get_by_role("button", name="Cancel migration").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel it").click()

    verdict = page.locator("#verdict")
    expect(verdict).to_contain_text("cancelled", timeout=LONG)
    expect(verdict).to_contain_text("No page lost: what differs is in the log")
    expect(verdict).not_to_contain_text("switch-over")
    assert client.http.get("/v1/migrations/default-m1").json()["reason"] == "cancel"
    page.get_by_role("link", name="Migrations").click()
    expect(page.get_by_role("table", name="Migrations")).to_contain_text("cancelled, cancel")


def test_a_machine_is_migrated_from_its_own_page(watched: Watched, client: Client) -> None:
    vm = client.create_vm(memslots=[{"slot": 0, "guest_phys_addr": 0, "memory_size": "4MiB"}])
    page = watched.go(f"#/vms/{vm.vm_id}")
    page.get_by_label("Pace, ms a pass").fill("0")

    page.get_by_role("button", name="Start migration").click()

    expect(page.locator("#verdict")).to_contain_text("completed", timeout=LONG)
    expect(page.get_by_role("link", name=vm.vm_id)).to_be_visible()


def test_variants_are_compared_side_by_side(watched: Watched, client: Client) -> None:
    page = watched.go("#/comparisons")
    page.get_by_label("Memory").select_option("256MiB")
    page.get_by_label("Pace, ms a pass").fill("0")
    page.get_by_role("button", name="Compare").click()

    rows = page.get_by_role("table", name="Variants").get_by_role("row")
    expect(rows).to_have_count(4)
    expect(rows.filter(has_text="completed")).to_have_count(3, timeout=LONG)

    received = client.http.get("/v1/comparisons/default-c1").json()["rows"]
    assert [row["name"] for row in received] == ["hacdbs", "software", "faults"]
    for number, row in enumerate(received, 1):
        expect(rows.nth(number)).to_contain_text(row["name"])
        expect(rows.nth(number)).to_contain_text(f"{row['hardware_cleaned']:,}")
    expect(page.locator("#chart path.line")).to_have_count(3)
    expect(page.locator("#costs path.line")).to_have_count(3)
    differs = page.get_by_role("table", name="What differs")
    expect(differs.get_by_role("row").nth(2)).to_contain_text("hacdbs false")
    expect(differs.get_by_role("row").nth(3)).to_contain_text("type ipaf")
    expect(page.locator("#shared")).to_contain_text("256 MiB, hot set at 200,000 writes a second")


def test_a_report_is_saved_and_query_migrate_has_units(watched: Watched, client: Client) -> None:
    vm = client.create_vm(memslots=[{"slot": 0, "guest_phys_addr": 0, "memory_size": "4MiB"}])
    migration = vm.start_migration()
    migration.wait()
    page = watched.go(f"#/migrations/{migration.migration_id}")
    expect(page.locator("#verdict")).to_contain_text("completed", timeout=LONG)
    figures = page.get_by_role("region", name="query-migrate")
    expect(figures).to_contain_text("4 MiB")
    expect(figures).to_contain_text(re.compile(r"total-time\s*\d+ ms"))

    with page.expect_download() as begun:
        page.get_by_role("button", name="Save report").click()

    saved = begun.value
    assert saved.suggested_filename == f"{migration.migration_id}.html"
    assert saved.path().read_text(encoding="utf-8") == migration.report()


def test_a_waiting_migration_is_continued_and_the_page_shows_what_was_changed(
    watched: Watched, client: Client
) -> None:
    vm = client.create_vm(memslots=[{"slot": 0, "guest_phys_addr": 0, "memory_size": "4MiB"}])
    migration = vm.start_migration(
        pause_before_switchover=True,
        schedule=[{"iteration": 999, "set": {"command": "switch_over"}}],
    )
    page = watched.go(f"#/migrations/{migration.migration_id}")
    expect(page.locator("#verdict")).to_contain_text("pre-switchover", timeout=LONG)
    expect(page.get_by_role("button", name="Switch over")).to_be_hidden()

    page.get_by_role("button", name="Continue").click()

    expect(page.locator("#verdict")).to_contain_text("completed", timeout=LONG)
    expect(page.locator("#story")).to_contain_text("continue, by a call")
    expect(page.locator("#story")).to_contain_text("Never reached: set at iteration 999")
    expect(page.locator("#chart path.change")).to_have_count(1)
