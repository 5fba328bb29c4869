"""The guest's side of a machine: accesses, workloads, virtual time and page versions."""

from collections.abc import Callable

from hacdbs_sim import model
from hacdbs_sim.model.errors import NoSuchVcpuError, WindowOutsideMemslotError
from hacdbs_sim.model.page_checks import check_gfns
from hacdbs_sim.model.pages import Intervals, PageSet, words_of
from hacdbs_sim.model.words import WORD_BITS, Words, words_for
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
        self._tracks_versions = False
        self._version_users = 0
        self._last_tracked: int | None = None
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

    def free_bytes(self, pages: PageSet) -> int:
        """Return the bytes that it would take to give up pages."""
        free = FreePages() if self._free is None else self._free
        return free.bytes_to_add(self._slots, pages)

    def free_pages(self, query: model.GetFreePages) -> model.SlotPages:
        """Return the pages of a window of a slot that the guest gave up.

        Raises:
            NoSuchMemslotError: the slot is absent.
        """
        num_pages = self._window(query)
        words = None if self._free is None else self._free.read(query.slot)
        first = query.first_page // WORD_BITS
        end = first + words_for(num_pages)
        return _slot_pages(query, num_pages, None if words is None else words[first:end].copy())

    def _window(self, query: model.GetFreePages | model.GetWrittenPages) -> int:
        """Return the length of the window of a query."""
        left = self._slots.get(query.slot).region.npages - query.first_page
        return left if query.num_pages is None else query.num_pages

    def written_pages(self, query: model.GetWrittenPages) -> model.SlotPages:
        """Return the pages of a window of a slot that have been written, if all writes were tracked.

        Raises:
            NoSuchMemslotError: the slot is absent.
        """
        num_pages = self._window(query)
        if self._versions is None or not self._versions.is_complete(query.slot):
            return _slot_pages(query, num_pages, None)
        versions = self._versions.read(query.slot, query.first_page, num_pages)
        return _slot_pages(query, num_pages, words_of(versions != 0))

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
        """Track page versions from now on, or no longer than somebody else needs them."""
        self._tracks_versions = enabled
        self._follow_tracking()

    def need_versions(self, *, needed: bool) -> None:
        """Count one more, or one fewer, reader of page versions: they are tracked while there is one."""
        self._version_users = self._version_users_after(needed=needed)
        self._follow_tracking()

    def _follow_tracking(self) -> None:
        if not (self._tracks_versions or self._version_users):
            if self._versions is not None:
                self._last_tracked = self._versions.last
            self._versions = None
        elif self._versions is None:
            since = 0 if self._last_tracked is None else self._last_tracked + 1
            self._versions = PageVersions(
                self._slots, is_complete=not self._has_written, since=since
            )

    def _version_users_after(self, *, needed: bool) -> int:
        return max(self._version_users + (1 if needed else -1), 0)

    def versions(self, slot: int, first_page: int, num_pages: int | None) -> Versions | None:
        """Copy the versions of a slot's pages; None where none are tracked."""
        region = self._slots.get(slot).region
        if self._versions is None:
            return None
        return self._versions.read(region.slot, first_page, num_pages)

    def slot_versions(self, query: model.GetPageVersions) -> model.SlotVersions:
        """Return the versions of a window of a slot.

        Raises:
            NoSuchMemslotError: the slot is absent.
            WindowOutsideMemslotError: the window begins behind the slot's end.
        """
        npages = self._slots.get(query.slot).region.npages
        if query.first_page >= npages:
            raise WindowOutsideMemslotError.must(
                "first_page",
                f"be a page of the slot, at most {npages - 1}",
                query.first_page,
                bound=npages - 1,
            )
        count = min(query.num_pages, npages - query.first_page)
        tracked = self._versions
        return model.SlotVersions(
            slot=query.slot,
            first_page=query.first_page,
            num_pages=count,
            last_version=self.last_version,
            is_complete=tracked is not None and tracked.is_complete(query.slot),
            versions=self.versions(query.slot, query.first_page, count),
        )

    @property
    def last_version(self) -> int | None:
        """The number of the last batch of writes; None where none are tracked."""
        return None if self._versions is None else self._versions.last

    def follow_memslots(self) -> None:
        """Follow a memslot that was made or deleted."""
        if self._versions is not None:
            self._versions.follow(self._slots)
        if self._free is not None:
            self._free.follow(self._slots)

    def state_bytes(
        self, pages: int, tracking: model.TrackVersions | model.NeedVersions | None = None
    ) -> int:
        """Return the bytes that it holds on a machine of so many pages, now or after an action."""
        is_tracked, users = self._tracks_versions, self._version_users
        match tracking:
            case model.TrackVersions():
                is_tracked = tracking.enabled
            case model.NeedVersions():
                users = self._version_users_after(needed=tracking.needed)
            case _:
                pass
        is_tracked |= users > 0
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
            raise NoSuchVcpuError.absent("vcpu", vcpu, count=self._vcpus, what="vCPU")


def _slot_pages(
    query: model.GetFreePages | model.GetWrittenPages, num_pages: int, words: Words | None
) -> model.SlotPages:
    return model.SlotPages(
        slot=query.slot,
        first_page=query.first_page,
        num_pages=num_pages,
        bitmap=None if words is None else model.Bitmap(words),
    )
