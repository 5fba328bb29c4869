"""The examples of docs/client.md run."""

import re
from pathlib import Path

DOCUMENT = (Path(__file__).parents[3] / "docs/client.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)


def test_the_example_of_the_client_runs() -> None:
    exec(compile(EXAMPLES[0], "docs/client.md", "exec"), {})  # noqa: S102 - our own document
