"""Results of the core in the form that tests compare."""

from hacdbs_sim.model import DirtyLog
from tests.support.building import pages_of


def dirty_pages(log: DirtyLog) -> set[int]:
    """Return the pages that a get or a peek reports."""
    assert log.bitmap is not None
    return pages_of(log.bitmap.words)
