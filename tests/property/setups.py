"""What a walk begins with: a machine's configuration, and the sizes of its slots."""

from typing import Final

from hacdbs_sim.model import CostModel, Features, KernelProfile, VmConfig
from tests.property.dice import Dice
from tests.support.scalar_stage2 import PAGES_PER_LEAF

SIZES: Final[dict[int, dict[str, tuple[int, ...]]]] = {
    4096: {"words": (64, 65, 130, 1), "blocks": (1100, 700, 1030), "arrays": (1536, 1600, 2112)},
    16384: {"words": (64, 65, 200, 1), "blocks": (2112, 2048), "arrays": (4200, 2200)},
    65536: {"words": (65, 128, 200, 1), "blocks": (1000, 300), "arrays": (8300, 8192)},
}
"""Pages of slots by page size and scale: some words, some blocks where they are small, full arrays."""

BLOCK_GFNS: Final = (0x10000, 0x12000)
"""First frames that begin a block of level 2 in every granule."""

FREE: Final = CostModel(translation_fault_ps=0, permission_fault_ps=0, mmio_exit_ps=0)
DEAR: Final = CostModel(permission_fault_ps=50_000_000, lazy_split_ps=9_999_999)


def leaf_sizes(page_size: int) -> tuple[int, ...]:
    """Return the sizes of a granule's leaves in bytes, the page first."""
    return tuple(sorted(pages * page_size for pages in PAGES_PER_LEAF[page_size].values()))


def draw_config(dice: Dice, page_size: int, kernel: KernelProfile) -> VmConfig:
    """Draw the rest of a configuration; the usual ones more often."""
    sizes = leaf_sizes(page_size)
    return VmConfig(
        page_size=page_size,
        ipa_bits=dice.pick((40, 34)),
        vcpus=dice.between(1, 3),
        cpus=dice.between(1, 4),
        features=Features(
            dbm=dice.pick((True,) * 7 + (False,)), hacdbs=dice.pick((True,) * 7 + (False,))
        ),
        manual_dirty_log_protect2=dice.pick((0, 0, 1, 3, 3)),
        eager_split_chunk_size=dice.pick((0, sizes[0], sizes[0], *sizes)),
        kernel=kernel,
        seed=dice.pick((0, 7, (1 << 53) - 1)),
        costs=dice.pick((CostModel(), CostModel(), CostModel(), DEAR, FREE)),
    )
