"""How classes are read and written: unknown fields, nulls, tags, and sets of pages."""

from typing import Any

import numpy as np
import orjson
import pytest

from hacdbs_sim.model.accesses import GuestWrite, GuestWriteMemory
from hacdbs_sim.model.base import Action
from hacdbs_sim.model.batches import Batch, LogFormat
from hacdbs_sim.model.cpus import CpuInfo, ErrReasonName, HacdbsbrInfo, HacdbsconsInfo, UnitStatus
from hacdbs_sim.model.dirty_log import (
    AcceleratorOutcome,
    AcceleratorReport,
    ClearDirtyLog,
    DirtyLog,
    EntryError,
    ErrorReason,
    RunTrace,
)
from hacdbs_sim.model.errors import Errno, InvalidArgumentError
from hacdbs_sim.model.faults import AddFault, AddIpaf, EntryWhen, FaultInfo, FaultType, LogOp
from hacdbs_sim.model.memslots import ChangedMemslot, MemslotChange, SetMemslot
from hacdbs_sim.model.migrations import StartMigration
from hacdbs_sim.model.pages import Bitmap, Gfns, PageRanges
from hacdbs_sim.model.query_migrate import MigrationStatus, QmpRam, QueryMigrate
from hacdbs_sim.model.vms import CreateVm, UpdateVm, VmInfo
from hacdbs_sim.model.workloads import AddWorkload, AddZipf
from hacdbs_sim.wire import (
    InvalidRequestError,
    MalformedBodyError,
    body_class,
    read,
    to_plain,
    write,
)
from hacdbs_sim.wire.actions import classes_by_op
from hacdbs_sim.wire.reader import count_colons

CLEAR_BODY = body_class(
    ClearDirtyLog, without=frozenset({"slot", "first_page", "num_pages", "cpu", "trace"})
)


def refused(cls: type[Any], body: bytes) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRequestError) as refusal:
        read(cls, body)
    return [(error.pointer, error.detail) for error in refusal.value.errors]


def log(**fields: Any) -> DirtyLog:
    return DirtyLog(slot=0, first_page=0, num_pages=128, dirty_count=3, remaining_count=1, **fields)


def test_a_request_refuses_a_field_that_it_does_not_have() -> None:
    assert refused(UpdateVm, b'{"eager_split_chunk_size": 0, "x": 1}') == [
        ("/x", "there is no such field")
    ]
    assert refused(GuestWrite, b'{"gfns": [1], "x": 1}') == [("/x", "there is no such field")]


@pytest.mark.parametrize(
    ("cls", "body", "refusal"),
    [
        (CreateVm, {"vcpu": 2}, ("/vcpu", "there is no such field; did you mean vcpus?")),
        (
            CreateVm,
            {"faults": [{"type": "ipaf", "wen": {}}]},
            ("/faults/0/wen", "there is no such field; did you mean when?"),
        ),
        (
            Batch,
            {"actions": [{"op": "get_dirty_log", "slot": 0, "formt": "words"}]},
            ("/actions/0/formt", "there is no such field; did you mean format?"),
        ),
        (
            StartMigration,
            {"vm_id": "default-1", "auto_converge": {"maximum": 9, "max": 9, "incremnt": 9}},
            ("/auto_converge/incremnt", "there is no such field; did you mean increment?"),
        ),
        (UpdateVm, {"x" * (1 << 16): 0}, ("/" + "x" * (1 << 16), "there is no such field")),
    ],
)
def test_an_unknown_field_is_refused_with_the_one_that_was_perhaps_meant(
    cls: type[Any], body: dict[str, Any], refusal: tuple[str, str]
) -> None:
    assert refusal in refused(cls, orjson.dumps(body))


@pytest.mark.parametrize(
    ("cls", "body", "pointer", "detail", "value"),
    [
        (GuestWrite, {"gfn_ranges": [5]}, "/gfn_ranges/0", "must be [first, count]", 5),
        (GuestWrite, {"gfn_ranges": [[1]]}, "/gfn_ranges/0", "must be [first, count]", None),
        (GuestWrite, {"gfn_ranges": [[1] * 3]}, "/gfn_ranges/0", "must be [first, count]", None),
        (
            GuestWriteMemory,
            {"gpa_ranges": [{}]},
            "/gpa_ranges/0",
            "must be [address, length] (got an object)",
            None,
        ),
        (GuestWrite, {"gfns": 5}, "/gfns", "must be an array", 5),
        (CreateVm, [], "", "must be an object (got an array)", None),
        (CreateVm, {"vcpus": {}}, "/vcpus", "must be an integer of 1..512 (got an object)", None),
        (CreateVm, {"vcpus": "an object"}, "/vcpus", "must be an integer of 1..512", "an object"),
        (CreateVm, {"backend": "x"}, "/backend", "must be one of simulated, host_kvm", "x"),
        (StartMigration, {"vm_id": 5}, "/vm_id", "must be a string", 5),
        (StartMigration, {"vm_id": "a", "slots": []}, "/slots", "length must be at least 1", 0),
        (AddFault, {"type": "ipaf", "probability": "x"}, "/probability", "must be a number", "x"),
        (AddFault, {"type": "ipaf", "probability": 2}, "/probability", "must be at most 1", 2),
        (AddFault, {"type": "ipaf", "probability": -1}, "/probability", "must be at least 0", -1),
    ],
)
def test_what_is_wrong_is_said_in_one_form(
    cls: type[Any], body: object, pointer: str, detail: str, value: object
) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        read(cls, orjson.dumps(body))

    (error,) = refusal.value.errors
    assert (error.pointer, error.detail, error.value) == (pointer, detail, value)


def test_an_outcome_ignores_unknown_fields_at_any_depth() -> None:
    text = orjson.loads(write(log()))
    text["new"] = 1
    text["software"]["new"] = 1
    fault = {
        "fault_id": "f1",
        "type": "ipaf",
        "opportunities": 0,
        "hits": 0,
        "last_hit": None,
        "when": {"gfn": 1, "new": 2},
    }

    assert read(DirtyLog, orjson.dumps(text)) == log()
    assert read(FaultInfo, orjson.dumps(fault)).when == EntryWhen(gfn=1)


def test_an_optional_field_may_be_null_which_is_as_if_it_were_left_out() -> None:
    body = b'{"slot": 0, "page_ranges": [[0, 1]], "bitmap": null, "cpu": null, "num_pages": null}'
    when = b'{"type": "ipaf", "when": {"op": null, "gfn": 5, "batch": null}}'

    assert to_plain(read(ClearDirtyLog, body)) == to_plain(
        read(ClearDirtyLog, b'{"slot": 0, "page_ranges": [[0, 1]]}')
    )
    assert read(AddIpaf, when).when == EntryWhen(gfn=5)


@pytest.mark.parametrize("body", [b"{}", b'{"gfns": null}', b'{"gfns": [1], "gfn_ranges": []}'])
def test_exactly_one_set_of_pages_is_given(body: bytes) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        read(GuestWrite, body)

    (error,) = refusal.value.errors
    assert (error.pointer, error.detail, error.bound) == (
        "",
        "exactly one of gfns, gfn_ranges must be given",
        "gfns, gfn_ranges",
    )


def test_one_capability_is_set_at_a_time() -> None:
    message = "exactly one of manual_dirty_log_protect2, eager_split_chunk_size must be given"

    assert read(UpdateVm, b'{"eager_split_chunk_size": "2MiB"}').eager_split_chunk_size == 2 << 20
    assert refused(UpdateVm, b"{}") == [("", message)]
    assert refused(UpdateVm, b'{"manual_dirty_log_protect2": 0, "eager_split_chunk_size": 0}') == [
        ("", message)
    ]


@pytest.mark.parametrize("other", [b'"batch": 0', b'"index": 0'])
def test_an_entry_has_one_place(other: bytes) -> None:
    body = b'{"type": "structf", "when": {"gfn": 1, %s}}' % other

    ((pointer, detail),) = refused(AddFault, body)

    assert pointer == "/when"
    assert detail.startswith("only one of gfn, ")


def test_pages_are_built_from_each_of_their_fields() -> None:
    gfns = read(GuestWrite, b'{"gfns": [3, "0x4", 3]}').pages
    ranges = read(GuestWrite, b'{"gfn_ranges": [["0x10", 2]]}').pages
    bitmap = CLEAR_BODY(b'{"bitmap": "AwAAAAAAAAA="}')["pages"]
    words = CLEAR_BODY(b'{"words": [18446744073709551615, 0]}')["pages"]

    assert isinstance(gfns, Gfns)
    assert gfns.gfns.tolist() == [3, 4, 3]
    assert isinstance(ranges, PageRanges)
    assert (ranges.first.tolist(), ranges.count.tolist()) == ([16], [2])
    assert bitmap == Bitmap(np.array([3], np.uint64))
    assert words.words.tolist() == [(1 << 64) - 1, 0]


def test_the_words_of_a_bitmap_are_whole() -> None:
    with pytest.raises(InvalidArgumentError, match="bitmap must be a multiple of 8 bytes, not 3"):
        CLEAR_BODY(b'{"bitmap": "AAAA"}')


def test_the_body_of_a_route_lacks_what_path_and_query_carry() -> None:
    read_slot = body_class(SetMemslot, without=frozenset({"slot"}))

    assert read_slot(b'{"guest_phys_addr": "0x1000", "memory_size": "1MiB"}') == {
        "guest_phys_addr": 4096,
        "memory_size": 1 << 20,
        "userspace_addr": None,
        "flags": 0,
        "backing": None,
    }
    with pytest.raises(InvalidRequestError):
        read_slot(b'{"slot": 1, "guest_phys_addr": 0, "memory_size": 0}')


def test_a_tag_is_required_though_the_class_has_a_default() -> None:
    assert refused(AddIpaf, b"{}") == [("/type", "is required")]
    assert read(AddFault, b'{"type": "ipaf"}') == AddIpaf()
    assert isinstance(
        read(AddWorkload, b'{"kind": "zipf", "slot": 0, "writes_per_second": 1}'), AddZipf
    )


def test_a_place_that_the_type_does_not_have_is_refused() -> None:
    body = b'{"type": "lost_interrupt", "when": {"gfn": 1}}'

    assert refused(AddFault, body) == [("/when/gfn", "there is no such field")]


def test_pointers_have_no_tags() -> None:
    body = b'{"faults": [{"type": "ipaf"}, {"type": "ipaf", "when": {"slot": -1}}]}'

    assert refused(CreateVm, body) == [("/faults/1/when/slot", "must be an integer of 0..32766")]


def test_a_long_list_is_refused_by_its_first_wrong_element() -> None:
    slots = b",".join([b'{"slot": -1, "guest_phys_addr": 0, "memory_size": 0}'] * 50)

    assert [pointer for pointer, _ in refused(CreateVm, b'{"memslots": [%s]}' % slots)] == [
        "/memslots/0/slot"
    ]
    assert [pointer for pointer, _ in refused(GuestWrite, b'{"gfns": [-1, -1]}')] == ["/gfns/0"]


def test_text_that_is_not_json_has_another_refusal_than_refused_json() -> None:
    for body in (b"", b"{", b'{"gfns": [NaN]}', b"\xff\xfe{}", b'{"x": "\\ud800"}', b"[" * 10_000):
        with pytest.raises(MalformedBodyError, match="the body is not JSON"):
            read(GuestWrite, body)


def test_a_body_of_more_fields_than_the_schema_takes_is_refused_unread() -> None:
    body = b"{" + b",".join(b'"x%d":1' % n for n in range(20_000)) + b"}"

    assert refused(UpdateVm, body) == [("", "the body has more fields than the schema could take")]
    assert count_colons(CreateVm) > 6 * 32_767


def test_texts_and_numbers_are_not_taken_for_each_other() -> None:
    for body in (b'{"name": 1}', b'{"seed": "1"}', b'{"features": {"dbm": 1}}', b'{"kernel": 1}'):
        assert len(refused(CreateVm, body)) == 1
    assert refused(AddFault, b'{"type": "ipaf", "probability": "0.5"}')[0][0] == "/probability"


def test_a_memslot_has_todays_form() -> None:
    memslot = ChangedMemslot(
        slot=0,
        guest_phys_addr=0x4000_0000,
        memory_size=2 << 30,
        userspace_addr=0x4000_0000,
        flags=1,
        backing=4096,
        base_gfn=262144,
        npages=524288,
        dirty_count=None,
        change=MemslotChange.CREATE,
    )

    assert write(memslot) == (
        b'{"slot":0,"guest_phys_addr":"0x40000000","memory_size":2147483648,'
        b'"userspace_addr":"0x40000000","flags":["LOG_DIRTY_PAGES"],"backing":4096,'
        b'"base_gfn":262144,"npages":524288,"dirty_count":null,"change":"create"}'
    )


def test_a_cpu_has_todays_form() -> None:
    cpu = CpuInfo(
        cpu=1,
        online=True,
        status=UnitStatus.IDLE,
        hacdbsbr_el2=HacdbsbrInfo(raw=0x8000_0000_0000_1000, baddr=0x1000, en=False, sz=0),
        hacdbscons_el2=HacdbsconsInfo(raw=0, err_reason=ErrReasonName.NOF, index=0),
        interrupts=2,
        runs=2,
        entries=600,
        cleaned=600,
    )

    assert orjson.loads(write(cpu)) == {
        "cpu": 1,
        "online": True,
        "status": "IDLE",
        "hacdbsbr_el2": {"raw": "0x8000000000001000", "baddr": "0x1000", "en": False, "sz": 0},
        "hacdbscons_el2": {"raw": "0x0", "err_reason": "NOF", "index": 0},
        "interrupts": 2,
        "runs": 2,
        "entries": 600,
        "cleaned": 600,
    }


def test_a_fault_shows_only_those_places_that_were_given() -> None:
    fault = FaultInfo(
        fault_id="f1",
        type=FaultType.IPAF,
        when=EntryWhen(op=LogOp.CLEAR, batch=2),
        opportunities=3,
        hits=0,
        last_hit=None,
        times=1,
    )

    assert to_plain(fault) == {
        "enabled": True,
        "probability": 1.0,
        "after": 0,
        "every": 1,
        "times": 1,
        "fault_id": "f1",
        "type": "ipaf",
        "when": {"op": "clear", "batch": 2},
        "opportunities": 3,
        "hits": 0,
        "last_hit": None,
    }


ACCELERATOR = AcceleratorReport(
    cpu=1,
    outcome=AcceleratorOutcome.PARTIAL,
    errno=Errno.EAGAIN,
    batches=1,
    entries=3,
    cleaned=2,
    requeued=1,
    error=EntryError(reason=ErrorReason.IPAF, batch=0, index=2, gfn=64),
    trace=(RunTrace(size=3, cleaned=2, first_gfn=0, last_gfn=64, ttwl=3),),
    trace_omitted=0,
)
SOFTWARE = {"ran": False, "words": 0, "pages": 0, "write_protected": 0, "blocks_split": 0}


def test_a_log_has_todays_form_in_each_format() -> None:
    outcome = log(bitmap=Bitmap(np.array([3, 1], np.uint64)), accelerator=ACCELERATOR)
    common = {
        "slot": 0,
        "first_page": 0,
        "num_pages": 128,
        "dirty_count": 3,
        "remaining_count": 1,
        "accelerator": {
            "cpu": 1,
            "outcome": "partial",
            "errno": "EAGAIN",
            "batches": 1,
            "entries": 3,
            "cleaned": 2,
            "requeued": 1,
            "blocks_split": 0,
            "error": {"reason": "IPAF", "batch": 0, "index": 2, "gfn": 64},
            "trace": [{"size": 3, "cleaned": 2, "first_gfn": 0, "last_gfn": 64, "ttwl": 3}],
            "trace_omitted": 0,
        },
        "software": SOFTWARE,
        "flush_tlb": False,
    }

    for log_format, pages in (
        (LogFormat.RANGES, {"page_ranges": [[0, 2], [64, 1]]}),
        (LogFormat.BASE64, {"bitmap": "AwAAAAAAAAABAAAAAAAAAA=="}),
        (LogFormat.WORDS, {"words": [3, 1]}),
        (LogFormat.SUMMARY, dict[str, Any]()),
    ):
        assert orjson.loads(write(outcome, format=log_format)) == {**common, **pages}
        assert to_plain(outcome, format=log_format) == {**common, **pages}


def test_a_log_is_written_without_its_trace_where_that_is_asked_for() -> None:
    written = orjson.loads(write(log(accelerator=ACCELERATOR), with_trace=False))

    assert "trace" not in written["accelerator"]
    assert "trace_omitted" not in written["accelerator"]


def test_many_ranges_are_written_as_few_are() -> None:
    words = np.full(64, 0x5555_5555_5555_5555, np.uint64)
    outcome = DirtyLog(
        slot=0,
        first_page=0,
        num_pages=4096,
        dirty_count=2048,
        remaining_count=0,
        bitmap=Bitmap(words),
    )
    ranges = [[page, 1] for page in range(0, 4096, 2)]

    assert orjson.loads(write(outcome))["page_ranges"] == ranges
    assert to_plain(outcome)["page_ranges"] == ranges
    assert read(DirtyLog, write(outcome)) == outcome


def test_a_range_that_leaves_its_log_is_refused() -> None:
    text = orjson.loads(write(log()))
    text["page_ranges"] = [[127, 2]]

    assert refused(DirtyLog, orjson.dumps(text))[0][1].endswith(
        "a range ends beyond the log's 128 pages"
    )


def test_values_of_the_model_are_written_wherever_they_are_in_json() -> None:
    assert orjson.loads(write({"logs": [log()], "next_page_token": ""})) == {
        "logs": [to_plain(log())],
        "next_page_token": "",
    }
    with pytest.raises(TypeError):
        write({"x": object()})


def test_a_vm_is_read_from_an_outcome_of_a_newer_service() -> None:
    vm: dict[str, Any] = {
        "vm_id": "default-1",
        "name": "",
        "session_id": "default",
        "track_versions": False,
        "memslots": [],
        "faults": [],
        "workloads": [],
        "backend": "simulated",
        "capabilities": {"ops": ["get_dirty_log"], "unknown_fields": []},
        "counters": {"gets": 1},
        "new": 1,
        "features": {"dbm": True, "hacdbs": False, "hdbss": False},
    }

    assert read(VmInfo, orjson.dumps(vm)).features.hacdbs is False


def test_an_action_that_stands_for_others_is_their_union() -> None:
    ops = ", ".join(classes_by_op())

    assert refused(Action, b'{"op": "nope"}') == [("/op", f"must be one of {ops}")]
    assert refused(Action, b"{}") == [("/op", f"is required; one of {ops}")]


def test_fields_of_qmp_have_hyphens() -> None:
    written = to_plain(
        QueryMigrate(
            status=MigrationStatus.ACTIVE,
            total_time=1,
            setup_time=2,
            downtime=3,
            expected_downtime=4,
            cpu_throttle_percentage=5,
            error_desc=None,
            ram=QmpRam(
                transferred=1,
                remaining=2,
                total=3,
                duplicate=0,
                normal=4,
                normal_bytes=5,
                dirty_pages_rate=6,
                mbps=1.5,
                dirty_sync_count=7,
                page_size=4096,
                pages_per_second=8,
                precopy_bytes=9,
                downtime_bytes=10,
                postcopy_bytes=11,
                postcopy_requests=12,
            ),
        )
    )

    assert written["cpu-throttle-percentage"] == 5
    assert written["ram"]["dirty-sync-missed-zero-copy"] == 0
    again = read(QueryMigrate, orjson.dumps(written))
    assert again.ram is not None
    assert again.ram.normal_bytes == 5
