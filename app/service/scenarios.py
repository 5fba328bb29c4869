"""A scenario that stands in a session: its document, and what came of it.

Whoever plays it writes it here. It goes when its session is emptied.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from hacdbs_sim.model import Problem, StepOutcome, StepVerdict

from .budget import Account
from .migrations import Migration


@dataclass(slots=True, eq=False)
class StandingScenario:
    """A scenario, and its outcome as far as it has come.

    Attributes:
        document: The document, as JSON with sorted names: the same document is the same bytes.
        account: What the outcome holds of the bytes that the service may take.
        removed_vms: How many VMs the session lost when it was applied.
        vm_ids: The ids of its VMs, by key.
        steps: What came of each step, in order.
        is_done: Whether the last step has been.
        migration: The migration that followed the steps, if one has begun.
        refused: The problem with which it was refused to begin.
    """

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
        """Whether a step was not as expected."""
        return any(step.verdict is StepVerdict.FAILED for step in self.steps)

    def close(self) -> None:
        """Return its bytes; whoever still plays it may go on writing."""
        self.account.close()
