"""In which form the pages of a dirty log are written."""

from enum import StrEnum
from typing import NamedTuple


class LogFormat(StrEnum):
    """How JSON has the pages of a dirty log."""

    RANGES = "ranges"
    BASE64 = "base64"
    WORDS = "words"
    SUMMARY = "summary"


class WriteContext(NamedTuple):
    """What a serializer is given beside the value."""

    format: LogFormat


DEFAULT_CONTEXT = WriteContext(LogFormat.RANGES)
