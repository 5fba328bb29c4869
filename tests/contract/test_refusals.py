"""Bad input, row by row: what refuses it, where it says so, and that nothing has changed."""

from typing import Any, NamedTuple

import httpx
import pytest

pytestmark = pytest.mark.anyio

BASE_GFN = 0x40000


class Refused(NamedTuple):
    """A request, and the refusal that it meets; `at` is `place:pointer` where one is named."""

    method: str
    path: str
    request: dict[str, Any]
    status: int
    code: str
    errno: str
    at: str


SLOT = "memslots/0"
CLEAR = f"{SLOT}/dirty-log/clear"
GET = f"{SLOT}/dirty-log/get"
REGION = {"guest_phys_addr": "0x80000000", "memory_size": 4096}

ALL_TYPES = (
    "structf, ipaf, ipahacf, lost_interrupt, split_enomem, entries_enomem, unit_busy, copy_to_user"
)

REFUSED: list[Refused] = [
    Refused("PUT", "memslots/1", {"json": {**REGION, "x": 1}}, 422, "invalid_request", "EINVAL", "body:/x"),
    Refused("PUT", "memslots/1", {"json": {"memory_size": 4096}}, 422, "invalid_request", "EINVAL",
     "body:/guest_phys_addr"),
    Refused("PUT", "memslots/1", {"json": {**REGION, "flags": ["DIRTY"]}}, 422, "invalid_request",
     "EINVAL", "body:/flags/0"),
    Refused("PUT", "memslots/1", {"json": {**REGION, "guest_phys_addr": True}}, 422, "invalid_request",
     "EINVAL", "body:/guest_phys_addr"),
    Refused("PUT", "memslots/1", {"json": {**REGION, "guest_phys_addr": 1 << 64}}, 422,
     "invalid_request", "EINVAL", "body:/guest_phys_addr"),
    Refused("PUT", "memslots/1", {"json": {**REGION, "memory_size": -1}}, 422, "invalid_request",
     "EINVAL", "body:/memory_size"),
    Refused("PUT", "memslots/1", {"json": {**REGION, "memory_size": 1.5}}, 422, "invalid_request",
     "EINVAL", "body:/memory_size"),
    Refused("PUT", "memslots/1", {"json": {**REGION, "memory_size": "2 GB"}}, 422, "invalid_request",
     "EINVAL", "body:/memory_size"),
    Refused("PUT", "memslots/1", {"json": {**REGION, "memory_size": 4097}}, 409, "invalid_argument",
     "EINVAL", "body:/memory_size"),
    Refused("PUT", "memslots/1", {"json": {**REGION, "guest_phys_addr": "0x1"}}, 409,
     "invalid_argument", "EINVAL", "body:/guest_phys_addr"),
    Refused("PUT", "memslots/1", {"json": {**REGION, "guest_phys_addr": "0x40001000"}}, 409,
     "memslot_overlap", "EEXIST", "body:/guest_phys_addr"),
    Refused("PUT", "memslots/1", {"json": {**REGION, "guest_phys_addr": "0x10000000000"}}, 409,
     "beyond_ipa_space", "EFAULT", ""),
    Refused("PUT", SLOT, {"json": {"guest_phys_addr": "0x40000000", "memory_size": "8MiB"}}, 409,
     "memslot_changed", "EINVAL", "body:/memory_size"),
    Refused("PUT", "memslots/32767", {"json": REGION}, 422, "invalid_request", "EINVAL", "path:slot"),
    Refused("GET", "memslots/7", {}, 404, "no_such_memslot", "", "path:slot"),
    Refused("GET", "memslots/one", {}, 422, "invalid_request", "", "path:slot"),
    Refused("DELETE", "memslots/7", {}, 404, "no_such_memslot", "EINVAL", "path:slot"),
    Refused("POST", "guest/write", {"json": {"gfns": ["1"]}}, 422, "invalid_request", "",
     "body:/gfns/0"),
    Refused("POST", "guest/write", {"json": {}}, 422, "invalid_request", "", "body:"),
    Refused("POST", "guest/write", {"json": {"gfns": [], "gfn_ranges": []}}, 422, "invalid_request", "",
     "body:"),
    Refused("POST", "guest/write", {"json": {"gfn_ranges": [[1, 0]]}}, 422, "invalid_request", "",
     "body:/gfn_ranges/0/1"),
    Refused("POST", "guest/write", {"json": {"gfns": [1 << 28]}}, 409, "gfn_beyond_ipa_space", "", ""),
    Refused("POST", "guest/write?vcpu=2", {"json": {"gfns": [1]}}, 404, "no_such_vcpu", "",
     "query:vcpu"),
    Refused("POST", "guest/write?vcpu=+1", {"json": {"gfns": [1]}}, 422, "invalid_request", "",
     "query:vcpu"),
    Refused("POST", "guest/write", {"content": b"1234567", "headers": {
        "content-type": "application/octet-stream"}}, 409, "invalid_argument", "", "body:/gfns"),
    Refused("POST", f"{CLEAR}?first_page=3", {"json": {"page_ranges": []}}, 422, "invalid_request",
     "EINVAL", "query:first_page"),
    Refused("POST", f"{CLEAR}?num_pages=3", {"json": {"page_ranges": []}}, 409,
     "window_outside_memslot", "EINVAL", "query:num_pages"),
    Refused("POST", f"{CLEAR}?first_page=2048", {"json": {"page_ranges": []}}, 409,
     "window_outside_memslot", "EINVAL", "query:first_page"),
    Refused("POST", CLEAR, {"json": {"page_ranges": [[0, 1025]]}}, 409, "invalid_argument", "EINVAL",
     "body:/page_ranges"),
    Refused("POST", CLEAR, {"json": {"bitmap": "/////////w=="}}, 409, "invalid_argument", "EINVAL",
     "body:/bitmap"),
    Refused("POST", CLEAR, {"json": {"bitmap": "//8="}}, 409, "invalid_argument", "EINVAL",
     "body:/bitmap"),
    Refused("POST", CLEAR, {"json": {"bitmap": "not base64!"}}, 422, "invalid_request", "EINVAL",
     "body:/bitmap"),
    Refused("POST", f"{CLEAR}?cpu=4", {"json": {"page_ranges": []}}, 404, "no_such_cpu", "",
     "query:cpu"),
    Refused("POST", "memslots/7/dirty-log/get", {}, 404, "no_dirty_log", "ENOENT", "path:slot"),
    Refused("POST", f"{GET}?format=xml", {}, 422, "invalid_request", "EINVAL", "query:format"),
    Refused("POST", f"{GET}?trace=1", {}, 422, "invalid_request", "EINVAL", "query:trace"),
    Refused("POST", f"{GET}?cpu=", {}, 422, "invalid_request", "EINVAL", "query:cpu"),
    Refused("POST", f"{GET}?pcu=1", {}, 422, "invalid_request", "EINVAL", "query:pcu"),
    Refused("POST", f"{GET}?cpu=1&cpu=1", {}, 422, "invalid_request", "EINVAL", "query:cpu"),
    Refused("GET", "memslots/7/dirty-log", {}, 404, "no_dirty_log", "", "path:slot"),
    Refused("PATCH", "", {"json": {"manual_dirty_log_protect2": 2}}, 422, "invalid_request", "EINVAL",
     "body:/manual_dirty_log_protect2"),
    Refused("PATCH", "", {"json": {"eager_split_chunk_size": "2MiB"}}, 409, "memslots_present",
     "EINVAL", ""),
    Refused("PATCH", "", {"json": {"eager_split_chunk_size": None}}, 422, "invalid_request", "EINVAL",
     "body:"),
    Refused("PATCH", "", {"json": {"eager_split_chunk_size": "2 MB"}}, 422, "invalid_request", "EINVAL",
     "body:/eager_split_chunk_size"),
    Refused("PATCH", "cpus/4", {"json": {"online": False}}, 404, "no_such_cpu", "", "path:cpu"),
    Refused("GET", "stage2?gfn=268435456", {}, 409, "gfn_beyond_ipa_space", "", "query:gfn"),
    Refused("POST", GET, {"json": {}}, 422, "invalid_request", "EINVAL", "body:"),
    Refused("POST", f"{GET}?cpu=0", {"content": b"x"}, 422, "invalid_request", "EINVAL", "body:"),
    Refused("DELETE", SLOT, {"json": {}}, 422, "invalid_request", "EINVAL", "body:"),
    Refused("DELETE", "", {"content": b" "}, 422, "invalid_request", "", "body:"),
    Refused("DELETE", "faults", {"json": {}}, 422, "invalid_request", "", "body:"),
    Refused("GET", "stage2?page_token=xyz", {}, 422, "invalid_request", "", "query:page_token"),
    Refused("GET", "memslots?limit=0", {}, 422, "invalid_request", "", "query:limit"),
    Refused("GET", "memslots?page_token=abc", {}, 422, "invalid_request", "", "query:page_token"),
    Refused("POST", "faults", {"json": {"type": "smoke"}}, 422, "invalid_request", "", ""),
    Refused("POST", "faults", {"json": {"type": "unit_busy", "when": {"batch": 0}}}, 422,
     "invalid_request", "", "body:/when/batch"),
    Refused("POST", "faults", {"json": {"type": "copy_to_user", "when": {"op": "clear"}}}, 422,
     "invalid_request", "", "body:/when/op"),
    Refused("POST", "faults", {"json": {"type": "ipaf", "when": {"gfn": 1, "index": 1}}}, 422,
     "invalid_request", "", "body:/when"),
    Refused("POST", "faults", {"json": {"type": "ipaf", "probability": 1.1}}, 422, "invalid_request", "",
     "body:/probability"),
    Refused("POST", "faults", {"json": {"type": "ipaf", "every": 0}}, 422, "invalid_request", "",
     "body:/every"),
    Refused("POST", "faults", {"json": {"type": "ipaf", "when": {"index": 512}}}, 409, "senseless_fault",
     "", "body:/when/index"),
    Refused("POST", "faults", {"json": {"type": "ipaf", "when": {"cpu": 4}}}, 404, "no_such_cpu", "",
     "body:/when/cpu"),
    Refused("POST", "faults", {"json": {"type": "ipaf", "ipaf": 3}}, 422, "invalid_request", "",
     "body:/ipaf"),
    Refused("POST", "faults", {"json": {"type": "ipaf", "when": {"ipaf": 3}}}, 422, "invalid_request",
     "", "body:/when/ipaf"),
    Refused("POST", "batch", {"json": {"actions": [{"op": "set_cpu", "cpu": 0, "online": True, "ipaf": 1}]}},
     422, "invalid_request", "", "body:/actions/0/ipaf"),
    Refused("GET", "faults/f9", {}, 404, "no_such_fault", "", "path:fault_id"),
    Refused("DELETE", "faults/f9", {}, 404, "no_such_fault", "", "path:fault_id"),
    Refused("POST", "batch", {"json": {"actions": [{"op": "sing"}]}}, 422, "invalid_request", "",
     "body:/actions/0/op"),
    Refused("POST", "batch", {"json": {"actions": [{"op": "get_dirty_log"}]}}, 422, "invalid_request",
     "", "body:/actions/0/slot"),
    Refused("POST", "nothing", {}, 404, "no_such_path", "", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    "case", REFUSED, ids=[f"{n}-{case.method}-{case.path}" for n, case in enumerate(REFUSED)]
)
async def test_a_refusal_names_what_to_change_and_changes_nothing(
    client: httpx.AsyncClient, vm: str, case: Refused
) -> None:
    async def state() -> list[Any]:
        paths = (vm, f"{vm}/stage2", f"{vm}/cpus", f"{vm}/{SLOT}/dirty-log")
        return [(await client.get(path)).json() for path in paths]

    await client.post(f"{vm}/guest/write", json={"gfns": [BASE_GFN, BASE_GFN + 70]})
    before = await state()

    answer = await client.request(case.method, f"{vm}/{case.path}".rstrip("/"), **case.request)

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (case.status, case.code), problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["instance"] == answer.request.url.path
    assert problem.get("errno", "") == case.errno
    assert ("ioctl" in problem) == bool(case.errno)
    if case.at:
        place, _, pointer = case.at.partition(":")
        (error, *_) = problem["errors"]
        assert (error["in"], error["pointer"]) == (place, pointer)
        assert error["detail"]
    assert await state() == before


@pytest.mark.parametrize(
    ("method", "path", "body", "bound"),
    [
        ("POST", "guest/write", {"gfns": [-1]}, "0..9007199254740991"),
        ("POST", "guest/write", {"gfn_ranges": [[1, 0]]}, "1..9007199254740991"),
        ("POST", "guest/write?vcpu=x", {"gfns": [1]}, "0..9007199254740991"),
        ("POST", f"{CLEAR}?first_page=3", {"page_ranges": []}, 64),
        ("PUT", "memslots/32767", REGION, "0..32766"),
        ("PATCH", "", {"manual_dirty_log_protect2": None},
         "manual_dirty_log_protect2, eager_split_chunk_size"),
        ("PATCH", "", {"manual_dirty_log_protect2": 2}, "0, 1, 3"),
        ("PATCH", "", {"manual_dirty_log_protect2": True}, "0, 1, 3"),
        ("POST", "batch", {"actions": [{"op": "clear_dirty_log", "slot": 0, "first_page": 3,
         "page_ranges": []}]}, "0..9007199254740991, multiples of 64"),
        ("POST", "faults", {"type": "smoke"}, ALL_TYPES),
    ],
)  # fmt: skip
async def test_a_refusal_gives_the_whole_bound(
    client: httpx.AsyncClient, *, vm: str, method: str, path: str, body: object, bound: object
) -> None:
    answer = await client.request(method, f"{vm}/{path}".rstrip("/"), json=body)

    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["bound"]) == (422, bound)
