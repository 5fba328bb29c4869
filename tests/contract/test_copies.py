"""Copies as JSON: forms of pages, places of errors, lists, and what goes with the VM."""

from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.anyio

GFN = 0x40000
NPAGES = 1_024


@pytest.fixture
async def copy(client: httpx.AsyncClient, vm: str) -> str:
    """An empty copy of a VM that wrote pages 1 and 70, which its log names."""
    await client.post(f"{vm}/guest/write", json={"gfns": [GFN + 1, GFN + 70]})
    made = await client.post(f"{vm}/copies")
    assert made.status_code == 201
    return made.headers["location"]


async def counts(client: httpx.AsyncClient, copy: str, **body: Any) -> tuple[int, int, int]:
    """Pages that are current, pending and lost."""
    found = (await client.post(f"{copy}/verify", json=body)).raise_for_status().json()
    assert found["verified"] is True
    return found["current_pages"], found["pending_pages"], found["lost_pages"]


async def test_a_copy_is_shown_as_it_was_made(client: httpx.AsyncClient, vm: str) -> None:
    made = await client.post(f"{vm}/copies", json={"base": None})

    assert made.json() == {
        "copy_id": "c1",
        "vm_id": "default-1",
        "base": None,
        "created_ns": 0,
        "received_pages": 0,
        "state_bytes": 4 * NPAGES,
        "slots": [{"slot": 0, "npages": NPAGES, "began": "zeros"}],
    }
    assert (await client.get(f"{vm}/copies/c1")).json() == made.json()


@pytest.mark.parametrize(
    "pages",
    [
        {"page_ranges": [[1, 1], [70, 1]]},
        {"words": [2, 64]},
        {"bitmap": "AgAAAAAAAABAAAAAAAAAAA=="},
    ],
    ids=["ranges", "words", "bitmap"],
)
async def test_pages_are_received_in_each_form(
    client: httpx.AsyncClient, vm: str, copy: str, pages: dict[str, Any]
) -> None:
    await client.post(f"{vm}/memslots/0/dirty-log/get")
    body = {"slot": 0, "first_page": 0, "num_pages": 128, **pages}

    named = await counts(client, copy, pending=[body])
    received = await client.post(f"{copy}/receive", json=body)

    assert named == (0, 2, NPAGES - 2)
    assert received.json() == {
        "slot": 0,
        "first_page": 0,
        "num_pages": 128,
        "received_pages": 2,
        "now_ns": 0,
    }
    assert await counts(client, copy) == (2, 0, NPAGES - 2)


async def test_what_is_lost_is_listed_by_slot_as_ranges(
    client: httpx.AsyncClient, vm: str, copy: str
) -> None:
    await client.post(f"{copy}/receive", json={"slot": 0, "page_ranges": [[0, NPAGES]]})
    await client.post(f"{vm}/memslots/0/dirty-log/get")
    await client.post(f"{vm}/guest/write", json={"gfn_ranges": [[GFN + 8, 3], [GFN + 100, 1]]})
    await client.post(f"{vm}/memslots/0/dirty-log/get")

    found = (await client.post(f"{copy}/verify")).json()

    assert found["slots"] == [
        {
            "slot": 0,
            "current_pages": NPAGES - 4,
            "pending_pages": 0,
            "unneeded_pages": 0,
            "lost_pages": 4,
            "lost_ranges": [[8, 3], [100, 1]],
            "ranges_omitted": 0,
        }
    ]
    assert found["unproved_slots"] == []


@pytest.mark.parametrize(
    ("path", "body", "wanted"),
    [
        ("", {"base": "c7"}, (404, "no_such_copy", "/base")),
        ("", {"base": "default-2.c1"}, (422, "invalid_request", "/base")),
        ("", {"base": "c0"}, (422, "invalid_request", "/base")),
        ("/c1/receive", {"slot": 3, "page_ranges": [[0, 1]]}, (404, "no_such_memslot", "/slot")),
        (
            "/c1/receive",
            {"slot": 0, "page_ranges": [[0, 1]], "first_page": 2_048},
            (409, "window_outside_memslot", "/first_page"),
        ),
        (
            "/c1/receive",
            {"slot": 0, "page_ranges": [[0, 1]], "first_page": 3},
            (422, "invalid_request", "/first_page"),
        ),
        (
            "/c1/receive",
            {"slot": 0, "page_ranges": [[64, 1]], "num_pages": 64},
            (409, "invalid_argument", "/page_ranges"),
        ),
        ("/c1/receive", {"slot": 0}, (422, "invalid_request", "")),
        ("/c1/receive", {"slot": 0, "words": [1]}, (409, "invalid_argument", "/bitmap")),
        (
            "/c1/verify",
            {"pending": [{"slot": 0, "page_ranges": []}, {"slot": 9, "page_ranges": []}]},
            (404, "no_such_memslot", "/pending/1/slot"),
        ),
        ("/c1/start", {"session_id": "none"}, (404, "no_such_session", "/session_id")),
    ],
)
async def test_what_a_copy_cannot_take_is_named_and_nothing_changes(
    client: httpx.AsyncClient,
    copy: str,
    path: str,
    body: dict[str, Any],
    wanted: tuple[int, str, str],
) -> None:
    copies = copy.rpartition("/")[0]
    before = [await counts(client, copy), (await client.get(copies)).json()]

    refused = await client.post(f"{copies}{path}", json=body)

    problem = refused.json()
    found = (refused.status_code, problem["code"], problem["errors"][0]["pointer"])
    assert found == wanted
    assert [await counts(client, copy), (await client.get(copies)).json()] == before


async def test_a_copy_of_a_deleted_vm_is_refused_by_the_vms_name(
    client: httpx.AsyncClient, vm: str, copy: str
) -> None:
    await client.delete(vm)

    refused = await client.post(f"{copy}/verify")

    assert (refused.status_code, refused.json()["code"]) == (404, "no_such_vm")
    assert refused.json()["errors"][0]["value"] == "default-1"


@pytest.mark.usefixtures("copy")
async def test_copies_are_listed_in_pages_by_number(client: httpx.AsyncClient, vm: str) -> None:
    for base in ("source", "c1", "c3"):
        await client.post(f"{vm}/copies", json={"base": base})
    await client.delete(f"{vm}/copies/c2")

    first = (await client.get(f"{vm}/copies", params={"limit": 2})).json()
    token = {"page_token": first["next_page_token"]}
    rest = (await client.get(f"{vm}/copies", params=token)).json()

    listed = [(each["copy_id"], each["base"]) for each in first["copies"] + rest["copies"]]
    assert listed == [("c1", None), ("c3", "c1"), ("c4", "c3")]
    assert rest["next_page_token"] == ""


async def test_a_vm_made_of_a_copy_is_where_its_location_says(
    client: httpx.AsyncClient, copy: str
) -> None:
    made = await client.post(f"{copy}/start", json={"name": "restored"})

    assert made.status_code == 201
    shown = (await client.get(made.headers["location"])).json()
    assert (shown["vm_id"], shown["name"]) == ("default-2", "restored")
    assert [(each["slot"], each["flags"]) for each in shown["memslots"]] == [(0, [])]


async def test_a_reset_session_has_no_copies_and_numbers_them_from_1(
    client: httpx.AsyncClient, vm: str, copy: str
) -> None:
    await client.post("/v1/sessions/default/reset")
    await client.post("/v1/vms")

    made = await client.post(f"{vm}/copies")

    assert (await client.get(copy)).json()["slots"] == []
    assert made.json()["copy_id"] == "c1"
