"""The example of docs/migrations.md runs, and the document names every field and column."""

import re
from dataclasses import fields
from pathlib import Path

from hacdbs_sim.model import ITERATION_FIELDS, Iteration, StartMigration

DOCUMENT = (Path(__file__).parents[2] / "docs/migrations.md").read_text(encoding="utf-8")


def test_the_example_runs() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)

    exec(compile(example, "docs/migrations.md", "exec"), {})  # noqa: S102 - our own document


def test_each_field_has_its_row_and_each_column_its_name() -> None:
    rows = set(re.findall(r"^\| `(\w+)` \|", DOCUMENT, re.MULTILINE))
    columns = DOCUMENT.partition("in this order:")[2].partition("\n\n")[0]

    assert rows >= {field.name for field in fields(StartMigration)}
    assert tuple(re.findall(r"`(\w+)`", columns)) == ITERATION_FIELDS
    assert set(ITERATION_FIELDS) == {field.name for field in fields(Iteration)}
