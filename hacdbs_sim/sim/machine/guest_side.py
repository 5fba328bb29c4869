"""The guest's side of a machine: accesses, workloads, virtual time and page versions."""

from collections.abc import Callable

import numpy as np

from hacdbs_sim import model
from hacdbs_sim.model.errors import NoSuchVcpuError
from hacdbs_sim.model.page_checks import check_gfns
from hacdbs_sim.model.pages import Intervals, PageSet
from hacdbs_sim.model.words import WORD_BITS, words_for
from hacdbs_sim.sim.guest.free_pages import FreePages
from hacdbs_sim.sim.guest.guest import Guest
from hacdbs_sim.sim.guest.trace import state_bytes_of
from hacdbs_sim.sim.guest.versions import BYTES_A_PAGE, PageVersions, Versions
from hacdbs_sim.sim.guest.workload import Recordings
from hacdbs_sim.sim.kvm import accesses
from hacdbs_sim.sim.kvm.memslots import Memslots
from hacdbs_sim.sim.machine.counters import Counters


class GuestSide:
    """What reads and writes a machine's memory, and when."""

    def __init__(
        self,
        config: model.VmConfig,
        slots: Memslots,
        counters: Counters,
        recordings: Recordings,
    ) -> None:
        self._vcpus = config.vcpus
        self._page_size = config.page_size
        self._end_gfn = (1 << config.ipa_bits) // config.page_size
        self._slots = slots
        self._counters = counters
        self._versions: PageVersions | None = None
        self._version_users = 0
        self._free: FreePages | None = None
        self._has_written = False
        self.guest = Guest(
            vcpus=config.vcpus, seed=config.seed, costs=config.costs, recordings=recordings
        )

    def guest_write(self, action: model.GuestWrite) -> model.AccessOutcome:
        """Write as a vCPU."""
        self._check_vcpu(action.vcpu)
        check_gfns(action.pages, self._end_gfn)
        return self._write(model.Writer.GUEST, action.pages)

    def guest_write_memory(self, action: model.GuestWriteMemory) -> model.AccessOutcome:
        """Write ranges of bytes as a vCPU."""
        self._check_vcpu(action.vcpu)
        pages = action.pages(self._page_size)
        check_gfns(pages, self._end_gfn, field="gpa_ranges")
        return self._write(model.Writer.GUEST, pages)

    def host_write(self, action: model.HostWrite) -> model.AccessOutcome:
        """Write as the host kernel."""
        check_gfns(action.pages, self._end_gfn)
        return self._write(model.Writer.HOST, action.pages)

    def guest_read(self, action: model.GuestRead) -> model.AccessOutcome:
        """Read as a vCPU."""
        self._check_vcpu(action.vcpu)
        return self._access("guest_reads", accesses.guest_read, action.pages)

    def host_unmap(self, action: model.HostUnmap) -> model.AccessOutcome:
        """Unmap as an MMU notifier."""
        return self._access("host_unmaps", accesses.host_unmap, action.pages)

    def host_discard(self, action: model.HostDiscard) -> model.AccessOutcome:
        """Unmap pages and drop their content.

        Raises:
            GfnBeyondIpaSpaceError: A frame beyond the IPA space.
        """
        outcome = self._access("host_unmaps", accesses.host_unmap, action.pages)
        self._give_up(action.pages)
        return outcome

    def hint_free(self, action: model.HintFree) -> model.AccessOutcome:
        """Report pages as free.

        Raises:
            GfnBeyondIpaSpaceError: A frame beyond the IPA space.
        """
        check_gfns(action.pages, self._end_gfn)
        self._give_up(action.pages)
        return model.AccessOutcome(pages=accesses.count_of(action.pages))

    def _give_up(self, pages: PageSet) -> None:
        if self._free is None:
            self._free = FreePages()
        self._free.add(self._slots, pages)

    @property
    def has_free_pages(self) -> bool:
        """Whether the guest has given up any page."""
        return self._free is not None

    def free_pages(self, query: model.GetFreePages) -> model.Bitmap | None:
        """Return the pages of a slot that the guest gave up; None: none."""
        words = None if self._free is None else self._free.read(query.slot)
        if words is None:
            return None
        first = query.first_page // WORD_BITS
        end = None if query.num_pages is None else first + words_for(query.num_pages)
        return model.Bitmap(words[first:end].copy())

    def written_pages(self, query: model.GetWrittenPages) -> model.Bitmap | None:
        """Return the pages of a slot that have been written; None: not all writes were tracked."""
        region = self._slots.get(query.slot).region
        if self._versions is None or not self._versions.is_complete(query.slot):
            return None
        versions = self._versions.read(region.slot, query.first_page, query.num_pages)
        octets = np.packbits(versions != 0, bitorder="little")
        words = np.zeros(words_for(len(versions)), "<u8")
        words.view(np.uint8)[: len(octets)] = octets
        return model.Bitmap(words.astype(np.uint64, copy=False))

    def _access(
        self,
        kind: str,
        access: Callable[[Memslots, PageSet], model.AccessOutcome],
        pages: PageSet,
    ) -> model.AccessOutcome:
        check_gfns(pages, self._end_gfn)
        outcome = access(self._slots, pages)
        self._counters.add_access(kind, outcome)
        return outcome

    def run(self, action: model.RunGuest) -> model.GuestRun:
        """Let the workloads write."""
        return self.guest.run(action.duration_ns, action.throttle_percent, self._slots, self._write)

    def add_workload(self, spec: model.AddWorkload) -> model.WorkloadInfo:
        """Add a workload."""
        self._check_vcpu(spec.vcpu)
        return self.guest.add(spec, self._slots.get(spec.slot).region.npages)

    def track_versions(self, *, enabled: bool) -> None:
        """Count one more, or one fewer, who needs page versions: kept while somebody does."""
        self._version_users = self._version_users_after(enabled=enabled)
        if not self._version_users:
            self._versions = None
        elif self._versions is None:
            self._versions = PageVersions(self._slots, is_complete=not self._has_written)

    def _version_users_after(self, *, enabled: bool) -> int:
        return max(self._version_users + (1 if enabled else -1), 0)

    def versions(self, slot: int, first_page: int, num_pages: int | None) -> Versions | None:
        """Copy the versions of a slot's pages; None where none are kept."""
        region = self._slots.get(slot).region
        if self._versions is None:
            return None
        return self._versions.read(region.slot, first_page, num_pages)

    @property
    def last_version(self) -> int | None:
        """The number of the last batch of writes; None where none are kept."""
        return None if self._versions is None else self._versions.last

    def follow_memslots(self) -> None:
        """Follow a change of the memslots."""
        if self._versions is not None:
            self._versions.follow(self._slots)
        if self._free is not None:
            self._free.follow(self._slots)

    def state_bytes(self, pages: int, tracking: model.TrackVersions | None = None) -> int:
        """Return the bytes that it holds on a machine of so many pages, now or after an action."""
        users = self._version_users
        if tracking is not None:
            users = self._version_users_after(enabled=tracking.enabled)
        is_tracked = users > 0
        free_bytes = 0 if self._free is None else self._free.state_bytes
        return is_tracked * BYTES_A_PAGE * pages + self.guest.state_bytes + free_bytes

    def trace_bytes(self, spec: model.AddWorkload, recording: Intervals) -> int:
        """Return the bytes that a trace would take."""
        assert isinstance(spec, model.TraceFields), "only a trace replays"
        return state_bytes_of(spec.copies, recording)

    def _write(self, writer: model.Writer, pages: PageSet) -> model.AccessOutcome:
        if writer is model.Writer.GUEST:
            kind, outcome = "guest_writes", accesses.guest_write(self._slots, pages)
        else:
            kind, outcome = "host_writes", accesses.host_write(self._slots, pages)
        self._has_written = True
        if self._versions is not None:
            self._versions.stamp(self._slots, pages)
        if self._free is not None:
            self._free.drop(self._slots, pages)
        self._counters.add_access(kind, outcome)
        return outcome

    def _check_vcpu(self, vcpu: int) -> None:
        if not 0 <= vcpu < self._vcpus:
            raise NoSuchVcpuError.must(
                "vcpu", f"be 0..{self._vcpus - 1}", vcpu, bound=self._vcpus - 1
            )
