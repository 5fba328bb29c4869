"""The whole session's scenario: its document and its outcome."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from hacdbs_sim.model import Problem, StepOutcome, StepVerdict

from .budget import Account
from .migrations import Migration


@dataclass(slots=True, eq=False)
class StandingScenario:
    """A scenario and its outcome so far, which its player updates.

    Attributes:
        name: The scenario's name.
        document: The document, as JSON with sorted names: the same document is the same bytes.
        account: The outcome's share of the bytes that the service may hold.
        removed_vms: The number of VMs that applying it removed from the session.
        vm_ids: The ids of its VMs, by key.
        steps: The outcome of each step, in order.
        is_done: Whether all steps have been performed.
        migration: The migration that followed the steps, if one has begun.
        refused: The problem if the migration was refused.
        play_is_over: Set once its steps are not played any more, or nobody is to wait for that.
    """

    name: str
    document: bytes
    account: Account
    removed_vms: int
    vm_ids: Mapping[str, str]
    steps: list[StepOutcome] = field(default_factory=list)
    is_done: bool = False
    migration: Migration | None = None
    refused: Problem | None = None
    play_is_over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def has_failed(self) -> bool:
        """Whether a step had an unexpected outcome."""
        return any(step.verdict is StepVerdict.FAILED for step in self.steps)

    async def wait(self, seconds: float) -> None:
        """Wait until the play and its migration are over, or the time is."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.play_is_over.wait()
                if self.migration is not None:
                    run = self.migration.run
                    await run.wait(lambda: run.is_over, seconds)
