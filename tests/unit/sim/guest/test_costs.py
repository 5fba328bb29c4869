"""The cost model, against figures worked by hand."""

from dataclasses import fields, replace

import pytest

from hacdbs_sim.model import (
    KNOBS,
    AcceleratorOutcome,
    AcceleratorReport,
    AccessOutcome,
    CostModel,
    DirtyLog,
    SoftwareReport,
)

PRIMES = CostModel(
    translation_fault_ps=2_000,
    permission_fault_ps=3_000,
    lazy_split_ps=5_000,
    mmio_exit_ps=7_000,
    ioctl_ps=11_000,
    copy_word_ps=13_000,
    scan_word_ps=17_000,
    software_page_ps=19_000,
    software_word_ps=23_000,
    block_split_ps=29_000,
    tlb_flush_ps=31_000,
    hook_ps=37_000,
    run_ps=41_000,
    entry_fill_ps=43_000,
    entry_clean_ps=47_000,
    enable_page_ps=53_000,
    enable_initially_set_page_ps=59_000,
)
LOG = DirtyLog(slot=0, first_page=0, num_pages=130, bitmap=None, dirty_count=0, remaining_count=0)
HOOK = AcceleratorReport(
    cpu=0,
    outcome=AcceleratorOutcome.PARTIAL,
    batches=2,
    entries=600,
    cleaned=500,
    requeued=100,
    blocks_split=3,
)


def test_accesses_cost_what_their_faults_cost() -> None:
    accesses = AccessOutcome(
        pages=1000,
        newly_dirty=100,
        translation_faults=10,
        permission_faults=4,
        mmio_exits=3,
        block_splits=2,
        blocks_mapped=9,
    )

    assert PRIMES.access_ps(accesses) == 10 * 2_000 + 4 * 3_000 + 2 * 5_000 + 3 * 7_000


def test_a_plain_copy_costs_the_call_and_its_words() -> None:
    assert PRIMES.dirty_log_ns(LOG) == 11 + 3 * 13


def test_a_flush_is_paid_for() -> None:
    assert PRIMES.dirty_log_ns(replace(LOG, flush_tlb=True)) == 11 + 3 * 13 + 31


def test_the_hardware_costs_its_runs_and_entries() -> None:
    cost_ns = PRIMES.dirty_log_ns(replace(LOG, accelerator=HOOK))

    hook = 37 + 2 * 41 + 600 * 43 + 500 * 47 + 3 * 29
    assert cost_ns == 11 + 3 * 13 + 3 * 17 + hook


def test_a_hook_that_declines_costs_no_more_than_the_log_being_gone_through() -> None:
    declined = AcceleratorReport(cpu=0, outcome=AcceleratorOutcome.DECLINED)

    assert PRIMES.dirty_log_ns(replace(LOG, accelerator=declined)) == 11 + 3 * 13 + 3 * 17


def test_software_costs_its_pages_words_and_splits() -> None:
    software = SoftwareReport(ran=True, words=5, pages=200, write_protected=190, blocks_split=2)

    cost_ns = PRIMES.dirty_log_ns(replace(LOG, software=software))

    assert cost_ns == 11 + 3 * 13 + 5 * 23 + 200 * 19 + 2 * 29


def test_picoseconds_are_rounded_down_once() -> None:
    costs = CostModel(ioctl_ps=600, copy_word_ps=500, tlb_flush_ps=0)

    assert costs.dirty_log_ns(LOG) == (600 + 3 * 500) // 1000 == 2


@pytest.mark.parametrize(("initially_set", "page_ns"), [(False, 53), (True, 59)])
def test_a_slot_begins_to_log_at_the_cost_of_its_pages_and_splits(
    initially_set: bool, page_ns: int
) -> None:
    cost_ns = PRIMES.enable_logging_ns(100, initially_set=initially_set, blocks_split=2)

    assert cost_ns == 11 + 100 * page_ns + 2 * 29


def test_the_defaults_reproduce_the_figures_of_their_sources() -> None:
    costs = CostModel()
    pages_of_128_gib, words_of_96_gib = 33_554_432, 393_216

    assert costs.enable_logging_ns(pages_of_128_gib, initially_set=False) == pytest.approx(
        650e6, rel=0.01
    )
    assert costs.enable_logging_ns(pages_of_128_gib, initially_set=True) == pytest.approx(
        1.8e6, rel=0.01
    )
    get = replace(LOG, num_pages=64 * words_of_96_gib)
    assert costs.dirty_log_ns(get) == pytest.approx(0.7e6, rel=0.01)
    assert costs.translation_fault_ps * 262_144 == pytest.approx(0.65e12, rel=0.01)
    assert costs.block_split_ps * 152 * 512 == pytest.approx(2.468e12, rel=0.01)
    assert 13_000 <= costs.software_page_ps <= 75_000


def test_every_knob_has_its_source_and_hardware_is_an_assumption() -> None:
    assert [knob.name for knob in KNOBS] == [knob.name for knob in fields(CostModel)]
    for knob in KNOBS:
        assert knob.unit == "ps"
        assert knob.name.endswith("_ps")
        assert knob.default == getattr(CostModel(), knob.name)
        assert knob.assumption or "E.3 #" in knob.source
        assert knob.assumption or "HACDBS" not in knob.source
    assumed = {knob.name for knob in KNOBS if knob.assumption}
    assert {"hook_ps", "run_ps", "entry_fill_ps", "entry_clean_ps"} <= assumed
