"""Which build serves."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Final

NAME: Final = "hacdbs-sim"


@cache
def installed_version() -> str:
    """Return the version of the installed package."""
    try:
        return version(NAME)
    except PackageNotFoundError:  # served from a source tree
        return "unreleased"
