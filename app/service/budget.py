"""The bytes of planes and bitmaps that all machines may hold together, and who holds them.

Charged from the event loop and from worker threads, so a lock guards the sum.
"""

from threading import Lock

from .errors import StateBytesLimitError


class StateBudget:
    """A limit on bytes of state, shared by the accounts opened on it."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self.used_bytes = 0
        self._lock = Lock()

    def move(self, account: "Account", wanted_bytes: int, *, closes: bool = False) -> None:
        """Replace the bytes of an open account; growth past the limit is refused and changes nothing."""
        with self._lock:
            if not account.is_open:  # asked here: another thread may have closed it just now
                return
            used_bytes = self.used_bytes - account.held_bytes + wanted_bytes
            if wanted_bytes > account.held_bytes and used_bytes > self._limit_bytes:
                detail = (
                    f"the planes of all VMs would take {used_bytes} bytes,"
                    f" HACDBS_MAX_STATE_BYTES allows {self._limit_bytes}"
                )
                raise StateBytesLimitError(detail, bound=self._limit_bytes, value=used_bytes)
            self.used_bytes = used_bytes
            account.held_bytes = wanted_bytes
            account.is_open = not closes


class Account:
    """One machine's share of the budget, until it is closed; only the budget updates it."""

    def __init__(self, budget: StateBudget) -> None:
        self._budget = budget
        self.held_bytes = 0
        self.is_open = True

    def hold(self, state_bytes: int) -> None:
        """Hold this many bytes from now on; an increase may be refused."""
        self._budget.move(self, state_bytes)

    def close(self) -> None:
        """Return all bytes; a machine that finishes a call after this is not charged."""
        self._budget.move(self, 0, closes=True)
