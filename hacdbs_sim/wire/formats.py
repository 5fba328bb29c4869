"""In which form the pages of a dirty log are written."""

from typing import NamedTuple

from hacdbs_sim.model.batches import LogFormat


class WriteContext(NamedTuple):
    """What a serializer is given beside the value."""

    format: LogFormat


DEFAULT_CONTEXT = WriteContext(LogFormat.RANGES)
