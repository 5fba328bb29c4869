"""Refusals as problem documents, without HTTP."""

import re
from pathlib import Path

import pytest

from hacdbs_sim.model import errors
from hacdbs_sim.model.accesses import GuestWrite
from hacdbs_sim.model.errors import KvmError
from hacdbs_sim.model.problems import Problem
from hacdbs_sim.wire import (
    InvalidRequestError,
    MalformedBodyError,
    Site,
    document,
    read,
    to_plain,
    write,
)
from hacdbs_sim.wire.codec import TooManyRangesError
from hacdbs_sim.wire.errors import shown
from hacdbs_sim.wire.problems import INVALID_REQUEST, MALFORMED_BODY, leaves, type_of

DOCUMENT = Path(__file__).parents[3] / "docs" / "errors.md"
SITE = Site("/v1/vms/default-1/memslots/0/dirty-log/clear", ioctl="KVM_CLEAR_DIRTY_LOG",
            path_names=frozenset({"slot"}), query_names=frozenset({"first_page"}))  # fmt: skip


def test_every_refusal_has_the_status_that_the_documentation_states() -> None:
    sections = dict(re.findall(r"^## (\w+)\n\nStatus (\d+)", DOCUMENT.read_text(), re.MULTILINE))

    for kind in [type_of(each) for each in leaves()] + [INVALID_REQUEST, MALFORMED_BODY]:
        assert sections[kind.code] == str(kind.status)


@pytest.mark.parametrize(
    ("refusal", "status", "title"),
    [
        (errors.InvalidArgumentError, 409, "Invalid argument"),
        (errors.MemslotChangedError, 409, "The memslot cannot change so"),
        (errors.NoSuchMemslotError, 404, "No such memslot"),
        (errors.NoDirtyLogError, 404, "No dirty log"),
        (errors.NoSuchCpuError, 404, "No such CPU"),
        (errors.TooManyWritesError, 409, "Too many writes"),
        (errors.SenselessFaultError, 409, "The fault makes no sense"),
        (TooManyRangesError, 409, "Too many ranges"),
    ],
)
def test_a_refusal_has_its_status_and_title(
    refusal: type[KvmError], status: int, title: str
) -> None:
    kind = type_of(refusal)

    assert (kind.status, kind.title) == (status, title)
    assert kind.type == f"/problems/{refusal.code}"
    assert kind.meaning


def test_a_refusal_of_an_ioctl_has_its_errno_and_the_place_of_the_argument() -> None:
    refusal = errors.InvalidArgumentError(
        "first_page must be a multiple of 64, not 33", field="first_page", bound=64, value=33
    )

    assert to_plain(document(refusal, SITE)) == {
        "type": "/problems/invalid_argument",
        "title": "Invalid argument",
        "status": 409,
        "detail": "first_page must be a multiple of 64, not 33",
        "instance": "/v1/vms/default-1/memslots/0/dirty-log/clear",
        "code": "invalid_argument",
        "errno": "EINVAL",
        "ioctl": "KVM_CLEAR_DIRTY_LOG",
        "errors": [
            {
                "in": "query",
                "pointer": "first_page",
                "detail": "first_page must be a multiple of 64, not 33",
                "bound": 64,
                "value": 33,
            }
        ],
    }


def test_fields_that_do_not_apply_are_left_out() -> None:
    problem = document(errors.NoSuchVcpuError("no vCPU 7"), Site("/v1/vms/ä"))

    assert to_plain(problem) == {
        "type": "/problems/no_such_vcpu",
        "title": "No such vCPU",
        "status": 404,
        "detail": "no vCPU 7",
        "instance": "/v1/vms/%C3%A4",
        "code": "no_such_vcpu",
    }


def test_a_refusal_of_a_reader_is_a_problem_too() -> None:
    with pytest.raises(InvalidRequestError) as refused:
        read(GuestWrite, b'{"gfns": [1], "vcpu": "' + b"x" * 100 + b'"}')

    problem = document(refused.value, SITE)

    assert (problem.code, problem.status, problem.errno) == ("invalid_request", 422, "EINVAL")
    assert problem.detail == "/vcpu: must be an integer of 0..9007199254740991"
    assert problem.errors is not None
    assert (problem.errors[0].bound, problem.errors[0].value) == ("0..9007199254740991", "x" * 64)
    assert document(MalformedBodyError("no JSON"), SITE).status == 400


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("slot", ("path", "slot")),
        ("first_page", ("query", "first_page")),
        ("when.gfn", ("body", "/when/gfn")),
        ("Idempotency-Key", ("header", "Idempotency-Key")),
    ],
)
def test_an_argument_has_its_place(name: str, place: tuple[str, str]) -> None:
    site = Site("/", path_names=frozenset({"slot"}), query_names=frozenset({"first_page"}),
                header_names=frozenset({"Idempotency-Key"}))  # fmt: skip

    assert site.place(name) == place
    assert Site("/", takes_body=False).place("gfn") == ("query", "gfn")
    assert Site("/", body_pointer="/actions/3").place("slot") == ("body", "/actions/3/slot")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1 << 60, str(1 << 60)),
        (1 << 300, None),
        (float("inf"), "inf"),
        ([1], None),
        ({}, None),
        ("\ud800", "?"),
        (True, True),
        (None, None),
        (0.5, 0.5),
    ],
)
def test_values_are_shown_short_and_exact(value: object, expected: object) -> None:
    assert shown(value) == expected


def test_a_problem_is_read_as_it_was_written() -> None:
    problem = document(errors.LastCpuError("cpu 0", field="cpu", bound="x", value=0), SITE)

    assert read(Problem, write(problem)) == problem
