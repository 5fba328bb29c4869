"""Migrations over real HTTP, judged with plain sets of what was sent and what came back."""

from collections.abc import Iterable
from typing import Any

import httpx
import pytest

from hacdbs_sim.cli.demo.traces import lay_out
from hacdbs_sim.client import Client, NotFoundError, Session
from hacdbs_sim.traces.recording import SHIPPED, builtin

SLOT = {"guest_phys_addr": "0x40000000", "memory_size": "64MiB", "flags": ["LOG_DIRTY_PAGES"]}
BASE_GFN = 0x4000_0000 // 4096
NPAGES = (64 << 20) // 4096
MANUAL_AND_INITIALLY_SET = 3


class Source:
    """The source of a migration: a VM with one slot, by JSON calls."""

    def __init__(self, http: httpx.Client, session: Session, **fields: object) -> None:
        self.http = http
        body = {"session_id": session.session_id, "memslots": [{"slot": 0, **SLOT}], **fields}
        self.vm_id = http.post("/v1/vms", json=body).raise_for_status().json()["vm_id"]

    def post(self, path: str, body: object = None, **params: Any) -> dict[str, Any]:
        url = f"/v1/vms/{self.vm_id}/{path}"
        answer = self.http.post(url, params=params, json=body)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    def write(self, pages: Iterable[int], vcpu: int = 0) -> None:
        gfns = [BASE_GFN + page for page in pages]
        self.post("guest/write", {"gfns": gfns}, vcpu=vcpu)

    def get(self) -> set[int]:
        return pages_of(self.post("memslots/0/dirty-log/get")["page_ranges"])

    def clear(self, first_page: int, num_pages: int, pages: set[int]) -> dict[str, Any]:
        ranges = [[page, 1] for page in sorted(pages)]
        return self.post(
            "memslots/0/dirty-log/clear",
            {"page_ranges": ranges},
            first_page=first_page,
            num_pages=num_pages,
        )

    def arm(self, kind: str, **when: object) -> str:
        return str(self.post("faults", {"type": kind, "when": when})["fault_id"])

    def hits(self, fault_id: str) -> int:
        answer = self.http.get(f"/v1/vms/{self.vm_id}/faults/{fault_id}")
        return int(answer.raise_for_status().json()["hits"])


def pages_of(ranges: list[list[int]]) -> set[int]:
    return {page for first, count in ranges for page in range(first, first + count)}


def written_by(name: str, rounds: int) -> list[set[int]]:
    """What a real program wrote, a set of pages for each round."""
    recording = builtin(name)
    layout = lay_out(recording.vpage)
    step = recording.intervals // rounds
    return [
        {
            int(page) % NPAGES
            for interval in range(step * number, step * number + 3)
            for page in layout[recording.written_in(interval)]
        }
        for number in range(rounds)
    ]


@pytest.mark.parametrize("name", SHIPPED)
def test_each_get_takes_exactly_what_a_program_wrote_since_the_last(
    name: str, http: httpx.Client, session: Session
) -> None:
    source = Source(http, session)

    for pages in written_by(name, rounds=6):
        source.write(pages)

        assert source.get() == pages
    assert source.get() == set()


@pytest.mark.parametrize("name", SHIPPED)
def test_get_and_clear_in_chunks_end_with_an_empty_log(
    name: str, http: httpx.Client, session: Session
) -> None:
    source = Source(http, session, manual_dirty_log_protect2=MANUAL_AND_INITIALLY_SET)
    expected = set(range(NPAGES))
    chunk = NPAGES // 4

    for pages in written_by(name, rounds=4):
        source.write(pages, vcpu=0)
        expected |= pages
        assert source.get() == expected
        assert source.get() == expected  # a copy: nothing is taken
        for first in range(0, NPAGES, chunk):
            cleared = {page for page in expected if first <= page < first + chunk}
            assert source.clear(first, chunk, cleared)["dirty_count"] == len(cleared)
        expected = set()
    assert source.get() == set()


def test_a_page_written_between_get_and_clear_is_copied_after_the_clear(
    http: httpx.Client, session: Session
) -> None:
    source = Source(http, session, manual_dirty_log_protect2=1)
    source.write({1, 2})
    reported = source.get()
    source.write({2, 3})
    source.clear(0, 64, reported)

    # 2 was cleared before it was copied, so its last contents go; 3 is reported the next time
    assert source.get() == {3}


@pytest.mark.parametrize(
    ("kind", "when"),
    [
        ("structf", {"batch": 1, "index": 5}),
        ("ipaf", {"gfn": BASE_GFN + 700}),
        ("ipahacf", {"batch": 0, "index": 511}),
        ("lost_interrupt", {"batch": 1}),
        ("entries_enomem", {}),
        ("unit_busy", {}),
    ],
)
def test_a_unit_that_fails_loses_no_page(
    kind: str, when: dict[str, Any], http: httpx.Client, session: Session
) -> None:
    source = Source(http, session)
    fault_id = source.arm(kind, op="get", **when)
    pages = set(range(0, 3000, 2)) | {700}
    source.write(pages)

    report = source.post("memslots/0/dirty-log/get")

    assert pages_of(report["page_ranges"]) == pages
    assert source.hits(fault_id) == 1
    assert report["accelerator"]["outcome"] in {"partial", "declined"}
    assert report["accelerator"]["cleaned"] + report["software"]["pages"] == len(pages)
    assert source.get() == set()


def test_two_sessions_side_by_side_do_not_touch_each_other(
    http: httpx.Client, session: Session, other_session: Session
) -> None:
    one, other = Source(http, session), Source(http, other_session)
    of_one, of_other = written_by("xz", rounds=3), written_by("sqlite", rounds=3)
    fault_id = other.arm("unit_busy")

    for pages, other_pages in zip(of_one, of_other, strict=True):
        one.write(pages)
        other.write(other_pages)
        assert one.get() == pages
        assert other.get() == other_pages

    assert other.hits(fault_id) == 3
    counters = http.get(f"/v1/vms/{one.vm_id}").raise_for_status().json()["faults"]
    assert counters == []


def test_a_reset_ends_one_session_and_leaves_the_other(
    http: httpx.Client, session: Session, other_session: Session
) -> None:
    one, other = Source(http, session), Source(http, other_session)
    one.write({1})
    other.write({2})

    assert http.post(f"/v1/sessions/{session.session_id}/reset").status_code == 204

    assert http.get(f"/v1/vms/{one.vm_id}").status_code == 404
    assert other.get() == {2}
    assert Source(http, session).vm_id == one.vm_id  # numbering starts anew


def test_a_session_deleted_by_another_client_is_raised_unless_another_exception_was(
    client: Client,
) -> None:
    def delete() -> None:
        client.session("short-lived").delete()

    def delete_and_fail() -> None:
        delete()
        raise ZeroDivisionError

    with pytest.raises(NotFoundError) as refusal, client.create_session("short-lived"):
        delete()
    with pytest.raises(ZeroDivisionError), client.create_session("short-lived"):
        delete_and_fail()

    assert refusal.value.code == "no_such_session"
