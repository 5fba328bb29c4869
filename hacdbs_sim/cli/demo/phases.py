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

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from hacdbs_sim.cli.demo.ledger import Ledger, PageCounts
from hacdbs_sim.cli.demo.migration import DemoMigration, FaultOutcome, Phase
from hacdbs_sim.cli.demo.traces import populate
from hacdbs_sim.client import Session

VCPUS: Final = 4
CPUS: Final = 4
PAGE_SIZE: Final = 4096
ENTRIES: Final = PAGE_SIZE // 8
BLOCK_SIZE: Final = 2 << 20
NPAGES: Final = (2 << 30) // PAGE_SIZE
BASE_GFN: Final = 0x4000_0000 // PAGE_SIZE

UNPLUGGED_CPU: Final = 1
FAULTY_ROUNDS: Final = 7  # besides split_enomem, which needs blocks and so comes first


@dataclass(frozen=True, slots=True)
class Length:
    """Length: rounds of each pre-copy besides faulty ones, and intervals a round, None for all."""

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
    """Result of the demo: `counts` are the client's, those of the phases the service's."""

    counts: PageCounts
    phases: list[Phase]
    faults: list[FaultOutcome]
    unmet: list[str] = field(default_factory=list)

    def total(self, name: str) -> int:
        """Return the sum of a count over the phases."""
        return sum(getattr(phase, name) for phase in self.phases)

    @property
    def complaints(self) -> list[str]:
        """What is wrong, a line each; empty if the result is good."""
        found = list(self.unmet)
        for count, wrong, first in (
            (self.counts.lost, "lost", self.counts.first_lost),
            (self.counts.over_reported, "over-reported", self.counts.first_over_reported),
        ):
            if count:
                found.append(f"{count:,} pages {wrong}, the first: {first}")
        return found


def run_demo(
    session: Session, length: Length, seed: int, report: Callable[[Phase], None]
) -> DemoResult:
    """Run all phases in a session; `report` is called with a phase whenever it has changed."""
    rng = np.random.default_rng(seed)
    guest = populate(NPAGES, VCPUS, rng)
    vm = session.create_vm(
        name="demo", vcpus=VCPUS, cpus=CPUS, seed=seed, eager_split_chunk_size=BLOCK_SIZE
    )
    with ThreadPoolExecutor(VCPUS) as vcpus:
        longest = max(each.recording.intervals for programs in guest for each in programs)
        intervals = length.intervals(longest)
        ledger = Ledger(NPAGES)
        migration = DemoMigration(vm, guest, vcpus, ledger, BASE_GFN, intervals, report)
        _boot(migration)
        _begin_logging(migration, rng)
        _pre_copy_with_manual_protect(migration, length.live_rounds, rng)
        _pre_copy(migration, length.live_rounds, rng)
        unmet = [*_unplug(migration)]
        _stop_and_copy(migration)
    unmet += [f"{fault.type} never hit" for fault in migration.faults if not fault.hits]
    return DemoResult(ledger.counts, migration.phases, migration.faults, unmet)


def _set_memslot(migration: DemoMigration, *flags: str) -> None:
    migration.vm.set_memslot(
        0,
        guest_phys_addr=BASE_GFN * PAGE_SIZE,
        memory_size=NPAGES * PAGE_SIZE,
        backing=BLOCK_SIZE,
        flags=flags,
    )


def _boot(migration: DemoMigration) -> None:
    with migration.phase("boot") as phase:
        _set_memslot(migration)
        for vcpu, pages in enumerate(np.array_split(np.arange(NPAGES), VCPUS)):
            migration.vm.guest_write(pages + BASE_GFN, vcpu=vcpu)
        phase.note(f"{NPAGES:,} pages written, not logged")


def _begin_logging(migration: DemoMigration, rng: np.random.Generator) -> None:
    with migration.phase("initially all set"):
        migration.set_manual_protect(3)
        _set_memslot(migration, "LOG_DIRTY_PAGES")
        migration.ledger.expect_all()
        migration.collect_under("split_enomem", "clear", gfn=BASE_GFN + int(rng.integers(NPAGES)))


def _some_owed_gfn(migration: DemoMigration, rng: np.random.Generator) -> int:
    return BASE_GFN + int(rng.choice(migration.ledger.owed))


def _pre_copy_with_manual_protect(
    migration: DemoMigration, live_rounds: int, rng: np.random.Generator
) -> None:
    with migration.phase("pre-copy, get and clear", live_rounds + 3):
        migration.live_rounds(live_rounds)
        migration.guest_round()
        migration.collect_under("ipaf", "clear", gfn=_some_owed_gfn(migration, rng))
        migration.guest_round()
        migration.collect_under("entries_enomem", "clear")
        migration.guest_round()
        migration.collect_under("copy_to_user", "get", times=1)


def _pre_copy(migration: DemoMigration, live_rounds: int, rng: np.random.Generator) -> None:
    with migration.phase("pre-copy, get alone", live_rounds + 4):
        migration.set_manual_protect(0)
        migration.live_rounds(live_rounds)
        migration.guest_round()
        batch, index = divmod(int(rng.integers(len(migration.ledger.owed))), ENTRIES)
        migration.collect_under("structf", "get", batch=batch, index=index)
        migration.guest_round()
        migration.collect_under("ipahacf", "get", gfn=_some_owed_gfn(migration, rng))
        migration.guest_round()
        middle = (len(migration.ledger.owed) - 1) // ENTRIES // 2
        migration.collect_under("lost_interrupt", "get", batch=middle)
        migration.guest_round()
        migration.collect_under("unit_busy", "get")


def _unplug(migration: DemoMigration) -> Generator[str]:
    with migration.phase(f"CPU {UNPLUGGED_CPU} unplugged", 1) as phase:
        migration.vm.set_cpu(UNPLUGGED_CPU, online=False)
        migration.guest_round()
        log = migration.collect(cpu=UNPLUGGED_CPU)
        errno = None if log.accelerator is None else log.accelerator.errno
        phase.note(f"its unit declined with {errno}")
        if errno != "EPERM" or log.cleaned_by_hardware:
            yield f"the unit of the unplugged CPU {UNPLUGGED_CPU} did not decline"
    with migration.phase(f"CPU {UNPLUGGED_CPU} plugged in", 1):
        migration.vm.set_cpu(UNPLUGGED_CPU, online=True)
        migration.guest_round()
        log = migration.collect(cpu=UNPLUGGED_CPU)
        if not log.cleaned_by_hardware:
            yield f"the unit of CPU {UNPLUGGED_CPU} cleaned nothing once plugged in"


def _stop_and_copy(migration: DemoMigration) -> None:
    with migration.phase("stop and copy", 1) as phase:
        migration.guest_round()
        migration.collect()
        before = phase.reported
        migration.collect()
        phase.note(f"{phase.reported - before} pages left")
        migration.ledger.finish()
