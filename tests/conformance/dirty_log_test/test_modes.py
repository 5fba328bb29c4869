"""The kernel's dirty_log_test against the service: every mode, plain and with all that may go wrong."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import httpx
import numpy as np
import pytest

from hacdbs_sim.sim.kvm.dirty_bitmap import LogWindow
from tests.conformance.dirty_log_test.harness import MODES, Mode, Plan, Run, run
from tests.conformance.dirty_log_test.verifying import VerificationError, Verified
from tests.conformance.dirty_log_test.wrong import WRONG, WrongService

pytestmark = pytest.mark.anyio

MIB: Final = 1 << 20
GIB: Final = 1 << 30
KERNEL_ITERATIONS: Final = 32
QUICK: Final = Plan()

each_mode = pytest.mark.parametrize("mode", MODES, ids=[mode.name for mode in MODES])

FAULT_TYPES: Final = (
    *("structf", "ipaf", "ipahacf", "lost_interrupt"),
    *("entries_enomem", "unit_busy", "split_enomem"),
)


WHOLE_CALL: Final = ("entries_enomem", "unit_busy")


def placed(kind: str, plan: Plan, seed: int = 5) -> list[dict[str, Any]]:
    """Return faults of a type at random places, each firing at half of its opportunities.

    One that declines a whole call fires at a quarter of them, lest the unit never runs.
    """
    if kind in WHOLE_CALL:
        return [{"type": kind, "probability": 0.25}]
    random = np.random.default_rng(seed)
    n = plan.page_size // 8
    base_gfn = GIB // plan.page_size

    def place() -> dict[str, int]:
        gfn = base_gfn + int(random.integers(plan.npages))
        match kind:
            case "structf" | "ipaf" | "ipahacf" if random.random() < 0.5:
                return {"gfn": gfn}
            case "structf" | "ipaf" | "ipahacf":
                return {"batch": int(random.integers(8)), "index": int(random.integers(n))}
            case "lost_interrupt":
                return {"batch": int(random.integers(8))}
            case _:
                return {"gfn": gfn}

    return [{"type": kind, "probability": 0.5, "when": place()} for _ in range(4)]


def with_vm(plan: Plan, **vm: Any) -> Plan:
    return replace(plan, vm=vm)


BLOCKS: Final = replace(QUICK, backing=2 * MIB)

VARIANTS: Final[dict[str, Plan]] = {
    "plain": QUICK,
    "profile v1": with_vm(QUICK, kernel="v1"),
    "profile v1, chunk 2 MiB": with_vm(BLOCKS, kernel="v1", eager_split_chunk_size=2 * MIB),
    "no DBM": with_vm(QUICK, features={"dbm": False}),
    "no hook": with_vm(QUICK, features={"hacdbs": False}),
    "blocks, no chunk": BLOCKS,
    "blocks, chunk of a page": with_vm(BLOCKS, eager_split_chunk_size=4096),
    "blocks, chunk 2 MiB": with_vm(BLOCKS, eager_split_chunk_size=2 * MIB),
    "1 GiB backing, chunk 1 GiB": with_vm(replace(QUICK, backing=GIB), eager_split_chunk_size=GIB),
    "16 KiB pages": replace(QUICK, page_size=16384),
    "16 KiB pages, blocks": with_vm(
        replace(QUICK, page_size=16384, backing=32 * MIB), eager_split_chunk_size=32 * MIB
    ),
    "64 KiB pages": replace(QUICK, page_size=65536, burst_writes=300),
    "never populated": replace(QUICK, populate=False),
    "CPUs come and go": replace(with_vm(QUICK, cpus=2), unplugs=True),
    "concurrent": replace(QUICK, concurrent=True),
    **{
        f"fault {kind}": with_vm(
            BLOCKS, eager_split_chunk_size=2 * MIB, faults=placed(kind, BLOCKS)
        )
        for kind in FAULT_TYPES
    },
    "every fault, v1, CPUs come and go, concurrent": replace(
        with_vm(
            BLOCKS,
            cpus=2,
            kernel="v1",
            eager_split_chunk_size=4096,
            faults=[fault for kind in FAULT_TYPES for fault in placed(kind, BLOCKS)],
        ),
        # Each fault leaves less for the next ones; so many calls are enough for all of them.
        iterations=40,
        unplugs=True,
        concurrent=True,
    ),
}


def judge(done: Run, mode: Mode, plan: Plan) -> None:
    """Check that a run really did what its plan says."""
    verified, counters = done.verified, done.counters
    assert verified.iterations == plan.iterations
    assert verified.pages == plan.iterations * plan.npages
    assert verified.named > plan.iterations
    assert (verified.excused > 0) == mode.initially_set
    assert counters["dirty_log_gets"] == 2 * plan.iterations
    assert counters["guest_writes"] == done.writes + plan.populate * plan.npages
    kinds = {fault["type"] for fault in plan.vm.get("faults", [])}
    if not mode.initially_set:
        kinds.discard("split_enomem")  # without initially-set no get or clear splits
    assert {kind for kind in kinds if not done.hits[kind]} == set()


@each_mode
@pytest.mark.parametrize("variant", list(VARIANTS))
async def test_log_and_memory_agree(
    client: httpx.AsyncClient, mode: Mode, variant: str, record_property: Callable[..., None]
) -> None:
    plan = VARIANTS[variant]

    done = await run(client, mode, plan)

    judge(done, mode, plan)
    record_property("verified_pages", done.verified.pages)


@each_mode
async def test_a_gibibyte_as_the_kernel_tests_it(
    client: httpx.AsyncClient, mode: Mode, record_property: Callable[..., None]
) -> None:
    plan = Plan(size_bytes=GIB, iterations=KERNEL_ITERATIONS, burst_writes=10_000)

    done = await run(client, mode, plan)

    judge(done, mode, plan)
    assert plan.npages == 262_147
    record_property("verified_pages", done.verified.pages)


@each_mode
async def test_a_gibibyte_on_a_real_server_while_the_guest_writes(
    real_client: httpx.AsyncClient, mode: Mode, record_property: Callable[..., None]
) -> None:
    plan = replace(
        with_vm(
            Plan(size_bytes=GIB, iterations=KERNEL_ITERATIONS, burst_writes=5_000, bursts=6),
            cpus=2,
            faults=placed("ipaf", Plan(size_bytes=GIB)),
        ),
        concurrent=True,
        unplugs=True,
    )

    done = await run(real_client, mode, plan)

    judge(done, mode, plan)
    record_property("verified_pages", done.verified.pages)


async def test_a_get_that_fails_loses_nothing_with_manual_protect(
    client: httpx.AsyncClient,
) -> None:
    plan = with_vm(QUICK, faults=[{"type": "copy_to_user", "every": 2}])

    done = await run(client, MODES[1], plan)

    assert done.refused == 2 * plan.iterations


async def test_a_get_that_fails_loses_pages_without_it_and_the_harness_sees_that(
    client: httpx.AsyncClient,
) -> None:
    plan = with_vm(QUICK, faults=[{"type": "copy_to_user", "every": 2}])

    with pytest.raises(VerificationError, match="missing in the log"):
        await run(client, MODES[0], plan)


@each_mode
@pytest.mark.parametrize("wrong", list(WRONG))
async def test_a_wrong_service_is_caught(wrong: str, mode: Mode) -> None:
    ask, answer = WRONG[wrong]
    transport = WrongService(ask, answer)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        with pytest.raises(VerificationError):
            await run(client, mode, QUICK)


async def test_the_same_transport_without_a_wrong_is_not() -> None:
    transport = WrongService()
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        done = await run(client, MODES[0], QUICK)

    judge(done, MODES[0], QUICK)


@each_mode
async def test_a_core_that_does_not_put_back_is_caught(
    client: httpx.AsyncClient, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LogWindow, "put_back", lambda _window, _pages: None)
    plan = with_vm(QUICK, faults=placed("structf", QUICK))

    with pytest.raises(VerificationError, match="missing in the log"):
        await run(client, mode, plan)


def test_the_exception_is_for_the_first_iteration_and_the_first_collection_only() -> None:
    values = np.zeros(4, np.uint64)
    some, none = np.array([True, False, False, False]), np.zeros(4, np.bool_)

    Verified().verify(1, values, some, none, initially_set=True)
    for iteration, first, second, initially_set in (
        (2, some, none, True),
        (1, none, some, True),
        (1, some, none, False),
    ):
        with pytest.raises(VerificationError, match="not written"):
            Verified().verify(iteration, values, first, second, initially_set=initially_set)
