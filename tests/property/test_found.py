"""Stories that failed once, as the walks found and shortened them."""

from hacdbs_sim.model import GuestWrite, SetMemslot, VmConfig
from tests.property.stories import failure_of
from tests.support.strategies import page_ranges

GIB = 1 << 30


def test_a_write_protected_block_where_no_larger_one_fits_is_written_again() -> None:
    gfn, npages = 0x12000, 520
    region = {
        "slot": 0,
        "guest_phys_addr": gfn * 4096,
        "memory_size": npages * 4096,
        "backing": GIB,
    }
    every_page = GuestWrite(pages=page_ranges((gfn, npages)))

    failure = failure_of(
        VmConfig(),
        [
            SetMemslot(**region, flags=0),
            every_page,
            SetMemslot(**region, flags=1),  # write-protects the 2 MiB block
            SetMemslot(**region, flags=0),
            every_page,
        ],
    )

    assert failure is None
