"""The phases of the demo: a migration on real traces, with every type of fault, and the result.

1. The guest boots: it writes its memory before logging begins, so blocks map it.
2. Logging begins with manual protect and initially-all-set: every page is owed, and cleared in
   chunks while blocks are split and one split fails.
3. Pre-copy with manual protect: get, then clear in chunks, while the vCPUs write.
4. Pre-copy without it: each get reports and takes.
5. A host CPU is unplugged, and plugged back in.
6. Stop and copy: the guest is paused, the pages of its last round are taken, and none may be
   left.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from hacdbs_sim.cli.demo.ledger import Ledger, PageCounts, Pages
from hacdbs_sim.cli.demo.migration import DemoMigration, FaultOutcome, Phase
from hacdbs_sim.cli.demo.traces import longest, populate
from hacdbs_sim.client import Session

VCPUS: Final = 4
CPUS: Final = 4
PAGE_SIZE: Final = 4096
ENTRIES: Final = PAGE_SIZE // 8
MEMORY_SIZE: Final = 2 << 30
NPAGES: Final = MEMORY_SIZE // PAGE_SIZE
GUEST_PHYS_ADDR: Final = 0x4000_0000
BASE_GFN: Final = GUEST_PHYS_ADDR // PAGE_SIZE
BLOCK_SIZE: Final = 2 << 20

UNPLUGGED_CPU: Final = 1
FAULTY_ROUNDS: Final = 7  # besides split_enomem, which needs blocks and so comes first


@dataclass(frozen=True, slots=True)
class Length:
    """Length of the demo.

    Attributes:
        live_rounds: Rounds of each kind of pre-copy, besides those under a fault.
        intervals_per_round: Intervals of the traces in a round; None plays them all.
    """

    live_rounds: int
    intervals_per_round: int | None = None

    @property
    def rounds(self) -> int:
        """All rounds of the guest."""
        return 2 * self.live_rounds + FAULTY_ROUNDS + 3

    def intervals(self, longest_trace: int) -> int:
        """Return the intervals of a round; all rounds together replay the longest trace."""
        return self.intervals_per_round or -(-longest_trace // self.rounds)


FULL: Final = Length(live_rounds=24)
QUICK: Final = Length(live_rounds=3, intervals_per_round=8)


@dataclass(slots=True)
class DemoResult:
    """Result of the demo: `counts` are the client's, `hardware` to `requeued` the service's."""

    counts: PageCounts
    phases: list[Phase]
    faults: list[FaultOutcome]
    unmet: list[str] = field(default_factory=list)

    @property
    def hardware(self) -> int:
        """Pages cleaned by the units."""
        return sum(phase.hardware for phase in self.phases)

    @property
    def software(self) -> int:
        """Pages cleaned by software."""
        return sum(phase.software for phase in self.phases)

    @property
    def requeued(self) -> int:
        """Pages that went back to the log when a unit stopped early."""
        return sum(phase.requeued for phase in self.phases)

    @property
    def is_good(self) -> bool:
        """Whether no page was lost or over-reported, and every expectation was met."""
        return not (self.counts.lost or self.counts.over_reported or self.unmet)


def run_demo(
    session: Session, length: Length, seed: int, report: Callable[[Phase], None]
) -> DemoResult:
    """Run all phases in a session; `report` is called with a phase whenever it has changed."""
    rng = np.random.default_rng(seed)
    guest = populate(NPAGES, VCPUS, rng)
    vm = session.create_vm(
        name="demo", vcpus=VCPUS, cpus=CPUS, seed=seed, eager_split_chunk_size=BLOCK_SIZE
    )
    phases: list[Phase] = []

    def report_phase(phase: Phase) -> None:
        if phase not in phases:
            phases.append(phase)
        report(phase)

    unmet: list[str] = []
    with DemoMigration(
        vm=vm,
        guest=guest,
        ledger=Ledger(NPAGES),
        base_gfn=BASE_GFN,
        intervals_per_round=length.intervals(longest(guest)),
        rng=rng,
        report=report_phase,
    ) as migration:
        _boot(migration)
        _begin_logging(migration)
        _pre_copy_with_manual_protect(migration, length.live_rounds)
        _pre_copy(migration, length.live_rounds)
        unmet += _unplug(migration)
        _stop_and_copy(migration)
    unmet += [f"{fault.type} never hit" for fault in migration.faults if not fault.hits]
    return DemoResult(migration.ledger.counts, phases, migration.faults, unmet)


def _boot(migration: DemoMigration) -> None:
    with migration.phase("boot", 0) as phase:
        migration.vm.set_memslot(
            0,
            guest_phys_addr=GUEST_PHYS_ADDR,
            memory_size=MEMORY_SIZE,
            backing=BLOCK_SIZE,
        )
        for vcpu, pages in enumerate(np.array_split(np.arange(NPAGES), VCPUS)):
            migration.vm.guest_write(pages + BASE_GFN, vcpu=vcpu)
        phase.note(f"{NPAGES:,} pages written, not logged")


def _begin_logging(migration: DemoMigration) -> None:
    with migration.phase("initially all set", 0):
        migration.set_manual_protect(3)
        migration.vm.set_memslot(
            0,
            guest_phys_addr=GUEST_PHYS_ADDR,
            memory_size=MEMORY_SIZE,
            backing=BLOCK_SIZE,
            flags=["LOG_DIRTY_PAGES"],
        )
        migration.ledger.expect_all()
        page = int(migration.rng.integers(NPAGES))
        migration.collect_under(_fault("split_enomem", "clear", gfn=BASE_GFN + page))


def _pre_copy_with_manual_protect(migration: DemoMigration, live_rounds: int) -> None:
    with migration.phase("pre-copy, get and clear", live_rounds + 3):
        _live_rounds(migration, live_rounds)
        migration.faulty_round(
            lambda owed: _fault("ipaf", "clear", gfn=BASE_GFN + int(migration.rng.choice(owed)))
        )
        migration.faulty_round(lambda _: _fault("entries_enomem", "clear"))
        migration.faulty_round(lambda _: _fault("copy_to_user", "get", times=1))


def _pre_copy(migration: DemoMigration, live_rounds: int) -> None:
    with migration.phase("pre-copy, get alone", live_rounds + 4):
        migration.set_manual_protect(0)
        _live_rounds(migration, live_rounds)
        migration.faulty_round(lambda owed: _at_some_entry("structf", owed, migration.rng))
        migration.faulty_round(
            lambda owed: _fault("ipahacf", "get", gfn=BASE_GFN + int(migration.rng.choice(owed)))
        )
        migration.faulty_round(
            lambda owed: _fault("lost_interrupt", "get", batch=(len(owed) - 1) // ENTRIES // 2)
        )
        migration.faulty_round(lambda _: _fault("unit_busy", "get"))


def _unplug(migration: DemoMigration) -> list[str]:
    unmet = []
    with migration.phase(f"CPU {UNPLUGGED_CPU} unplugged", 1) as phase:
        migration.vm.set_cpu(UNPLUGGED_CPU, online=False)
        migration.guest_round()
        (log,) = migration.collect(cpu=UNPLUGGED_CPU)
        errno = None if log.accelerator is None else log.accelerator.errno
        phase.note(f"its unit declined with {errno}")
        if errno != "EPERM" or log.cleaned_by_hardware:
            unmet.append(f"the unit of the unplugged CPU {UNPLUGGED_CPU} did not decline")
    with migration.phase(f"CPU {UNPLUGGED_CPU} plugged in", 1):
        migration.vm.set_cpu(UNPLUGGED_CPU, online=True)
        migration.guest_round()
        (log,) = migration.collect(cpu=UNPLUGGED_CPU)
        if not log.cleaned_by_hardware:
            unmet.append(f"the unit of CPU {UNPLUGGED_CPU} cleaned nothing once plugged in")
    return unmet


def _stop_and_copy(migration: DemoMigration) -> None:
    with migration.phase("stop and copy", 1) as phase:
        migration.guest_round()
        migration.collect()
        before = phase.reported
        migration.collect()
        phase.note(f"{phase.reported - before} pages left")
        migration.ledger.finish()


def _live_rounds(migration: DemoMigration, rounds: int) -> None:
    for _ in range(rounds):
        migration.live_round()


def _fault(kind: str, op: str, *, times: int | None = None, **place: int) -> dict[str, Any]:
    return {"type": kind, "times": times, "when": {"op": op, **place}}


def _at_some_entry(kind: str, owed: Pages, rng: np.random.Generator) -> dict[str, Any]:
    batch, index = divmod(int(rng.integers(len(owed))), ENTRIES)
    return _fault(kind, "get", batch=batch, index=index)
