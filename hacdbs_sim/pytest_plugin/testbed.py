"""One test's part of the service: its client, its session, its VMs with their seeds."""

import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Final

from hacdbs_sim.client import Client, Service, Session, Vm
from hacdbs_sim.client.bodies import AnyFault, AnyFeatures, AnyMemslot, AnyWorkload, Size
from hacdbs_sim.model import MIB, MemslotFlags, SetMemslot
from hacdbs_sim.pytest_plugin.failure_report import sections_of

__tracebackhide__ = True

DEFAULT_MEMSLOT: Final = SetMemslot(
    slot=0,
    guest_phys_addr=0x4000_0000,
    memory_size=64 * MIB,
    flags=MemslotFlags.LOG_DIRTY_PAGES,
)
SEED_BITS: Final = 53
"""Width of an integer in JSON."""

_NAME_CHARS: Final = 32
_DIGEST_CHARS: Final = 10


class Testbed:
    """One test's part of the service.

    Args:
        service: The service.
        client: The test's own client.
        nodeid: The test's id.
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

    def create_session(self) -> Session:
        """Create the session; its id has the test's name, and a random part on a shared service."""
        name = re.sub(r"[^a-z0-9]+", "-", self._nodeid.rpartition("::")[2].lower()).strip("-")
        end = self._digest()[:_DIGEST_CHARS]
        if self._is_shared:
            end += "-" + secrets.token_hex(4)
        self._session_id = f"t-{name[:_NAME_CHARS]}-{end}"
        return self.client.create_session(self._session_id)

    def seed_of(self, number: int) -> int:
        """Return the seed of one of the test's VMs, by its number."""
        return int(self._digest(self._seed, number), 16) >> (256 - SEED_BITS)

    def sections(self) -> list[tuple[str, str]]:
        """Return the state of the session's VMs and the requests, under headings."""
        return sections_of(self._service, self._session_id, list(self.client.history))

    def _digest(self, *parts: object) -> str:
        name = "\0".join([self._nodeid, *map(str, parts)])
        return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()


class VmFactory:
    """Creates VMs in a test's session."""

    def __init__(self, session: Session, testbed: Testbed) -> None:
        self._session = session
        self._testbed = testbed
        self._made = 0

    def __call__(
        self,
        *,
        name: str | None = None,
        page_size: Size | None = None,
        ipa_bits: int | None = None,
        vcpus: int | None = None,
        cpus: int | None = None,
        features: AnyFeatures | None = None,
        manual_dirty_log_protect2: int | None = None,
        eager_split_chunk_size: Size | None = None,
        kernel: str | None = None,
        seed: int | None = None,
        memslots: Sequence[AnyMemslot] = (DEFAULT_MEMSLOT,),
        faults: Sequence[AnyFault] = (),
        workloads: Sequence[AnyWorkload] = (),
        costs: Mapping[str, int] | None = None,
        track_versions: bool | None = None,
    ) -> Vm:
        """Create a VM; the parameters are those of `Session.create_vm`.

        Args:
            name: A label.
            page_size: The granule: 4, 16 or 64 KiB.
            ipa_bits: Width of the IPA space.
            vcpus: Number of vCPUs.
            cpus: Number of host CPUs, each with a unit.
            features: What hardware and kernel have.
            manual_dirty_log_protect2: The capability: 0, 1 or 3.
            eager_split_chunk_size: The capability, in bytes; 0 for none.
            kernel: The kernel's profile, `fixed` or `v1`.
            seed: Of faults and workloads; from --hacdbs-seed and the test's name if None.
            memslots: Its memslots; one of 64 MiB that logs if left out.
            faults: Faults to arm.
            workloads: What the guest writes while it runs.
            costs: Knobs of the cost model, by name.
            track_versions: Whether page versions are tracked from the start.
        """
        derived = self._testbed.seed_of(self._made)
        self._made += 1
        return self._session.create_vm(
            name=name,
            page_size=page_size,
            ipa_bits=ipa_bits,
            vcpus=vcpus,
            cpus=cpus,
            features=features,
            manual_dirty_log_protect2=manual_dirty_log_protect2,
            eager_split_chunk_size=eager_split_chunk_size,
            kernel=kernel,
            seed=derived if seed is None else seed,
            memslots=memslots,
            faults=faults,
            workloads=workloads,
            costs=costs,
            track_versions=track_versions,
        )
