"""What a QMP client gets for a command that is refused."""

from enum import StrEnum


class ErrorClass(StrEnum):
    """QMP's QapiErrorClass, as far as it is used."""

    GENERIC = "GenericError"
    COMMAND_NOT_FOUND = "CommandNotFound"


class QmpError(Exception):
    """A refusal.

    Args:
        description: One sentence, in QEMU's words where QEMU refuses the same.
        kind: Its class.
    """

    def __init__(self, description: str, kind: ErrorClass = ErrorClass.GENERIC) -> None:
        super().__init__(description)
        self.kind = kind
