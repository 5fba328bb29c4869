"""How a sequence's VM is made: what is behind its slots, and how the simulated one cleans its log.

Real KVM knows only the backing. Everything else is the simulator's, and none of it may ever show in
an errno or a bitmap: with the unit or without it, with DBM or not, split eagerly or not, in either
kernel profile, and with faults that stop the hardware half-way.
"""

from dataclasses import dataclass
from random import Random
from typing import Any, Final

from hacdbs_sim.host_kvm.memory import HUGE_PAGE_SIZE, PAGE_SIZE
from hacdbs_sim.model import AddFault, FaultType, Features, KernelProfile, VmConfig
from tests.support.faults import fault

BACKINGS: Final = (PAGE_SIZE, HUGE_PAGE_SIZE)
CHUNK_SIZES: Final = (0, PAGE_SIZE, HUGE_PAGE_SIZE, 1 << 30)

FAULTS: Final = tuple(kind for kind in FaultType if kind is not FaultType.COPY_TO_USER)
"""All but the one that userspace is meant to see: its get answers EFAULT."""

FAULT_PROBABILITY: Final = 0.25


@dataclass(frozen=True, slots=True)
class Setup:
    """How a sequence's VM is made; `has_faults` arms each of `FAULTS`."""

    backing: int = PAGE_SIZE
    dbm: bool = True
    hacdbs: bool = True
    eager_split_chunk_size: int = 0
    kernel: str = "fixed"
    has_faults: bool = False

    def config(self) -> VmConfig:
        """Return the simulated machine's configuration."""
        return VmConfig(
            features=Features(dbm=self.dbm, hacdbs=self.hacdbs),
            eager_split_chunk_size=self.eager_split_chunk_size,
            kernel=KernelProfile(self.kernel),
        )

    def faults(self) -> tuple[AddFault, ...]:
        """Return the actions that arm its faults."""
        kinds = FAULTS if self.has_faults else ()
        return tuple(fault(kind, probability=FAULT_PROBABILITY) for kind in kinds)

    def body(self) -> dict[str, Any]:
        """Return the request that makes the VM."""
        return {
            "features": {"dbm": self.dbm, "hacdbs": self.hacdbs},
            "eager_split_chunk_size": self.eager_split_chunk_size,
            "kernel": self.kernel,
            "faults": [
                {"type": each.type.value, "probability": each.probability} for each in self.faults()
            ],
        }


def draw_setup(rng: Random) -> Setup:
    """Draw how a VM is made: half of them with the accelerator at its best."""
    backing = rng.choice(BACKINGS)
    chunk = rng.choice(CHUNK_SIZES)
    if rng.random() < 0.5:
        return Setup(backing, eager_split_chunk_size=chunk)
    return Setup(
        backing,
        dbm=rng.random() < 0.8,
        hacdbs=rng.random() < 0.8,
        eager_split_chunk_size=chunk,
        kernel=rng.choice(("fixed", "v1")),
        has_faults=rng.random() < 0.6,
    )
