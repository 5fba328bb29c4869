"""What one test has of the service: its client, its session, its VMs with their seeds."""

import hashlib
import re
import secrets
from collections.abc import Sequence
from typing import Any, Final

from hacdbs_sim.client import Client, FaultSpec, MemslotSpec, Service, Session, Vm
from hacdbs_sim.pytest_plugin.failure_report import sections_of

DEFAULT_MEMSLOT: Final[MemslotSpec] = {
    "slot": 0,
    "guest_phys_addr": 0x4000_0000,
    "memory_size": "64MiB",
    "flags": ["LOG_DIRTY_PAGES"],
}
SEED_BITS: Final = 53
"""JSON's integers."""

_NAME_CHARS: Final = 32
_DIGEST_CHARS: Final = 10


class Testbed:
    """What one test has of the service.

    Args:
        service: The service.
        client: The test's own client.
        nodeid: The test's id, which no other test has.
        seed: The run's seed.
        is_shared: Whether other runs may use the service at the same time.
    """

    __test__ = False

    def __init__(
        self, service: Service, client: Client, nodeid: str, seed: int, *, is_shared: bool
    ) -> None:
        self.client = client
        self._service = service
        self._nodeid = nodeid
        self._seed = seed
        self._is_shared = is_shared
        self._session_id: str | None = None

    def own_session(self) -> Session:
        """Make the session. Its id tells the test; where others may run the same, it is random too."""
        name = re.sub(r"[^a-z0-9]+", "-", self._nodeid.rpartition("::")[2].lower()).strip("-")
        end = self._digest()[:_DIGEST_CHARS]
        if self._is_shared:
            end += "-" + secrets.token_hex(4)
        self._session_id = f"t-{name[:_NAME_CHARS]}-{end}"
        return self.client.create_session(self._session_id)

    def seed_of(self, number: int) -> int:
        """Derive the seed of the test's so many-th VM."""
        return int(self._digest(self._seed, number), 16) >> (256 - SEED_BITS)

    def sections(self) -> list[tuple[str, str]]:
        """Tell the state of the session's VMs and what was sent, under headings."""
        return sections_of(self._service, self._session_id, list(self.client.history))

    def _digest(self, *parts: object) -> str:
        told = "\0".join([self._nodeid, *map(str, parts)])
        return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()


class VmFactory:
    """Makes VMs in a test's session."""

    def __init__(self, session: Session, testbed: Testbed) -> None:
        self._session = session
        self._testbed = testbed
        self._made = 0

    def __call__(
        self,
        *,
        memslots: Sequence[MemslotSpec] = (DEFAULT_MEMSLOT,),
        faults: Sequence[FaultSpec] = (),
        seed: int | None = None,
        **fields: Any,  # noqa: ANN401 - each as `Session.create_vm` has it
    ) -> Vm:
        """Make a VM; it takes what `Session.create_vm` takes."""
        derived = self._testbed.seed_of(self._made)
        self._made += 1
        seed = derived if seed is None else seed
        return self._session.create_vm(memslots=memslots, faults=faults, seed=seed, **fields)
