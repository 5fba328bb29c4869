"""The examples of docs/copies.md run as they are written, and the page says what the model does."""

import re
from pathlib import Path

import pytest

from hacdbs_sim.model import MAX_COPIES_PER_VM, SOURCE_BASE, SlotBegan
from hacdbs_sim.vmm.copies import BYTES_A_PAGE

PAGE = (Path(__file__).parents[2] / "docs" / "copies.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_examples_run() -> None:
    assert len(EXAMPLES) == 2
    exec(compile("\n".join(EXAMPLES), "docs/copies.md", "exec"), {})  # noqa: S102 - our own document


def test_an_example_that_does_not_hold_is_noticed() -> None:
    spoiled = "\n".join(EXAMPLES).replace("    vm.guest_write([BASE + 8])\n", "")

    with pytest.raises(AssertionError):
        exec(compile(spoiled, "docs/copies.md", "exec"), {})  # noqa: S102 - our own document


def test_the_figures_and_names_are_those_of_the_model() -> None:
    assert f"at most {MAX_COPIES_PER_VM}." in PAGE
    assert f"A copy takes {BYTES_A_PAGE}\nbytes a page" in PAGE
    assert f"| `{SOURCE_BASE}` |" in PAGE
    for began in (SlotBegan.NOTHING, SlotBegan.BASE):
        assert f"`{began}`" in PAGE
