"""The look of the page on a phone, in dark mode and with a token."""

import re
from typing import Any

import pytest
from playwright.sync_api import expect

from hacdbs_sim.client import Client, Vm, serve_in_thread
from tests.ui.conftest import MEMSLOT, Opening

pytestmark = pytest.mark.slow


PHONE: dict[str, Any] = {
    "viewport": {"width": 360, "height": 740},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}
LEAST_TEXT_PIXELS = 9
TEXT_CONTRAST = 4.5
"""WCAG 2.2, 1.4.3."""


@pytest.fixture
def migrated(client: Client, vm: Vm) -> str:
    vm.add_fault("ipaf", times=3)
    vm.guest_write(range(0x40000, 0x40100))
    begun = client.http.post("/v1/migrations", json={"vm_id": vm.vm_id}).json()
    client.http.get(f"/v1/migrations/{begun['migration_id']}?wait_for=completed&wait_seconds=60")
    return str(begun["migration_id"])


@pytest.mark.parametrize(
    "place",
    ["", "#/vms/default-1", "#/migrations", "#/migrations/default-m1", "#/comparisons", "#/scenarios", "#/events"]
)  # fmt: skip
@pytest.mark.usefixtures("migrated")
def test_nothing_is_wider_than_a_phone(opening: Opening, place: str) -> None:
    with opening(**PHONE) as watched:
        page = watched.go(place)
        expect(page.locator("#link")).to_have_text("live")
        expect(page.locator("main .card:not([hidden])").first).to_be_visible()
        watched.settle()

        width = page.evaluate("document.documentElement.scrollWidth")

    assert width == 360


def test_a_charts_figures_can_be_read_on_a_phone(opening: Opening, migrated: str) -> None:
    with opening(**PHONE) as watched:
        page = watched.go(f"#/migrations/{migrated}")
        figures = page.locator("#chart text")
        expect(figures.first).to_be_visible()

        heights = [box["height"] for each in figures.all() if (box := each.bounding_box())]

    assert min(heights) >= LEAST_TEXT_PIXELS


def luminance(colour: str) -> float:
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_by_day_and_by_night(opening: Opening, vm: Vm, scheme: str) -> None:
    with opening(color_scheme=scheme) as watched:
        page = watched.go(f"#/vms/{vm.vm_id}")
        expect(page.get_by_role("heading", name="Memory")).to_be_visible()

        colours = page.evaluate(
            """() => { const style = getComputedStyle(document.documentElement);
                 return Object.fromEntries(["page", "surface", "sunken", "text", "quiet", "accent",
                   "accent-soft", "on-accent", "bad", "bad-soft"]
                   .map((name) => [name, style.getPropertyValue("--" + name).trim()])); }"""
        )
        behind = page.evaluate("getComputedStyle(document.body).backgroundColor")

    pairs = [
        ("text", "page"), ("text", "surface"), ("text", "sunken"), ("text", "accent-soft"),
        ("quiet", "page"), ("quiet", "surface"), ("accent", "surface"), ("accent", "accent-soft"),
        ("on-accent", "accent"), ("bad", "surface"), ("bad", "bad-soft"),
    ]  # fmt: skip
    weak = [pair for pair in pairs if contrast(*(colours[name] for name in pair)) < TEXT_CONTRAST]
    assert weak == []
    is_dark = sum(map(int, re.findall(r"\d+", behind))) < 200
    assert is_dark == (scheme == "dark")


def test_the_heat_map_follows_the_scheme(opening: Opening, vm: Vm) -> None:
    colours = []
    for scheme in ("light", "dark"):
        with opening(color_scheme=scheme) as watched:
            page = watched.go(f"#/vms/{vm.vm_id}")
            expect(page.locator("canvas")).to_have_attribute("aria-label", re.compile("0 of 4,096"))
            watched.settle()
            colours.append(
                page.locator("canvas").evaluate(
                    "c => [...c.getContext('2d').getImageData(2, 2, 1, 1).data]"
                )
            )

    assert sum(colours[0][:3]) > 600
    assert sum(colours[1][:3]) < 200


def test_every_field_and_button_has_a_name(opening: Opening, vm: Vm) -> None:
    with opening() as watched:
        for place in ("", f"#/vms/{vm.vm_id}", "#/migrations", "#/comparisons"):
            page = watched.go(place)
            expect(page.locator("main button:visible").first).to_be_visible()
            watched.settle()

            nameless = page.evaluate(
                """[...document.querySelectorAll("main input, main select, main button, main canvas")]
                     .filter((e) => !e.labels?.length && !e.getAttribute("aria-label") && !e.textContent.trim())
                     .map((e) => e.outerHTML)"""
            )

            assert nameless == [], place


def test_behind_a_token_the_page_asks_for_it_until_it_is_right(opening: Opening) -> None:
    with serve_in_thread(log_level="error", token="let-me-in") as guarded:  # noqa: S106 - the test's own
        with guarded.client() as client:
            vm = client.create_vm(memslots=[MEMSLOT])
        with opening(guarded.url, expects_refusals=True) as watched:
            page = watched.go("")
            dialog = page.get_by_role("dialog")
            dialog.get_by_label("Token").fill("wrong")
            assert dialog.get_by_role("alert").count() == 0
            dialog.get_by_role("button", name="Continue").click()
            expect(dialog.get_by_role("alert")).to_have_text("That token is wrong.")
            dialog.get_by_label("Token").fill("let-me-in")
            dialog.get_by_role("button", name="Continue").click()

            expect(page.get_by_role("link", name=vm.vm_id)).to_be_visible()
            expect(page.locator("#link")).to_have_text("live")
            page.reload()
            expect(page.get_by_role("link", name=vm.vm_id)).to_be_visible()
            assert page.get_by_role("dialog").count() == 0
