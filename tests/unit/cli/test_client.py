"""Bitmaps as the ioctl has them, and answers read."""

import httpx
import numpy as np
import pytest

from app.cli.client import (
    Cleaning,
    RefusedError,
    bitmap_from_octets,
    bitmap_to_octets,
    checked,
)


@pytest.mark.parametrize("npages", [1, 63, 64, 65, 200])
def test_a_bitmap_is_whole_words_and_comes_back(npages: int) -> None:
    bitmap = np.random.default_rng(npages).random(npages) < 0.5

    octets = bitmap_to_octets(bitmap)

    assert len(octets) == -(-npages // 64) * 8
    assert np.array_equal(bitmap_from_octets(octets, npages), bitmap)


def test_bit_0_of_the_first_octet_is_the_first_page() -> None:
    bitmap = np.zeros(64, dtype=np.bool_)
    bitmap[[0, 9]] = True

    assert bitmap_to_octets(bitmap) == bytes([1, 2, 0, 0, 0, 0, 0, 0])


def test_a_copied_log_was_cleaned_by_nobody() -> None:
    assert Cleaning.of({"accelerator": None, "software": {"pages": 0}}) == Cleaning()


def test_a_report_tells_who_cleaned_what() -> None:
    accelerator = {
        "cpu": 2,
        "errno": "EAGAIN",
        "error": {"reason": "IPAF"},
        "cleaned": 5,
        "requeued": 3,
    }

    cleaning = Cleaning.of({"accelerator": accelerator, "software": {"pages": 3}})

    assert cleaning == Cleaning(2, "EAGAIN", "IPAF", hardware=5, software=3, requeued=3)


def answer(**content: object) -> httpx.Response:
    return httpx.Response(409, request=httpx.Request("POST", "http://vm/v1/vms"), **content)  # type: ignore[arg-type]


def test_a_refusal_carries_code_and_errno_of_its_problem() -> None:
    problem = {"detail": "no room", "code": "too_many_vms", "errno": "ENOMEM"}

    with pytest.raises(RefusedError, match=r"POST /v1/vms: 409 no room") as refusal:
        checked(answer(json=problem))

    assert (refusal.value.code, refusal.value.errno) == ("too_many_vms", "ENOMEM")


def test_a_refusal_by_something_else_is_told_too() -> None:
    with pytest.raises(RefusedError, match="bad gateway"):
        checked(answer(text="bad gateway"))
