"""How long one call of the iteration sends, where the link is slower than the limit."""

import pytest

from hacdbs_sim.model import LinkSpec, MigrationSpec, SetMemslot, VmConfig
from hacdbs_sim.sim.machine import Machine
from hacdbs_sim.vmm import LiveMigration

PAGE_BYTES = 4_104


def sent_in_a_chunk(npages: int, pages_per_second: int) -> int:
    """Pages of the first chunk over a link of that speed."""
    machine = Machine(VmConfig())
    machine.perform(SetMemslot(slot=0, guest_phys_addr=0, memory_size=npages * 4_096))
    link = LinkSpec(bytes_per_second=pages_per_second * PAGE_BYTES)
    migration = LiveMigration(machine, MigrationSpec(link=link))
    while not (sent := migration.report().stats.normal):
        migration.step()
    return sent


@pytest.mark.parametrize(
    ("pages_per_second", "pages"),
    [
        (1_000, 64),  # the first look comes after 64 ms
        (10_240, 576),  # after 50 ms it has looked 8 times: that is not more than 50
        (10_000, 512),
        (100_000, 5_120),
    ],
)
def test_a_chunk_ends_at_the_first_look_after_more_than_50_milliseconds(
    pages_per_second: int, pages: int
) -> None:
    assert sent_in_a_chunk(pages + 63, pages_per_second) == pages
