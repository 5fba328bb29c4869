"""The one order of everything that changes a service: each change takes a number when it begins.

Sessions and VMs take theirs on the event loop, actions from any thread. Whoever records a service
(a journal, a test) watches the order; replaying the changes of a VM by number gives the same VM.
"""

import itertools
from collections.abc import Callable
from typing import Any, TypeAlias

from hacdbs_sim.model import Action, VmSpec

Change: TypeAlias = Action[Any] | VmSpec | str
"""An action on a VM, a VM that is made, or what else happens to a session or VM, by name."""

Watcher: TypeAlias = Callable[[int, str, str | None, Change], None]
"""Called with number, session and VM (None: the session itself) of each change, from any thread."""


class Order:
    """Numbers of changes, from 1, without gaps."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)  # next() is one step: threads never share a number
        self._watchers: tuple[Watcher, ...] = ()

    def watch(self, watcher: Watcher) -> None:
        """Have a function called for each change from now on."""
        self._watchers = (*self._watchers, watcher)

    def take(self, session_id: str, vm_id: str | None, change: Change) -> int:
        """Return the number of a change that begins now."""
        number = next(self._numbers)
        for watcher in self._watchers:
            watcher(number, session_id, vm_id, change)
        return number
