"""The old module of the command line: the `hacdbs-sim` script of an older environment calls it."""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Report the environment, and end."""
    sys.exit(
        "hacdbs-sim: this environment was made by an older commit; scripts/serve renews it, as does"
        " pip install -e '.[all]'"
    )
