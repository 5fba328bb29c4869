"""Works the expected values out anew, by the scalar model alone: `python -m tests.conformance.vectors.regenerate`.

Prints the name of each file that it changed. The core has no say in it.
"""

import json
import sys
from pathlib import Path
from typing import Any

from hacdbs_sim.model import DirtyLog
from tests.conformance.vectors.format import FILES, expected_of, text_of, window_of
from tests.conformance.vectors.ops import action_of, config_of
from tests.support.scalar_model import ScalarMachine


def expected_by_model(vector: dict[str, Any]) -> dict[str, Any]:
    """Perform a vector's setup and call on the scalar model."""
    model = ScalarMachine(config_of(vector["vm"]))
    for op in vector["setup"]:
        model.perform(action_of(op))
    answer = model.perform(action_of(vector["call"]))
    assert isinstance(answer, DirtyLog)
    gfn, count = window_of(model, answer.slot)
    return expected_of(model, answer, model.stage2.runs(gfn, gfn + count))


def regenerated(file: Path) -> str:
    """Return a file's text with all expected values worked out anew."""
    content = json.loads(file.read_text())
    vectors = [{**vector, "expected": expected_by_model(vector)} for vector in content["vectors"]]
    return text_of(content["about"], vectors)


def main() -> None:
    for file in FILES:
        text = regenerated(file)
        if text != file.read_text():
            file.write_text(text)
            sys.stdout.write(f"{file.name}\n")


if __name__ == "__main__":
    main()
