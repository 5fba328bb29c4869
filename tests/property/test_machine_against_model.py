"""A whole VM against the scalar model: any actions in any order, everything compared each time.

The same walk as test_long_walk.py, drawn by Hypothesis: fewer steps, but mutated and shrunk by it.
"""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from hacdbs_sim.model import KernelProfile
from tests.property.dice import DrawnDice
from tests.property.setups import SIZES, draw_config
from tests.property.stories import Story
from tests.property.walking import KINDS, Walk


class MachineAgainstModel(RuleBasedStateMachine):
    """One rule: an action of some kind, drawn from what the model holds; then every invariant."""

    def __init__(self) -> None:
        super().__init__()
        self.story: Story
        self.walk: Walk

    @initialize(
        data=st.data(),
        page_size=st.sampled_from([4096, 4096, 16384, 65536]),
        kernel=st.sampled_from(KernelProfile),
        scale=st.sampled_from(list(SIZES[4096])),
    )
    def make(self, data: st.DataObject, page_size: int, kernel: KernelProfile, scale: str) -> None:
        dice = DrawnDice(data)
        self.story = Story(draw_config(dice, page_size, kernel))
        self.walk = Walk(dice, self.story.both.model, scale)
        self.story.perform(self.walk.create())

    @rule(data=st.data(), kind=st.sampled_from(KINDS))
    def act(self, data: st.DataObject, kind: str) -> None:
        self.walk.dice = DrawnDice(data)
        for action in self.walk.next(kind):
            self.story.perform(action)


TestMachineAgainstModel = MachineAgainstModel.TestCase
