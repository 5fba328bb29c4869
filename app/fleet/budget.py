"""The bytes of planes and bitmaps that all machines may hold together, and who holds them.

Charged from the event loop and from worker threads, so a lock guards the sum.
"""

from threading import Lock

from app.fleet.errors import StateBytesLimitError


class StateBudget:
    """A limit on bytes of state, shared by the accounts opened on it."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._used_bytes = 0
        self._lock = Lock()

    @property
    def used_bytes(self) -> int:
        """Value of the bytes that all open accounts hold."""
        return self._used_bytes

    def move(self, held_bytes: int, wanted_bytes: int) -> None:
        """Replace a holding by another; growing past the limit is refused and changes nothing."""
        with self._lock:
            used_bytes = self._used_bytes - held_bytes + wanted_bytes
            if wanted_bytes > held_bytes and used_bytes > self._limit_bytes:
                raise StateBytesLimitError(
                    f"the planes of all VMs would take {used_bytes} bytes,"
                    f" HACDBS_MAX_STATE_BYTES allows {self._limit_bytes}",
                    bound=self._limit_bytes,
                    value=used_bytes,
                )
            self._used_bytes = used_bytes


class Account:
    """What one machine holds of the budget, until it is closed."""

    def __init__(self, budget: StateBudget) -> None:
        self._budget = budget
        self._held_bytes = 0
        self._is_open = True

    def hold(self, state_bytes: int) -> None:
        """Hold this many bytes from now on; more than before may be refused."""
        if self._is_open:
            self._budget.move(self._held_bytes, state_bytes)
            self._held_bytes = state_bytes

    def close(self) -> None:
        """Give everything back; a machine that finishes a call after this is not charged."""
        self.hold(0)
        self._is_open = False
