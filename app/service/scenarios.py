"""The whole session's scenario: its document and its outcome."""

from collections.abc import Mapping
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

    @property
    def has_failed(self) -> bool:
        """Whether a step had an unexpected outcome."""
        return any(step.verdict is StepVerdict.FAILED for step in self.steps)
