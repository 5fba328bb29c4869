"""Where the command line was: the `hacdbs-sim` of an environment that was made then comes here."""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Report the environment, and end."""
    sys.exit(
        "hacdbs-sim: this environment was made by an older commit; scripts/serve renews it, as does"
        " pip install -e '.[all]'"
    )
