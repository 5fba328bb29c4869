"""The one order of everything that changes a service: each change takes a number when it begins.

A recorder of a service watches the order; replaying the changes of a VM by number gives the same VM.
"""

import itertools
from collections.abc import Callable
from threading import Lock, get_ident
from typing import Any, TypeAlias

from hacdbs_sim.model import Action, VmSpec

Change: TypeAlias = Action[Any] | VmSpec | str
"""An action on a VM, a VM that is made, or what else happens to a session or VM, by name."""

Watcher: TypeAlias = Callable[[int, str, str | None, Change], None]
"""Called with number, session and VM (None: the session itself) of each change, from any thread.

The VM's other changes wait for it. Two VMs may call it at a time: a greater number may come first.
"""


class Order:
    """Numbers of changes, from 1, without gaps."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)  # next() is one step: threads never share a number
        self._watchers: tuple[Watcher, ...] = ()

    def watch(self, watcher: Watcher) -> None:
        """Call a function for each change from now on."""
        self._watchers = (*self._watchers, watcher)

    def take(self, session_id: str, vm_id: str | None, change: Change) -> int:
        """Return the number of a change that begins now."""
        number = next(self._numbers)
        for watcher in self._watchers:
            watcher(number, session_id, vm_id, change)
        return number


class VmOrder:
    """The numbering of one VM's changes, from its publication to its end.

    Most changes of a VM come one at a time, since they hold the VM's lock. Arming and disarming a fault
    do not: they may come while a get or clear runs, which reads the board of faults once. So the number
    of each of these and its reading, or changing, of the board are one step: it holds `_entry` from
    `enter` to `entered`. The backend calls `entered` as soon as it has read the board.
    """

    __slots__ = ("_entering_thread", "_entry", "_name", "_order")

    def __init__(self, order: Order) -> None:
        self._order = order
        self._entry = Lock()
        self._entering_thread: int | None = None
        self._name: tuple[str, str] | None = None

    def open(self, session_id: str, vm_id: str) -> None:
        """Start to number changes: the VM is published."""
        self._name = (session_id, vm_id)

    def close(self) -> None:
        """Stop numbering changes: the VM's id may be another VM's from now on."""
        with self._entry:
            self._name = None

    def take(self, change: Action[Any]) -> None:
        """Take the number of a change that does not involve faults."""
        with self._entry:
            self.number(change)

    def enter(self) -> None:
        """Acquire the board of faults until `entered`."""
        self._entry.acquire()
        self._entering_thread = get_ident()

    def number(self, change: Action[Any]) -> None:
        """Take the number of a change that has entered."""
        if self._name is not None:
            self._order.take(*self._name, change)

    def entered(self) -> None:
        """Release the board of faults; do nothing if the calling thread has released it already."""
        if self._entering_thread == get_ident():
            self._entering_thread = None
            self._entry.release()
