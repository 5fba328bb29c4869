"""ETag, If-Match, If-None-Match: no client overwrites a change that it has not seen."""

import asyncio
from typing import Any

import httpx
import pytest

from app.http.preconditions import TAGS_PATTERN

pytestmark = pytest.mark.anyio

SLOT: dict[str, Any] = {
    "guest_phys_addr": "0x40000000",
    "memory_size": "4MiB",
    "userspace_addr": "0x40000000",
    "flags": [],
}
MOVED = "0x80000000"
LOGGING = {**SLOT, "flags": ["LOG_DIRTY_PAGES"]}
GFN = 0x40000


async def etag_of(client: httpx.AsyncClient, path: str) -> str:
    answer = await client.get(path)
    etag: str = answer.headers["etag"]
    return etag


async def test_the_etag_of_a_slot_follows_its_settings(client: httpx.AsyncClient, vm: str) -> None:
    path = f"{vm}/memslots/0"
    tags = [await etag_of(client, path)]
    for body in (SLOT, LOGGING, {**LOGGING, "guest_phys_addr": MOVED}):
        answer = await client.put(path, json=body)
        assert answer.headers["etag"] == await etag_of(client, path)
        tags.append(answer.headers["etag"])

    await client.delete(path)
    made = await client.put(path, json=LOGGING)
    tags.append(made.headers["etag"])

    assert made.status_code == 201
    assert len(set(tags)) == 5


async def test_the_etag_of_a_slot_stays_while_nobody_changes_it(
    client: httpx.AsyncClient, vm: str
) -> None:
    path = f"{vm}/memslots/0"
    before = await etag_of(client, path)
    await client.post(f"{vm}/guest/write", json={"gfn_ranges": [[GFN, 100]]})
    await client.post(f"{path}/dirty-log/get")
    await client.put(path, json=LOGGING)  # change: none
    await client.put(f"{vm}/memslots/1", json={**SLOT, "guest_phys_addr": 0})

    assert await etag_of(client, path) == before


async def test_the_etag_of_a_vm_follows_capabilities_and_slots(
    client: httpx.AsyncClient, vm: str
) -> None:
    tags = [await etag_of(client, vm)]
    patched = await client.patch(vm, json={"manual_dirty_log_protect2": 3})
    tags.append(patched.headers["etag"])
    await client.delete(f"{vm}/memslots/0")
    tags.append(await etag_of(client, vm))
    patched = await client.patch(vm, json={"eager_split_chunk_size": "2MiB"})
    tags.append(patched.headers["etag"])

    assert len(set(tags)) == 4
    await client.post(f"{vm}/guest/write", json={"gfns": [GFN]})
    await client.patch(f"{vm}/cpus/0", json={"online": False})
    assert await etag_of(client, vm) == tags[-1]


async def test_the_response_to_a_new_vm_has_its_etag(client: httpx.AsyncClient) -> None:
    made = await client.post("/v1/vms")

    assert made.headers["etag"] == await etag_of(client, made.headers["location"])


CHANGES: dict[str, tuple[str, str, Any]] = {
    "set_memslot": ("PUT", "/memslots/0", SLOT),
    "delete_memslot": ("DELETE", "/memslots/0", None),
    "update_vm": ("PATCH", "", {"manual_dirty_log_protect2": 1}),
    "delete_vm": ("DELETE", "", None),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_on_an_old_etag_is_refused_and_not_made(
    client: httpx.AsyncClient, vm: str, change: str
) -> None:
    method, path, body = CHANGES[change]
    old = await etag_of(client, vm + path)
    await client.put(f"{vm}/memslots/0", json={**LOGGING, "guest_phys_addr": MOVED})
    before = (await client.get(vm)).json()

    for tag in (old, f"W/{await etag_of(client, vm + path)}", '"unheard", "of"'):
        refused = await client.request(method, vm + path, json=body, headers={"If-Match": tag})

        assert (refused.status_code, refused.json()["code"]) == (412, "precondition_failed")
        (error,) = refused.json()["errors"]
        assert (error["in"], error["pointer"]) == ("header", "If-Match")
        assert error["bound"] == await etag_of(client, vm + path)
    assert (await client.get(vm)).json() == before


@pytest.mark.parametrize("matching", ["{}", '"other", {}', "*"])
@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_on_the_present_etag_is_made(
    client: httpx.AsyncClient, vm: str, change: str, matching: str
) -> None:
    method, path, body = CHANGES[change]
    header = {"If-Match": matching.format(await etag_of(client, vm + path))}
    made = await client.request(method, vm + path, json=body, headers=header)

    assert made.is_success, made.text


@pytest.mark.parametrize("tag", ["*", '"1"'])
async def test_nothing_matches_where_nothing_is(
    client: httpx.AsyncClient, vm: str, tag: str
) -> None:
    for method, body in (("PUT", {**SLOT, "guest_phys_addr": 0}), ("DELETE", None)):
        path = f"{vm}/memslots/7"
        refused = await client.request(method, path, json=body, headers={"If-Match": tag})

        assert refused.status_code == 412
        assert "nothing is there" in refused.json()["detail"]
    assert (await client.get(f"{vm}/memslots/7")).status_code == 404


async def test_if_none_match_makes_a_slot_only_where_none_is(
    client: httpx.AsyncClient, vm: str
) -> None:
    only_new = {"If-None-Match": "*"}
    other = {**SLOT, "guest_phys_addr": 0}
    made = await client.put(f"{vm}/memslots/1", json=other, headers=only_new)
    there = await client.put(
        f"{vm}/memslots/1", json={**other, "flags": ["LOG_DIRTY_PAGES"]}, headers=only_new
    )

    assert (made.status_code, there.status_code) == (201, 412)
    assert (await client.get(f"{vm}/memslots/1")).json()["flags"] == []


async def test_if_none_match_compares_weakly(client: httpx.AsyncClient, vm: str) -> None:
    path = f"{vm}/memslots/0"
    etag = await etag_of(client, path)
    for tag, status in ((etag, 412), (f"W/{etag}", 412), ('"other"', 200)):
        answer = await client.put(path, json=LOGGING, headers={"If-None-Match": tag})

        assert answer.status_code == status


@pytest.mark.parametrize(
    "bad", ["", "1", '"1', '"1" "2"', '*, "1"', '"a b"', '"' + "x" * 999 + '"']
)
@pytest.mark.parametrize("name", ["If-Match", "If-None-Match"])
async def test_a_malformed_etag_is_refused(
    client: httpx.AsyncClient, vm: str, name: str, bad: str
) -> None:
    answer = await client.put(f"{vm}/memslots/0", json=SLOT, headers={name: bad})

    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["in"], error["pointer"], error["bound"]) == ("header", name, TAGS_PATTERN)
    assert (await client.get(f"{vm}/memslots/0")).json()["flags"] == ["LOG_DIRTY_PAGES"]


async def test_the_schema_is_asked_before_the_precondition_and_the_kernel_after(
    client: httpx.AsyncClient, vm: str
) -> None:
    stale = {"If-Match": '"stale"'}
    path = f"{vm}/memslots/0"
    malformed = await client.put(path, json={"memory_size": -1}, headers=stale)
    refused = await client.put(path, json={**SLOT, "memory_size": "8MiB"}, headers=stale)

    assert (malformed.status_code, refused.status_code) == (422, 412)


async def test_of_many_who_change_what_they_read_each_sees_all_changes_before(
    client: httpx.AsyncClient, vm: str
) -> None:
    """Slots are moved up by one page, each time from where it was read to be."""
    path = f"{vm}/memslots/0"

    async def move_up(times: int) -> int:
        attempts = 0
        while times:
            seen = await client.get(path)
            place = int(seen.json()["guest_phys_addr"], 16) + 4096
            body = {**LOGGING, "guest_phys_addr": place}
            await asyncio.sleep(0)  # let others read the same
            moved = await client.put(path, json=body, headers={"If-Match": seen.headers["etag"]})
            attempts += 1
            assert moved.status_code in (200, 412)
            times -= moved.status_code == 200
        return attempts

    attempts = await asyncio.gather(*(move_up(8) for _ in range(8)))

    assert (await client.get(path)).json()["guest_phys_addr"] == f"{0x40000000 + 64 * 4096:#x}"
    assert sum(attempts) > 64, "no client was ever refused"


async def test_a_vm_made_after_a_reset_has_another_etag(client: httpx.AsyncClient) -> None:
    body = {"memslots": [{"slot": 0, **SLOT}]}
    made = await client.post("/v1/vms", json=body)
    slot = await etag_of(client, f"{made.headers['location']}/memslots/0")
    await client.post("/v1/sessions/default/reset")
    again = await client.post("/v1/vms", json=body)
    path = again.headers["location"]

    assert again.json()["vm_id"] == made.json()["vm_id"]
    assert again.headers["etag"] != made.headers["etag"]
    assert await etag_of(client, f"{path}/memslots/0") != slot
    stale = {"If-Match": made.headers["etag"]}
    assert (await client.delete(path, headers=stale)).status_code == 412


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("POST", "/v1/vms", "If-Match"),
        ("POST", "/v1/vms/default-1/memslots/0/dirty-log/get", "If-Match"),
        ("POST", "/v1/sessions/default/reset", "If-None-Match"),
        ("PATCH", "/v1/vms/default-1/cpus/0", "If-Match"),
        ("GET", "/v1/vms/default-1", "If-Match"),
        ("DELETE", "/v1/vms/default-1/faults", "If-Match"),
    ],
)
async def test_a_condition_that_is_not_checked_is_refused(
    client: httpx.AsyncClient,
    vm: str,  # noqa: ARG001 - it is there
    method: str,
    path: str,
    name: str,
) -> None:
    refused = await client.request(method, path, headers={name: '"1"'}, json={"online": True})

    problem = refused.json()
    assert (refused.status_code, problem["code"]) == (422, "invalid_request")
    assert (problem["errors"][0]["in"], problem["errors"][0]["pointer"]) == ("header", name)


async def test_a_cache_may_ask_whether_its_copy_is_good(client: httpx.AsyncClient, vm: str) -> None:
    tag = await etag_of(client, vm)

    assert (await client.get(vm, headers={"If-None-Match": tag})).status_code == 200
