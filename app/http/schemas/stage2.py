"""Stage 2 as it can be looked at."""

from dataclasses import dataclass
from typing import Literal

from typing_extensions import TypedDict

from hacdbs_sim.sim.actions import Stage2Run

from .base import answer
from .render import hex_of


@dataclass(frozen=True, slots=True)
class Window:
    """Which guest frames are asked for: `count` None is all from `gfn`; from `resume_gfn` on."""

    gfn: int
    count: int | None
    limit: int
    resume_gfn: int

    @property
    def start(self) -> int:
        """Value of the first frame still to be shown."""
        return max(self.gfn, self.resume_gfn)

    @property
    def remaining(self) -> int:
        """Value of how many frames are still to be shown."""
        end = (1 << 64) if self.count is None else self.gfn + self.count
        return max(end - self.start, 0)


@answer
class Stage2RunOut(TypedDict):
    """Neighbouring pages equal in level and state; the descriptor is that of the first.

    `level` is null and the descriptor 0x0 where nothing is mapped.
    """

    gfn: int
    count: int
    level: int | None
    state: Literal["unmapped", "read_only", "read_write", "writable_clean", "writable_dirty"]
    descriptor: str


@answer
class Stage2Out(TypedDict):
    """Runs of pages, by gfn."""

    runs: list[Stage2RunOut]
    next_page_token: str


def stage2_run_out(run: Stage2Run) -> Stage2RunOut:
    """Project a run."""
    return {
        "gfn": run.gfn,
        "count": run.count,
        "level": run.level,
        "state": run.state.value,
        "descriptor": hex_of(run.descriptor),
    }
