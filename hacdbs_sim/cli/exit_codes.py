"""Exit codes of the commands (docs/cli.md)."""

from enum import IntEnum


class ExitCode(IntEnum):
    """An exit code."""

    GOOD = 0
    NEGATIVE = 1
    """The verdict is negative: pages lost, an expectation not met."""
    USAGE = 2
    """The command line, or a file that it names, is invalid; nothing was sent."""
    REFUSED = 3
    """The service refused the request."""
    UNREACHABLE = 4
    """No response, or a response of another service."""
    NOT_IN_TIME = 5
    """Timeout: the awaited event did not happen."""
    OUTPUT = 6
    """Standard output or error could not be written: it is full, or its reader has closed it."""
