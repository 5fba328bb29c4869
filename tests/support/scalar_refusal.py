"""How the scalar model refuses: by code alone, so that it shares no class with the core."""


class Refused(Exception):  # noqa: N818 - it stands for an answer, not for an error of ours
    """An action was refused; `code` is the one that the core's error has."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code
