"""A long answer is written in pieces, and is what it is when it is written at once."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hacdbs_sim import model
from hacdbs_sim.model import Bitmap, DirtyLog, LogFormat, MemslotInfo
from hacdbs_sim.wire import page_forms, to_plain, write, writer
from hacdbs_sim.wire.writer import Written, count_elements
from tests.unit.wire.instances import of_type
from tests.unit.wire.test_round_trips import quick

pytestmark = pytest.mark.slow

LONG: tuple[Any, ...] = (
    model.VmList,
    model.VmInfo,
    model.MigrationInfo,
    model.ComparisonInfo,
    model.DirtyRateInfo,
    model.CopyInfo,
    model.Verification,
    model.IterationTable,
    model.EventPage,
    model.ScenarioOutcome,
    model.Index,
)


@contextmanager
def limited(at_once: int) -> Generator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "ELEMENTS_AT_ONCE", at_once)
        patch.setattr(page_forms, "ROWS_AT_ONCE", at_once)
        yield


@pytest.mark.parametrize("cls", LONG)
@quick
@given(data=st.data())
def test_what_is_written_in_pieces_is_what_is_written_at_once(
    cls: type[Any], data: st.DataObject
) -> None:
    value = data.draw(of_type(cls))

    with limited(1 << 60):
        at_once = write(value)
    with limited(0):
        in_pieces = write(value)

    assert in_pieces == at_once


def traced(runs: int) -> model.AcceleratorReport | None:
    """Return what the unit did, with so many runs; without one: None."""
    if not runs:
        return None
    run = model.RunTrace(size=512, cleaned=512, first_gfn=0, last_gfn=511, ttwl=3)
    return model.AcceleratorReport(
        cpu=0, outcome=model.AcceleratorOutcome.CLEANED, trace=(run,) * runs
    )


@pytest.mark.parametrize("runs", [0, 1_000])
@pytest.mark.parametrize("log_format", LogFormat)
def test_a_long_log_is_written_in_pieces(log_format: LogFormat, runs: int) -> None:
    words = np.random.default_rng(1).integers(0, 1 << 63, 1_000, dtype=np.uint64)
    log = DirtyLog(
        slot=0,
        first_page=0,
        num_pages=64_000,
        bitmap=Bitmap(words),
        dirty_count=1,
        remaining_count=1,
        accelerator=traced(runs),
    )

    with limited(64):
        in_pieces = write(log, format=log_format)

    assert orjson.loads(in_pieces) == to_plain(log, format=log_format)


def test_the_elements_of_all_lists_are_counted() -> None:
    slot = MemslotInfo(
        slot=0,
        guest_phys_addr=0,
        memory_size=4096,
        userspace_addr=0,
        backing=4096,
        flags=model.MemslotFlags(0),
        base_gfn=0,
        npages=1,
        dirty_count=None,
    )

    assert count_elements(model.MemslotList(memslots=(slot,) * 9, next_page_token="")) == 9
    assert count_elements(slot) == 0


def test_an_object_that_is_written_already_stands_as_it_is() -> None:
    outcome = model.ScenarioOutcome(
        session_id="s",
        scenario="one",
        verdict=model.Verdict.PASSED,
        removed_vms=0,
        vms=(),
        steps=(),
        migration=None,
        problem=None,
        mismatches=(),
        document=Written(b'{"scenario":"one"}'),
    )

    assert orjson.loads(write(outcome))["document"] == {"scenario": "one"}
