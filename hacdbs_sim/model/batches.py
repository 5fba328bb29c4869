"""The batch: many actions under one lock, and in which form the pages of a log are written."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final

from annotated_types import Len

from hacdbs_sim.model.base import Action, Model, Request
from hacdbs_sim.model.kinds import Count

MAX_ACTIONS: Final = 10_000
"""The most actions of a batch."""

FIRST_REFUSAL: Final = 400
"""The least status of a refusal."""


class LogFormat(StrEnum):
    """How JSON has the pages of a dirty log."""

    RANGES = "ranges"
    BASE64 = "base64"
    WORDS = "words"
    SUMMARY = "summary"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchAction(Request):
    """An action of a batch, and in which form its dirty log is written."""

    action: Action[Any]
    """The action."""
    format: LogFormat = LogFormat.RANGES
    """How the pages of a log are written, for `get_dirty_log`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch(Request):
    """Actions, performed in order up to the first refusal."""

    actions: Annotated[tuple[BatchAction, ...], Len(0, MAX_ACTIONS)]
    """The actions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult(Model):
    """What the action's own call would have returned."""

    status: Count
    """Its status."""
    body: Mapping[str, Any] | None
    """Its body or problem; null where it has none."""

    @property
    def is_refusal(self) -> bool:
        """Whether the action was refused."""
        return self.status >= FIRST_REFUSAL


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResults(Model):
    """Results, up to and including the first refusal."""

    results: tuple[BatchResult, ...]
    """One for each action that was performed or refused."""
