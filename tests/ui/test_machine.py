"""A machine on the page: made, written to, seen, hurt and repaired."""

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from hacdbs_sim.client import Client, Vm
from tests.ui.conftest import BASE_GFN, MEMSLOT, Opening, Watched

pytestmark = pytest.mark.slow


Colour = list[int]


def colour_at(page: Page, across: float, down: float) -> Colour:
    """What the heat map shows at a place, each part from 0 to 1."""
    colour: Colour = page.locator("canvas").evaluate(
        """(canvas, [across, down]) => [...canvas.getContext("2d")
             .getImageData(across * canvas.width, down * canvas.height, 1, 1).data]""",
        [across, down],
    )
    return colour


FIRST, LAST = (0.002, 0.01), (0.9, 0.6)


def shown(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name=name)


def expect_colours(page: Page, *, differ: bool) -> None:
    page.wait_for_function(
        """([first, last, differ]) => {
             const canvas = document.querySelector("canvas");
             const at = ([x, y]) => String(canvas.getContext("2d")
               .getImageData(x * canvas.width, y * canvas.height, 1, 1).data);
             return canvas.width > 0 && (at(first) !== at(last)) === differ;
           }""",
        arg=[FIRST, LAST, differ],
    )


def test_a_machine_is_made_and_what_is_written_is_seen(watched: Watched, client: Client) -> None:
    page = watched.go("")
    page.get_by_label("Name").fill("made here")
    page.get_by_label("Memory").select_option("64MiB")
    page.get_by_role("button", name="Make VM").click()

    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("default-"))
    expect_colours(page, differ=False)
    clean = colour_at(page, *FIRST)
    page.get_by_role("spinbutton", name="Pages").fill("512")
    page.get_by_role("button", name="Access").click()
    expect(page.locator("#guest-outcome")).to_contain_text("512 newly dirty")
    expect_colours(page, differ=True)

    (info,) = client.list_vms()
    assert (info.name, info.memslots[0].dirty_count) == ("made here", 512)
    assert colour_at(page, *LAST) == clean
    page.get_by_role("button", name="Get dirty log").click()
    expect(page.locator("#outcome")).to_contain_text("512 dirty pages, 0 left")
    expect_colours(page, differ=False)


def test_what_others_do_is_seen_too(watched: Watched, vm: Vm) -> None:
    page = watched.go(f"#/vms/{vm.vm_id}")
    expect_colours(page, differ=False)

    vm.guest_write(range(BASE_GFN, BASE_GFN + 64))
    vm.set_cpu(2, online=False)

    expect_colours(page, differ=True)
    expect(page.get_by_role("button", name="Plug in CPU 2")).to_be_visible()
    expect(shown(page, "Events")).to_contain_text("CPU 2 unplugged")


def test_the_pages_of_stage_2_are_drawn_by_their_state(watched: Watched, vm: Vm) -> None:
    vm.guest_write(range(BASE_GFN, BASE_GFN + 1_024))
    vm.slot(0).get_dirty_log()
    vm.guest_write(range(BASE_GFN, BASE_GFN + 512))
    page = watched.go(f"#/vms/{vm.vm_id}")
    expect_colours(page, differ=True)

    page.get_by_role("button", name="Stage 2").click()
    dirty, clean, unmapped = (colour_at(page, 0.502, part) for part in (0.05, 0.19, 0.6))

    legend = page.locator(".legend").first
    expect(legend).to_contain_text("writable dirty")
    assert len({tuple(colour) for colour in (dirty, clean, unmapped)}) == 3
    for name, colour in (("writable_dirty", dirty), ("writable_clean", clean)):
        received = page.locator(f".swatch.{name}").evaluate(
            "e => getComputedStyle(e).backgroundColor"
        )
        assert [int(value) for value in re.findall(r"\d+", received)] == colour[:3]


def test_a_fault_is_armed_seen_to_strike_and_disarmed(watched: Watched, vm: Vm) -> None:
    vm.guest_write(range(BASE_GFN, BASE_GFN + 100))
    page = watched.go(f"#/vms/{vm.vm_id}")
    arm = page.locator("#arm")
    arm.get_by_label("Type").select_option("ipaf")
    arm.get_by_label("Times").fill("1")
    arm.get_by_role("button").click()
    expect(page.get_by_role("table", name="Armed faults")).to_contain_text("0 of 1")

    page.get_by_role("button", name="Get dirty log").click()

    expect(page.locator("#outcome")).to_contain_text("partial (EAGAIN after IPAF)")
    expect(page.locator("#outcome")).to_contain_text("hardware 0, software 100")
    expect(page.get_by_role("table", name="Armed faults")).to_contain_text("1 of 1")
    events = shown(page, "Events")
    expect(events).to_contain_text("f1 (ipaf) hit in get of slot 0")
    expect(events).to_contain_text("fell back")
    page.get_by_role("button", name="Disarm f1").click()
    expect(shown(page, "Faults")).to_contain_text("No fault is armed.")
    assert list(vm.list_faults()) == []


def test_a_cpu_is_unplugged_and_its_unit_seen_off(watched: Watched, vm: Vm) -> None:
    page = watched.go(f"#/vms/{vm.vm_id}")
    row = page.get_by_role("table", name="Host CPUs").get_by_role("row").nth(2)

    page.get_by_role("button", name="Unplug CPU 1").click()
    expect(row).to_contain_text("OFF")
    assert not vm.get_cpu(1).online
    page.get_by_role("button", name="Plug in CPU 1").click()

    expect(row).to_contain_text("IDLE")
    assert vm.get_cpu(1).online


def test_a_workload_writes_while_the_guest_is_kept_running(watched: Watched, vm: Vm) -> None:
    page = watched.go(f"#/vms/{vm.vm_id}")
    form = page.locator("#workload")
    form.get_by_label("Kind").select_option("uniform")
    form.get_by_role("button").click()
    expect(page.get_by_role("table", name="Workloads")).to_contain_text("w1")
    page.get_by_role("button", name="Run guest").click()
    expect(page.locator("#guest-outcome")).to_contain_text("newly dirty")
    keep = page.get_by_role("button", name="Keep running")
    keep.click()
    expect(keep).to_have_attribute("aria-pressed", "true")
    chip = page.get_by_role("list", name="Configuration").get_by_text("virtual clock")

    expect(chip).to_have_text(re.compile(r"virtual clock [1-9]\d\d"))
    keep.click()

    expect(keep).to_have_attribute("aria-pressed", "false")
    page.get_by_role("button", name="Remove w1").click()
    expect(shown(page, "Guest")).to_contain_text("only on request")


def test_a_refusal_is_printed_in_the_words_of_the_service(opening: Opening, client: Client) -> None:
    vm = client.create_vm(cpus=1)
    with opening(expects_refusals=True) as watched:
        page = watched.go(f"#/vms/{vm.vm_id}")
        expect(page.get_by_text("This VM has no memslot.")).to_be_visible()

        page.get_by_role("button", name="Unplug CPU 0").click()

        expect(page.get_by_role("alert")).to_contain_text("it is the last one")


def test_a_name_is_never_markup(watched: Watched, client: Client) -> None:
    name = "<img src=x onerror=alert(1)>"
    vm = client.create_vm(name=name)

    page = watched.go("")
    expect(page.get_by_role("cell", name=name)).to_have_text(name)
    page.get_by_role("link", name=vm.vm_id).click()

    expect(page.locator("main .head")).to_contain_text(name)
    assert page.locator("main img").count() == 0


def test_a_machine_that_goes_away_is_said_to_be_gone(opening: Opening, vm: Vm) -> None:
    with opening(expects_refusals=True) as watched:
        page = watched.go(f"#/vms/{vm.vm_id}")
        expect(page.get_by_role("heading", name="Memory")).to_be_visible()

        vm.delete()

        expect(page.locator("main")).to_contain_text("there is no such VM")
        page.get_by_role("link", name="All VMs").click()
        expect(page.get_by_text("No VM yet.")).to_be_visible()


def test_all_of_it_is_done_by_keyboard(watched: Watched, client: Client) -> None:
    page = watched.go("")
    keys: Any = page.keyboard
    expect(page.locator("#create")).to_be_visible()
    keys.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    while page.evaluate("document.activeElement.name ?? ''") != "name":
        keys.press("Tab")
    keys.type("by keyboard")
    keys.press("Enter")
    expect(page.get_by_role("button", name="Get dirty log")).to_be_visible()
    while page.evaluate("document.activeElement.tagName") != "CANVAS":
        keys.press("Tab")

    readout = page.locator("#heat-readout")
    expect(readout).to_contain_text("Pages 0 to ")
    keys.press("ArrowRight")
    expect(readout).to_contain_text("Pages 64 to 127 (gfn 0x40040): 0 of 64 dirty; 64 unmapped.")
    keys.press("End")
    expect(readout).to_contain_text("to 262,143")
    ring = page.locator("canvas").evaluate("c => getComputedStyle(c).outlineStyle")

    assert ring == "solid"
    assert [info.name for info in client.list_vms()] == ["by keyboard"]


def test_deleting_a_machine_asks_first(opening: Opening, vm: Vm, client: Client) -> None:
    with opening(expects_refusals=True) as watched:
        page = watched.go(f"#/vms/{vm.vm_id}")
        expect_colours(page, differ=False)
        drop = page.get_by_role("button", name="Delete VM")

        drop.click()
        page.get_by_role("dialog").get_by_role("button", name="Keep").click()
        expect(page.get_by_role("dialog")).to_have_count(0)
        assert [info.vm_id for info in client.list_vms()] == [vm.vm_id]
        drop.click()
        page.get_by_role("dialog").get_by_role("button", name="Delete").click()

        expect(page.get_by_role("heading", level=1)).to_have_text("VMs")
        assert list(client.list_vms()) == []


def test_the_map_has_gfns_and_is_zoomed_to_single_pages(watched: Watched, client: Client) -> None:
    slot = {**MEMSLOT, "memory_size": "1GiB"}
    vm = client.create_vm(memslots=[slot])
    vm.guest_write([BASE_GFN + 200_000])
    page = watched.go(f"#/vms/{vm.vm_id}")
    readout, canvas = page.locator("#heat-readout"), page.locator("canvas")
    expect(canvas).to_have_attribute("aria-label", re.compile("1 of 262,144 pages dirty"))
    labels = page.locator(".gfns span")
    expect(labels.first).to_have_text("0x40000")
    assert [label.inner_text() for label in labels.all()] == [
        hex(BASE_GFN + row * 128 * 64) for row in range(0, 32, 4)
    ]
    canvas.focus()
    for _ in range(24):
        page.keyboard.press("ArrowDown")
    for _ in range(200_000 // 64 - 24 * 128):
        page.keyboard.press("ArrowRight")
    expect(readout).to_contain_text("1 of 64 dirty")

    for _ in range(3):
        part = page.locator("#heat-part").inner_text()
        page.get_by_role("button", name="Zoom in").click()
        expect(page.locator("#heat-part")).not_to_have_text(part)

    expect(canvas).to_have_attribute("aria-label", re.compile("1 of 512 pages dirty"))
    page.get_by_role("button", name="Whole slot").click()
    expect(page.locator("#heat-part")).to_have_text("")


def test_one_dirty_page_of_many_is_seen_in_stage_2_too(watched: Watched, client: Client) -> None:
    slot = {**MEMSLOT, "memory_size": "1GiB"}
    vm = client.create_vm(memslots=[slot])
    vm.guest_write([BASE_GFN])
    page = watched.go(f"#/vms/{vm.vm_id}")
    expect_colours(page, differ=True)

    page.get_by_role("button", name="Stage 2").click()

    assert colour_at(page, 0.002, 0.001) != colour_at(page, *LAST)


def test_the_history_of_the_map_is_scrubbed(watched: Watched, vm: Vm) -> None:
    page = watched.go(f"#/vms/{vm.vm_id}")
    expect_colours(page, differ=False)
    vm.guest_write(range(BASE_GFN, BASE_GFN + 512))
    expect_colours(page, differ=True)
    history = page.get_by_role("slider", name="History")

    history.focus()
    page.keyboard.press("Home")

    expect(page.locator("#heat-when")).to_contain_text("of virtual time")
    expect_colours(page, differ=False)
    page.keyboard.press("End")
    expect(page.locator("#heat-when")).to_have_text("now")
    expect_colours(page, differ=True)


def test_accesses_outside_of_memory_are_named(watched: Watched, vm: Vm) -> None:
    page = watched.go(f"#/vms/{vm.vm_id}")
    expect_colours(page, differ=False)
    page.get_by_label("First page").fill("1000000")
    page.get_by_role("spinbutton", name="Pages").fill("3")

    page.get_by_role("button", name="Access").click()

    expect(page.locator("#guest-outcome")).to_contain_text("3 MMIO exits")


def test_events_are_filtered_and_lead_to_what_they_are_about(watched: Watched, vm: Vm) -> None:
    vm.add_fault("ipaf", times=1)
    vm.guest_write(range(BASE_GFN, BASE_GFN + 100))
    vm.slot(0).get_dirty_log()
    vm.start_migration().wait()
    page = watched.go("#/events")
    events = page.get_by_role("list")
    expect(events).to_contain_text("fault hit")
    expect(events).to_contain_text("default-m1 completed")

    page.get_by_label("Type").select_option("fault_hit")
    expect(events).not_to_contain_text("default-m1")
    expect(events.get_by_role("listitem").first).to_contain_text("f1 (ipaf) hit in get")
    page.get_by_role("button", name="Show all").click()
    events.get_by_role("link", name="default-m1").first.click()

    expect(page.get_by_role("heading", level=1)).to_have_text("default-m1")
