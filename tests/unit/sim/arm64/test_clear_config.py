"""What the hook derives from a VM: the array that one page holds, and the level of its entries."""

import pytest

from hacdbs_sim.model import KernelProfile
from hacdbs_sim.sim.arm64.dirty_bit import ClearConfig
from tests.support.building import GIB, MIB

FIXED, V1 = KernelProfile.FIXED, KernelProfile.V1


@pytest.mark.parametrize(
    ("page_size", "entries", "sz"), [(4096, 512, 0), (16384, 2048, 2), (65536, 8192, 4)]
)
def test_an_array_is_one_page_and_so_is_sz(page_size: int, entries: int, sz: int) -> None:
    config = ClearConfig(page_size, dbm=True, hacdbs=True, kernel=FIXED)

    assert (config.array_entries, config.array_sz) == (entries, sz)


@pytest.mark.parametrize(
    ("kernel", "page_size", "chunk", "level"),
    [
        (V1, 4096, 0, 3),
        (V1, 4096, 4096, 3),
        (V1, 4096, 2 * MIB, 2),
        (V1, 4096, GIB, 1),
        (V1, 16384, 32 * MIB, 2),
        (V1, 65536, 512 * MIB, 2),
        (FIXED, 4096, 2 * MIB, 3),
        (FIXED, 65536, 512 * MIB, 3),
    ],
)
def test_the_level_of_entries_follows_the_chunk_in_v1_only(
    kernel: KernelProfile, page_size: int, chunk: int, level: int
) -> None:
    config = ClearConfig(page_size, dbm=True, hacdbs=True, kernel=kernel)

    assert config.ttwl(chunk) == level
