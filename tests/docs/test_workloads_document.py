"""docs/workloads.md describes what the code does."""

import re
from pathlib import Path

import pytest

from hacdbs_sim.model import KNOBS

DOCUMENT = (Path(__file__).parents[2] / "docs/workloads.md").read_text(encoding="utf-8")
ROW = re.compile(r"\| `(\w+_ps)` \| ([\d,.]+) \| (assumption|published) \| (.+) \|")


def test_the_table_of_costs_is_that_of_the_code() -> None:
    rows = ROW.findall(DOCUMENT)

    documented = [
        (name, round(float(ns.replace(",", "")) * 1000), kind == "assumption", source)
        for name, ns, kind, source in rows
    ]
    assert documented == [(knob.name, knob.default, knob.assumption, knob.source) for knob in KNOBS]


@pytest.mark.parametrize("example", re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL))
def test_the_examples_run(example: str) -> None:
    exec(compile(example, "docs/workloads.md", "exec"), {})  # noqa: S102 - our own document
