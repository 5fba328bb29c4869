"""The guest's side of a machine: accesses, workloads, virtual time and page versions."""

from collections.abc import Callable
from typing import assert_never

from hacdbs_sim.sim import actions as a
from hacdbs_sim.model.errors import NoSuchVcpuError
from hacdbs_sim.model.pages import PageSet
from hacdbs_sim.sim.guest.running import Guest
from hacdbs_sim.sim.guest.versions import BYTES_A_PAGE, PageVersions, Versions
from hacdbs_sim.sim.kvm import accesses
from hacdbs_sim.sim.kvm.memslots import Memslots
from hacdbs_sim.sim.machine.counters import Counters


class GuestSide:
    """What reads and writes a machine's memory, and when.

    Args:
        config: The machine's configuration.
        slots: Its memslots.
        counters: Its counters.
    """

    def __init__(self, config: a.MachineConfig, slots: Memslots, counters: Counters) -> None:
        self._vcpus = config.vcpus
        self._end_gfn = (1 << config.ipa_bits) // config.page_size
        self._slots = slots
        self._counters = counters
        self._versions: PageVersions | None = None
        self.guest = Guest(vcpus=config.vcpus, seed=config.seed, costs=config.costs)

    def access(
        self, action: a.GuestWrite | a.GuestRead | a.HostWrite | a.HostUnmap
    ) -> a.AccessOutcome:
        """Perform a batch of accesses.

        Raises:
            NoSuchVcpuError: the VM has no such vCPU.
            GfnBeyondIpaSpaceError: a frame beyond the IPA space.
        """
        match action:
            case a.GuestWrite():
                self._check_vcpu(action.vcpu)
                accesses.check_gfns(action.pages, self._end_gfn)
                return self._write(a.Writer.GUEST, action.pages)
            case a.HostWrite():
                accesses.check_gfns(action.pages, self._end_gfn)
                return self._write(a.Writer.HOST, action.pages)
            case a.GuestRead():
                self._check_vcpu(action.vcpu)
                return self._access("guest_reads", accesses.guest_read, action.pages)
            case a.HostUnmap():
                return self._access("host_unmaps", accesses.host_unmap, action.pages)
            case _:
                assert_never(action)

    def _access(
        self,
        kind: str,
        access: Callable[[Memslots, PageSet], a.AccessOutcome],
        pages: PageSet,
    ) -> a.AccessOutcome:
        accesses.check_gfns(pages, self._end_gfn)
        outcome = access(self._slots, pages)
        self._counters.add_access(kind, outcome)
        return outcome

    def run(self, action: a.RunGuest) -> a.GuestRun:
        """Let the workloads write.

        Raises:
            InvalidArgumentError: no such duration or percentage.
            TooManyWritesError: more writes than one run makes.
        """
        return self.guest.run(action.duration_ns, action.throttle_percent, self._slots, self._write)

    def add_workload(self, spec: a.WorkloadSpec) -> a.WorkloadView:
        """Add a workload.

        Raises:
            NoSuchMemslotError: its slot is absent.
            NoSuchVcpuError: the VM has no such vCPU.
            InvalidWorkloadError: names the field, its bound and its value.
        """
        self._check_vcpu(spec.vcpu)
        return self.guest.add(spec, self._slots.get(spec.slot).region.npages)

    def track_versions(self, *, enabled: bool) -> None:
        """Keep page versions from now on, or no longer; keeping on changes nothing."""
        if not enabled:
            self._versions = None
        elif self._versions is None:
            self._versions = PageVersions(self._slots)

    def versions(self, slot: int, first_page: int, num_pages: int | None) -> Versions | None:
        """Copy the versions of a slot's pages; None where none are kept.

        Raises:
            NoSuchMemslotError: the slot is absent.
        """
        region = self._slots.get(slot).region
        if self._versions is None:
            return None
        return self._versions.read(region.slot, first_page, num_pages)

    @property
    def last_version(self) -> int | None:
        """Value of the number of the last batch of writes; None where none are kept."""
        return None if self._versions is None else self._versions.last

    def follow_memslots(self) -> None:
        """Follow a change of the memslots."""
        if self._versions is not None:
            self._versions.follow(self._slots)

    def state_bytes(self, pages: int, *, tracked: bool | None = None) -> int:
        """Give the bytes that it holds on a machine of so many pages, as tracked as it is now."""
        is_tracked = self._versions is not None if tracked is None else tracked
        return is_tracked * BYTES_A_PAGE * pages + self.guest.state_bytes

    def _write(self, writer: a.Writer, pages: PageSet) -> a.AccessOutcome:
        if writer is a.Writer.GUEST:
            kind, outcome = "guest_writes", accesses.guest_write(self._slots, pages)
        else:
            kind, outcome = "host_writes", accesses.host_write(self._slots, pages)
        if self._versions is not None:
            self._versions.stamp(self._slots, pages)
        self._counters.add_access(kind, outcome)
        return outcome

    def _check_vcpu(self, vcpu: int) -> None:
        if not 0 <= vcpu < self._vcpus:
            raise NoSuchVcpuError(
                f"vcpu must be 0..{self._vcpus - 1}, not {vcpu}",
                field="vcpu",
                bound=self._vcpus - 1,
                value=vcpu,
            )
