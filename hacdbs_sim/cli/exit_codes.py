"""How commands end: the exit codes that scripts may rely on (docs/cli.md)."""

from enum import IntEnum


class ExitCode(IntEnum):
    """An exit code."""

    GOOD = 0
    NEGATIVE = 1
    """All was answered, and the verdict is negative: pages lost, an expectation not met."""
    USAGE = 2
    """The command line, or a file that it names, cannot be understood; nothing was sent."""
    REFUSED = 3
    """The service refused the call."""
    UNREACHABLE = 4
    """No answer came, or none of this service."""
    NOT_IN_TIME = 5
    """What was waited for did not come in time."""
