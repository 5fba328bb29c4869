"""What the two sides of a comparison answer, and what a side is."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from typing_extensions import override

from hacdbs_sim.model import Action


@dataclass(frozen=True, slots=True)
class Answer:
    """All of an answer that does not depend on the architecture.

    Attributes:
        errno: Name of the errno; None where the call succeeded.
        bitmap: What a get gave: little-endian 64-bit words.
        mmio_exits: Accesses of the guest that no slot took.
    """

    errno: str | None = None
    bitmap: bytes | None = None
    mmio_exits: int | None = None

    @override
    def __str__(self) -> str:
        if self.errno is not None:
            return self.errno
        if self.bitmap is not None:
            pages = np.flatnonzero(
                np.unpackbits(np.frombuffer(self.bitmap, np.uint8), bitorder="little")
            )
            shown = ", ".join(map(str, pages[:16])) + (", ..." if len(pages) > 16 else "")
            return f"{len(self.bitmap)} bytes, {len(pages)} pages: [{shown}]"
        return "ok" if self.mmio_exits is None else f"ok, {self.mmio_exits} exits for MMIO"


class Side(Protocol):
    """One of the machines under comparison."""

    def perform(self, action: Action[Any]) -> Answer:
        """Perform an action."""
        ...

    def close(self) -> None:
        """Destroy the machine."""
        ...
