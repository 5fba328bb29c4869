"""What docs/migrations.md shows works as it stands there, and names what the report has."""

import re
from pathlib import Path

from app.http.schemas.migrations import MigrationIn

from hacdbs_sim.vmm.report import ITERATION_FIELDS

DOCUMENT = (Path(__file__).parents[2] / "docs/migrations.md").read_text(encoding="utf-8")


def test_the_example_runs() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)

    exec(compile(example, "docs/migrations.md", "exec"), {})  # noqa: S102 - our own document


def test_each_field_has_its_row_and_each_column_its_name() -> None:
    rows = set(re.findall(r"^\| `(\w+)` \|", DOCUMENT, re.MULTILINE))
    columns = DOCUMENT.partition("in this order:")[2].partition("The last row")[0]

    assert rows >= MigrationIn.model_fields.keys()
    assert tuple(re.findall(r"`(\w+)`", columns)) == ITERATION_FIELDS
