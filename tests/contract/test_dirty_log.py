"""The dirty log over HTTP: forms, precedence, and what a refusal leaves alone."""

import base64
import json

import httpx
import numpy as np
import pytest

pytestmark = pytest.mark.anyio

BASE_GFN = 0x40000
NPAGES = 1024
WRITTEN = [0, 1, 2, 64, 700, 1023]
RANGES = [[0, 3], [64, 1], [700, 1], [1023, 1]]
OCTETS = {"accept": "application/octet-stream"}


def bitmap_of(pages: list[int]) -> bytes:
    bits = np.zeros(NPAGES, dtype=np.uint8)
    bits[pages] = 1
    return np.packbits(bits, bitorder="little").tobytes()


@pytest.fixture
async def log(client: httpx.AsyncClient, vm: str) -> str:
    """The path of a dirty log with some pages in it."""
    gfns = [BASE_GFN + page for page in WRITTEN]
    answer = await client.post(f"{vm}/guest/write", json={"gfns": gfns})
    assert answer.json()["newly_dirty"] == len(WRITTEN)
    return f"{vm}/memslots/0/dirty-log"


async def test_a_peek_has_no_side_effect(client: httpx.AsyncClient, log: str) -> None:
    first = (await client.get(log)).json()
    second = (await client.get(log)).json()

    assert first == second
    assert first["page_ranges"] == RANGES
    assert first["accelerator"] is None


async def test_a_get_takes_the_log_and_reports_the_hardware(
    client: httpx.AsyncClient, log: str
) -> None:
    taken = (await client.post(f"{log}/get?cpu=1&trace=true")).json()
    left = (await client.get(log)).json()

    assert taken["page_ranges"] == RANGES
    assert taken["dirty_count"] == taken["accelerator"]["cleaned"] == len(WRITTEN)
    assert taken["accelerator"]["cpu"] == 1
    assert taken["accelerator"]["trace"][0]["last_gfn"] == BASE_GFN + 1023
    assert taken["accelerator"]["trace_omitted"] == 0
    assert (left["dirty_count"], left["page_ranges"]) == (0, [])


async def test_all_forms_say_the_same(client: httpx.AsyncClient, log: str) -> None:
    as_base64 = (await client.get(f"{log}?format=base64")).json()
    as_summary = (await client.get(f"{log}?format=summary")).json()
    as_octets = await client.get(log, headers=OCTETS)

    assert base64.b64decode(as_base64.pop("bitmap")) == bitmap_of(WRITTEN) == as_octets.content
    assert as_base64 == as_summary == json.loads(as_octets.headers["dirty-log-report"])
    assert as_octets.headers["content-type"] == "application/octet-stream"


async def test_the_report_beside_octets_stays_small_and_has_no_trace(
    client: httpx.AsyncClient, log: str
) -> None:
    answer = await client.post(f"{log}/get?trace=true&format=base64", headers=OCTETS)

    assert answer.content == bitmap_of(WRITTEN)
    report = answer.headers["dirty-log-report"]
    assert len(report) <= 4096
    assert "trace" not in json.loads(report)["accelerator"]


@pytest.mark.parametrize(
    ("accept", "is_octets"),
    [
        ("application/octet-stream", True),
        ("application/octet-stream, */*;q=0.1", True),
        ("application/octet-stream;q=0.5, application/json;q=0.4", True),
        ("application/json, application/octet-stream", False),
        ("application/octet-stream;q=0", False),
        ("application/octet-stream;q=no", False),
        ("application/octet-stream, */*", True),
        ("application/octet-stream;q=0.5, */*", False),
        ("application/octet-stream;q=0.5, application/*", False),
        ("application/octet-stream;q=0.5, application/json;q=0.4, */*", True),
        ("*/*", False),
        ("text/html", False),
    ],
)
async def test_octets_are_sent_when_requested_by_name(
    client: httpx.AsyncClient, log: str, accept: str, *, is_octets: bool
) -> None:
    answer = await client.get(log, headers={"accept": accept})

    assert (answer.headers["content-type"] == "application/octet-stream") is is_octets


async def test_an_accept_header_on_two_lines_is_one(client: httpx.AsyncClient, log: str) -> None:
    lines = [("accept", "text/html"), ("accept", "application/octet-stream")]

    answer = await client.send(client.build_request("GET", log, headers=httpx.Headers(lines)))

    assert answer.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize("form", ["page_ranges", "bitmap", "octets"])
async def test_a_clear_removes_the_pages_it_names(
    client: httpx.AsyncClient, log: str, form: str
) -> None:
    window = bitmap_of([64, 700])[8:]
    request: dict[str, dict[str, object]] = {
        "page_ranges": {"json": {"page_ranges": [[64, 1], [700, 1]]}},
        "bitmap": {"json": {"bitmap": base64.b64encode(window).decode()}},
        "octets": {"content": window, "headers": {"content-type": "application/octet-stream"}},
    }

    answer = await client.post(f"{log}/clear?first_page=64", **request[form])  # type: ignore[arg-type]

    cleared = answer.json()
    assert (cleared["first_page"], cleared["num_pages"]) == (64, NPAGES - 64)
    assert (cleared["dirty_count"], cleared["remaining_count"]) == (2, len(WRITTEN) - 2)
    assert "page_ranges" not in cleared
    assert (await client.get(log)).json()["page_ranges"] == [[0, 3], [1023, 1]]


async def test_too_many_ranges_are_refused_before_anything_changes(
    client: httpx.AsyncClient, vm: str
) -> None:
    pages = 2 * 65_537
    region = {"guest_phys_addr": "0x80000000", "memory_size": pages * 4096}
    await client.put(f"{vm}/memslots/1", json={**region, "flags": ["LOG_DIRTY_PAGES"]})
    gfns = 0x80000 + 2 * np.arange(pages // 2, dtype="<u8")
    written = await client.post(
        f"{vm}/guest/write",
        content=gfns.tobytes(),
        headers={"content-type": "application/octet-stream"},
    )
    log = f"{vm}/memslots/1/dirty-log"

    refused = await client.post(f"{log}/get")
    peeked = await client.get(log)
    taken = await client.post(f"{log}/get?format=summary")

    assert written.json()["newly_dirty"] == pages // 2
    assert (refused.status_code, refused.json()["code"]) == (409, "too_many_ranges")
    assert (peeked.status_code, peeked.json()["code"]) == (409, "too_many_ranges")
    assert [(e["in"], e["pointer"]) for e in refused.json()["errors"]] == [("query", "format")]
    assert taken.json()["dirty_count"] == pages // 2


async def test_an_injected_fault_is_reported_and_no_page_is_lost(
    client: httpx.AsyncClient, vm: str, log: str
) -> None:
    fault = {"type": "ipahacf", "times": 1, "when": {"op": "get", "gfn": BASE_GFN + 64}}
    armed = await client.post(f"{vm}/faults", json=fault)

    taken = (await client.post(f"{log}/get")).json()
    shown = (await client.get(armed.headers["location"])).json()

    assert taken["page_ranges"] == RANGES
    assert taken["accelerator"]["error"] == {
        "reason": "IPAHACF",
        "batch": 0,
        "index": 3,
        "gfn": BASE_GFN + 64,
    }
    assert taken["accelerator"]["cleaned"] + taken["software"]["pages"] == taken["dirty_count"]
    assert shown["hits"] == 1
    assert shown["when"] == fault["when"]
    assert shown["last_hit"]["gfn"] == BASE_GFN + 64


async def test_a_failed_copy_to_userspace_answers_efault(
    client: httpx.AsyncClient, vm: str, log: str
) -> None:
    await client.post(f"{vm}/faults", json={"type": "copy_to_user"})

    answer = await client.post(f"{log}/get")

    problem = answer.json()
    assert (answer.status_code, problem["errno"]) == (409, "EFAULT")
    assert problem["ioctl"] == "KVM_GET_DIRTY_LOG"
    assert (await client.get(log)).json()["dirty_count"] == 0
