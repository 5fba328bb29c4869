"""Short words for what tests look at."""

from hacdbs_sim.model import DirtyLog
from tests.support.building import pages_of


def dirty_pages(log: DirtyLog) -> set[int]:
    """The pages that a get or a peek tells."""
    assert log.bitmap is not None
    return pages_of(log.bitmap.words)
