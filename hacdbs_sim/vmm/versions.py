"""The versions of a machine's pages: the number of the write that last touched each of them."""

from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from hacdbs_sim import model
from hacdbs_sim.vmm.errors import VersionsEndedError

Versions: TypeAlias = NDArray[np.uint32]

_T = TypeVar("_T")


def versions_of(
    backend: model.Backend, slot: int, first_page: int = 0, num_pages: int | None = None
) -> Versions:
    """Return the versions of a window of a slot's pages, uint32[num_pages].

    Raises:
        VersionsEndedError: They are not tracked any more.
        KvmError: There is no such slot.
    """
    query = model.CopyVersions(slot=slot, first_page=first_page, num_pages=num_pages)
    return _tracked(backend.query(query))


def last_version_of(backend: model.Backend) -> int:
    """Return the number of the last write.

    Raises:
        VersionsEndedError: Writes are not counted any more.
    """
    return _tracked(backend.query(model.GetLastVersion()))


def _tracked(answer: _T | None) -> _T:
    if answer is None:
        raise VersionsEndedError("the versions of pages are not tracked any more")
    return answer
