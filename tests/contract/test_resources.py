"""Sessions, VMs, slots, CPUs, stage 2, faults and batches over HTTP."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from app.http import batches
from app.main import create_app
from app.settings import Settings

pytestmark = pytest.mark.anyio

BASE_GFN = 0x40000


async def make(client: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await client.post("/v1/vms", json=body)


async def test_a_vm_without_a_body_has_the_defaults(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/vms")

    assert (answer.status_code, answer.headers["location"]) == (201, "/v1/vms/default-1")
    assert answer.json() == (await client.get("/v1/vms/default-1")).json()
    assert answer.json()["page_size"] == 4096
    assert answer.json()["features"] == {"dbm": True, "hacdbs": True}


async def test_a_vm_shows_what_it_was_made_of(client: httpx.AsyncClient) -> None:
    slot = {"slot": 3, "guest_phys_addr": "0x200000000", "memory_size": "64MiB"}
    fault = {"type": "lost_interrupt", "when": {"batch": 1}}

    answer = await make(
        client,
        name="src",
        page_size="64KiB",
        ipa_bits=44,
        eager_split_chunk_size="512MiB",
        kernel="v1",
        seed=7,
        memslots=[slot],
        faults=[fault],
    )

    made = answer.json()
    assert (made["name"], made["page_size"], made["ipa_bits"]) == ("src", 65536, 44)
    assert (made["eager_split_chunk_size"], made["kernel"], made["seed"]) == (512 << 20, "v1", 7)
    assert made["memslots"][0] == {
        "slot": 3,
        "guest_phys_addr": "0x200000000",
        "memory_size": 64 << 20,
        "userspace_addr": "0x200000000",
        "flags": [],
        "backing": 65536,
        "base_gfn": 0x20000,
        "npages": 1024,
        "dirty_count": None,
    }
    assert made["faults"][0]["when"] == {"batch": 1}


async def test_capabilities_are_set_one_at_a_time(client: httpx.AsyncClient) -> None:
    await make(client)

    patched = await client.patch("/v1/vms/default-1", json={"manual_dirty_log_protect2": 3})
    chunked = await client.patch("/v1/vms/default-1", json={"eager_split_chunk_size": "2MiB"})

    assert patched.json()["manual_dirty_log_protect2"] == 3
    assert chunked.json()["eager_split_chunk_size"] == 2 << 20


async def test_numbers_are_not_used_again_before_a_reset(client: httpx.AsyncClient) -> None:
    await make(client)
    await client.delete("/v1/vms/default-1")
    second = await make(client)
    await client.post("/v1/sessions/default/reset")
    third = await make(client)

    assert [vm.json()["vm_id"] for vm in (second, third)] == ["default-2", "default-1"]
    assert (await client.get("/v1/vms/default-2")).status_code == 404


async def test_a_reset_takes_no_body(client: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b""
        yield b"{}"

    await make(client)

    refused = await client.post("/v1/sessions/default/reset", content=chunks())

    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
    assert (await client.get("/v1/vms/default-1")).status_code == 200
    assert (await client.post("/v1/sessions/default/reset", content=b"")).status_code == 204


async def test_sessions_keep_their_vms_apart(client: httpx.AsyncClient) -> None:
    named = await client.post("/v1/sessions", json={"session_id": "ci-7"})
    first = await client.post("/v1/sessions")
    second = await client.post("/v1/sessions", json={})
    for session_id in ("default", "ci-7"):
        await make(client, session_id=session_id)

    async def listed(query: str) -> list[str]:
        return [vm["vm_id"] for vm in (await client.get(f"/v1/vms{query}")).json()["vms"]]

    assert named.headers["location"] == "/v1/sessions/ci-7"
    assert [s.json()["session_id"] for s in (first, second)] == ["s1", "s2"]
    assert await listed("") == ["default-1"]
    assert await listed("?session_id=ci-7") == ["ci-7-1"]
    assert await listed("?session_id=-") == ["ci-7-1", "default-1"]
    assert (await client.get("/v1/sessions/ci-7")).json() == {
        "session_id": "ci-7",
        "vm_count": 1,
        "scenario": None,
    }

    assert (await client.delete("/v1/sessions/ci-7")).status_code == 204
    assert (await client.get("/v1/vms/ci-7-1")).status_code == 404
    assert (await client.get("/v1/sessions/ci-7")).json()["code"] == "no_such_session"


async def test_the_default_session_stays_and_ids_are_taken_once(client: httpx.AsyncClient) -> None:
    deleted = await client.delete("/v1/sessions/default")
    again = await client.post("/v1/sessions", json={"session_id": "default"})
    bad = await client.post("/v1/sessions", json={"session_id": "Default"})
    lost = await make(client, session_id="nowhere")

    assert (deleted.status_code, deleted.json()["code"]) == (409, "default_session")
    assert (again.status_code, again.json()["code"]) == (409, "session_exists")
    assert (bad.status_code, bad.json()["errors"][0]["pointer"]) == (422, "/session_id")
    assert (lost.status_code, lost.json()["code"]) == (404, "no_such_session")


async def test_lists_are_read_page_by_page(client: httpx.AsyncClient) -> None:
    for _ in range(12):
        await make(client)

    seen, token, pages = [], "", 0
    while True:
        answer = await client.get("/v1/vms", params={"limit": 5, "page_token": token})
        seen += [vm["vm_id"] for vm in answer.json()["vms"]]
        token = answer.json()["next_page_token"]
        pages += 1
        if not token:
            break

    assert seen == [f"default-{n}" for n in range(1, 13)]
    assert pages == 3
    assert len((await client.get("/v1/vms?limit=1000000")).json()["vms"]) == 12


async def test_a_slot_is_created_changed_and_deleted(client: httpx.AsyncClient, vm: str) -> None:
    region = {"guest_phys_addr": 0, "memory_size": "1MiB"}

    async def put(**changes: Any) -> tuple[int, str]:
        answer = await client.put(f"{vm}/memslots/5", json={**region, **changes})
        return answer.status_code, answer.json()["change"]

    assert await put() == (201, "create")
    assert await put() == (200, "none")
    assert await put(flags=["LOG_DIRTY_PAGES"]) == (200, "flags_only")
    assert await put(guest_phys_addr="0x100000", userspace_addr=0) == (200, "move")
    listed = (await client.get(f"{vm}/memslots")).json()["memslots"]
    assert [slot["slot"] for slot in listed] == [0, 5]
    assert await put(memory_size=0) == (200, "delete")
    assert await put() == (201, "create")
    assert (await client.delete(f"{vm}/memslots/5")).status_code == 204
    assert (await client.get(f"{vm}/memslots/5")).status_code == 404


async def test_accesses_are_counted(client: httpx.AsyncClient, vm: str) -> None:
    async def send(path: str, **body: Any) -> Any:
        return (await client.post(f"{vm}/{path}", json=body)).json()

    read = await send("guest/read?vcpu=1", gfns=[BASE_GFN, BASE_GFN, 5])
    write = await send("guest/write", gfn_ranges=[[BASE_GFN, 2.0]])
    host = await send("host/write", gfns=[BASE_GFN + 9])
    unmap = await send("host/unmap", gfns=[BASE_GFN])

    assert (read["pages"], read["translation_faults"], read["mmio_exits"]) == (3, 1, 1)
    assert (write["newly_dirty"], write["permission_faults"]) == (2, 1)
    assert host["newly_dirty"] == 1
    assert unmap["mmio_exits"] == 0
    state = (await client.get(f"{vm}/stage2?gfn={BASE_GFN}&count=3")).json()["runs"]
    assert [(run["count"], run["state"]) for run in state] == [
        (1, "unmapped"),
        (1, "writable_dirty"),
        (1, "unmapped"),
    ]


async def test_stage_2_is_read_page_by_page(client: httpx.AsyncClient, vm: str) -> None:
    await client.post(f"{vm}/guest/write", json={"gfns": [BASE_GFN + 2 * n for n in range(5)]})
    window = {"gfn": BASE_GFN, "count": 10, "limit": 4}

    first = (await client.get(f"{vm}/stage2", params=window)).json()
    token = first["next_page_token"]
    second = (await client.get(f"{vm}/stage2", params={**window, "page_token": token})).json()
    third = (
        await client.get(f"{vm}/stage2", params={**window, "page_token": second["next_page_token"]})
    ).json()

    runs = first["runs"] + second["runs"] + third["runs"]
    assert [run["gfn"] - BASE_GFN for run in runs] == list(range(10))
    assert third["next_page_token"] == ""
    assert runs[0]["level"] == 3
    assert runs[0]["descriptor"].startswith("0x")


async def test_a_cpu_is_unplugged_and_plugged_in(client: httpx.AsyncClient, vm: str) -> None:
    off = await client.patch(f"{vm}/cpus/1", json={"online": False})
    taken = await client.post(f"{vm}/memslots/0/dirty-log/get?cpu=1")
    on = await client.patch(f"{vm}/cpus/1", json={"online": True})
    listed = (await client.get(f"{vm}/cpus")).json()["cpus"]

    assert (off.json()["online"], off.json()["status"]) == (False, "OFF")
    assert taken.json()["accelerator"]["errno"] == "EPERM"
    assert on.json()["status"] == "IDLE"
    assert [cpu["cpu"] for cpu in listed] == [0, 1, 2, 3]
    assert listed[0]["hacdbsbr_el2"] == {"raw": "0x0", "baddr": "0x0", "en": False, "sz": 0}


async def test_the_last_online_cpu_stays(client: httpx.AsyncClient) -> None:
    await make(client, cpus=1)

    answer = await client.patch("/v1/vms/default-1/cpus/0", json={"online": False})

    assert (answer.status_code, answer.json()["code"]) == (409, "last_online_cpu")
    assert "errno" not in answer.json()


async def test_faults_are_armed_listed_and_disarmed(client: httpx.AsyncClient, vm: str) -> None:
    kinds = [kind["type"] for kind in (await client.get("/v1/fault-types")).json()["fault_types"]]
    for kind in kinds:
        answer = await client.post(f"{vm}/faults", json={"type": kind, "probability": 0.5})
        assert answer.status_code == 201

    gone = await client.delete(f"{vm}/faults/f2")
    listed = (await client.get(f"{vm}/faults")).json()["faults"]
    all_gone = await client.delete(f"{vm}/faults")

    assert (gone.status_code, all_gone.status_code) == (204, 204)
    assert [fault["fault_id"] for fault in listed] == ["f1", *(f"f{n}" for n in range(3, 9))]
    assert (await client.get(f"{vm}/faults")).json()["faults"] == []
    again = await client.post(f"{vm}/faults", json={"type": "ipaf"})
    assert again.headers["location"] == f"{vm}/faults/f9"


async def test_a_batch_answers_what_the_single_calls_would(
    client: httpx.AsyncClient, vm: str
) -> None:
    region = {"guest_phys_addr": 0, "memory_size": "1MiB", "flags": ["LOG_DIRTY_PAGES"]}
    actions = [
        {"op": "set_memslot", "slot": 1, **region},
        {"op": "guest_write", "vcpu": 1, "gfns": [0, 1]},
        {"op": "guest_read", "gfns": [2]},
        {"op": "host_write", "gfn_ranges": [[4, 1]]},
        {"op": "host_unmap", "gfns": [0]},
        {"op": "add_fault", "type": "ipaf", "when": {"slot": 7}},
        {"op": "clear_dirty_log", "slot": 1, "num_pages": 64, "page_ranges": [[0, 1]]},
        {"op": "get_dirty_log", "slot": 1, "format": "ranges"},
        {"op": "set_cpu", "cpu": 3, "online": False},
        {"op": "delete_fault", "fault_id": "f1"},
        {"op": "delete_memslot", "slot": 1},
        {"op": "delete_memslot", "slot": 1},
        {"op": "guest_write", "gfns": [0]},
    ]

    answer = await client.post(f"{vm}/batch", json={"actions": actions})

    results = answer.json()["results"]
    assert answer.status_code == 200
    statuses = [201, 200, 200, 200, 200, 201, 200, 200, 200, 204, 204, 404]
    assert [result["status"] for result in results] == statuses
    assert results[7]["body"]["page_ranges"] == [[1, 1], [4, 1]]
    assert results[9]["body"] is None
    problem = results[-1]["body"]
    single = (await client.delete(f"{vm}/memslots/1")).json()
    assert problem["errors"][0].pop("pointer") == "/actions/11/slot"
    assert problem["errors"][0].pop("in") == "body"
    assert single["errors"][0].pop("pointer") == "slot"
    assert single["errors"][0].pop("in") == "path"
    assert {**problem, "instance": ""} == {**single, "instance": ""}


async def test_a_batch_has_at_most_ten_thousand_actions(client: httpx.AsyncClient, vm: str) -> None:
    action = {"op": "guest_read", "gfns": [BASE_GFN]}

    most = await client.post(f"{vm}/batch", json={"actions": [action] * 10_000})
    more = await client.post(f"{vm}/batch", json={"actions": [action] * 10_001})

    assert len(most.json()["results"]) == 10_000
    assert (more.status_code, more.json()["errors"][0]["pointer"]) == (422, "/actions")


async def test_the_answer_of_a_batch_is_bounded(
    client: httpx.AsyncClient, vm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MAX_ANSWER_BYTES", 300)
    get = {"op": "get_dirty_log", "slot": 0, "format": "base64"}

    answer = await client.post(f"{vm}/batch", json={"actions": [get] * 5})

    results = answer.json()["results"]
    assert [result["status"] for result in results] == [200, 200, 409]
    assert results[-1]["body"]["code"] == "batch_answer_limit"


async def test_a_long_list_of_gfns_is_read_like_a_short_one(
    client: httpx.AsyncClient, vm: str
) -> None:
    gfns = [BASE_GFN + n % 1024 for n in range(100_000)]

    answer = await client.post(f"{vm}/guest/write", json={"gfns": gfns})
    wrong = await client.post(f"{vm}/guest/write", json={"gfns": [*gfns, -1]})

    assert (answer.json()["pages"], answer.json()["newly_dirty"]) == (100_000, 1024)
    assert wrong.json()["errors"][0]["pointer"] == "/gfns/100000"


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"max_vms": 1}, "vm_limit"),
        ({"max_pages_per_vm": 255}, "page_limit"),
        ({"max_state_bytes": 16}, "state_bytes_limit"),
    ],
)
async def test_a_limit_is_a_conflict_that_names_it(
    connect: Any, limits: dict[str, int], code: str
) -> None:
    slot = {"slot": 0, "guest_phys_addr": 0, "memory_size": "1MiB"}
    async with connect(create_app(Settings(**limits))) as client:  # type: ignore[arg-type]
        await make(client)

        answer = await make(client, memslots=[slot])

    assert (answer.status_code, answer.json()["code"]) == (409, code)


async def test_a_refusal_of_the_kernel_comes_before_a_limit(connect: Any) -> None:
    async with connect(create_app(Settings(max_pages_per_vm=1))) as client:
        await make(client)

        answer = await client.put(
            "/v1/vms/default-1/memslots/0",
            json={"guest_phys_addr": "0x10000000000", "memory_size": "1MiB"},
        )

    assert answer.json()["code"] == "beyond_ipa_space"


async def test_a_slot_of_a_tebibyte_is_made_at_once(client: httpx.AsyncClient) -> None:
    slot = {"slot": 0, "guest_phys_addr": 0, "memory_size": "1TiB", "flags": ["LOG_DIRTY_PAGES"]}

    answer = await make(client, ipa_bits=42, memslots=[slot])

    assert answer.json()["memslots"][0]["npages"] == 1 << 28
