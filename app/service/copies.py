"""The copies of one VM's memory that callers keep, by id."""

from typing import Final

from hacdbs_sim import model
from hacdbs_sim.model import MAX_COPIES_PER_VM, SOURCE_BASE
from hacdbs_sim.model.base import WORK_PER_ACTION
from hacdbs_sim.model.errors import NotSupportedByBackendError
from hacdbs_sim.vmm import Copy
from hacdbs_sim.vmm.copies import BYTES_A_PAGE

from .background import Background
from .budget import Account, StateBudget
from .errors import CopyLimitError, NoSuchCopyError, NoSuchVmError
from .vm_runtime import VmRuntime

PAGES_PER_WORK: Final = 8
"""Pages whose versions are compared in the time of one word of a bitmap."""


class KeptCopy:
    """A copy of a VM's memory, by its id, `c{number}`.

    Attributes:
        number: Its number.
        base: What it began with, as requested.
    """

    def __init__(self, runtime: VmRuntime, base: str | None, account: Account) -> None:
        self.number = 0
        self.base = base
        self._runtime = runtime
        self._account = account
        self._copy: Copy | None = None
        self._is_deleted = False
        self._created_ns = runtime.query(model.GetClock()).now_ns

    @property
    def copy_id(self) -> str:
        """The id by which clients refer to it."""
        return f"c{self.number}"

    @property
    def copy(self) -> Copy:
        """The copy itself."""
        assert self._copy is not None, "it is kept once it has begun"
        return self._copy

    def begin(self, base: Copy | None) -> None:
        """Begin; the caller holds the VM's lock.

        Raises:
            StateBytesLimitError: The copy, or the versions of pages, would exceed the budget.
        """
        runtime = self._runtime
        self._account.hold(BYTES_A_PAGE * runtime.query(model.GetFootprint()).pages)
        self._copy = Copy(runtime, self.base if base is None else base, runtime.tracking)

    async def receive(self, request: model.ReceivePages) -> model.ReceivedPages:
        """Receive pages.

        Raises:
            KvmError: The pages are not the VM's, the guest cannot run so long, or the budget is used
                up. Nothing has changed.
        """

        def call() -> model.ReceivedPages:
            self._check_present()
            self._account.hold(BYTES_A_PAGE * self.copy.pages_with(request.slot))
            try:
                return self.copy.receive(request)
            finally:
                self._account.hold(self.copy.state_bytes)

        def work() -> int:
            run = 0
            if request.duration_ns:
                run = self._runtime.work(model.RunGuest(duration_ns=request.duration_ns))
            return run + self._runtime.work_of_all_memslots(PAGES_PER_WORK)

        return await self._runtime.run(call, work=work)

    async def verify(self, request: model.VerifyCopy) -> model.Verification:
        """Compare the copy with the VM.

        Raises:
            KvmError: The pending pages are not the VM's.
        """

        def call() -> model.Verification:
            self._check_present()
            return self.copy.verify(request.pending)

        return await self._runtime.run(
            call, work=lambda: self._runtime.work_of_all_memslots(PAGES_PER_WORK)
        )

    async def memslots(self) -> tuple[model.MemslotInfo, ...]:
        """Return the memslots of the copy."""
        return await self._runtime.run(lambda: self.copy.memslots, work=lambda: 0)

    async def end(self) -> None:
        """Forget the pages, and stop needing the VM's page versions."""
        self._is_deleted = True
        await self._runtime.run(self.copy.close, work=lambda: WORK_PER_ACTION)
        self._account.close()

    def release(self) -> None:
        """Return the bytes to the budget; the VM is gone."""
        self._account.close()

    def info(self, vm_id: str) -> model.CopyInfo:
        """Return the representation for clients."""
        return model.CopyInfo(
            copy_id=self.copy_id,
            vm_id=vm_id,
            base=self.base,
            created_ns=self._created_ns,
            received_pages=self.copy.received_pages,
            state_bytes=self.copy.state_bytes,
            slots=self.copy.slots,
        )

    def _check_present(self) -> None:
        """Refuse a call that waited for the VM while the copy was deleted."""
        if self._is_deleted:
            raise NoSuchCopyError("the copy has been deleted", field="copy_id", value=self.copy_id)


class VmCopies:
    """All copies of one VM; used on the event loop only.

    Args:
        vm_id: The VM's id.
        runtime: The VM.
        budget: The bytes that all VMs and copies share.
        background: Where a copy begins and ends.
    """

    def __init__(
        self, vm_id: str, runtime: VmRuntime, budget: StateBudget, background: Background
    ) -> None:
        self._vm_id = vm_id
        self._background = background
        self._runtime = runtime
        self._budget = budget
        self._by_number: dict[int, KeptCopy] = {}
        self._last_number = 0
        self._beginning = 0
        self._is_closed = False

    def list(self) -> list[KeptCopy]:
        """List the copies, by number."""
        return list(self._by_number.values())

    def find(self, copy_id: str, field: str = "copy_id") -> KeptCopy:
        """Return a copy by its id.

        Raises:
            NoSuchCopyError: The VM has no such copy.
        """
        for kept in self._by_number.values():
            if kept.copy_id == copy_id:
                return kept
        there_are = ", ".join(kept.copy_id for kept in self._by_number.values()) or "none"
        raise NoSuchCopyError(
            f"{field} must be a copy of the VM {self._vm_id}, which has {there_are}",
            field=field,
            bound=there_are,
            value=copy_id,
        )

    async def create(self, request: model.CreateCopy) -> KeptCopy:
        """Begin a copy.

        Raises:
            NotSupportedByBackendError: The VM's backend cannot track page versions.
            NoSuchCopyError: The base is not a copy of this VM.
            CopyLimitError: The VM has the maximum number of copies.
            StateBytesLimitError: The copy, or the versions of pages, would exceed the budget.
        """
        if not self._runtime.supports(model.NeedVersions):
            raise NotSupportedByBackendError(
                f"a VM of the backend {self._runtime.capabilities.backend} has no copies: it does not"
                " tell which write last touched a page",
                field="vm_id",
                value=self._vm_id,
            )
        base = None
        if request.base is not None and request.base != SOURCE_BASE:
            base = self.find(request.base, "base").copy
        if len(self._by_number) + self._beginning >= MAX_COPIES_PER_VM:
            raise CopyLimitError(
                f"the VM has {MAX_COPIES_PER_VM} copies, as many as one VM has",
                bound=MAX_COPIES_PER_VM,
            )
        kept = KeptCopy(self._runtime, request.base, Account(self._budget))
        self._beginning += 1
        # Shielded: a request that is cancelled would leave the versions needed by nobody.
        return await self._background.to_the_end(self._begin(kept, base))

    async def _begin(self, kept: KeptCopy, base: Copy | None) -> KeptCopy:
        try:
            await self._runtime.run(
                lambda: kept.begin(base),
                work=lambda: self._runtime.work_of_all_memslots(PAGES_PER_WORK),
            )
        except BaseException:
            kept.release()
            raise
        finally:
            self._beginning -= 1
        if self._is_closed:
            kept.release()
            raise NoSuchVmError("the VM has been deleted", field="vm_id", value=self._vm_id)
        self._last_number += 1
        kept.number = self._last_number
        self._by_number[kept.number] = kept
        return kept

    async def delete(self, copy_id: str) -> None:
        """Delete a copy; those made of it stay.

        Raises:
            NoSuchCopyError: The VM has no such copy.
        """
        kept = self.find(copy_id)
        del self._by_number[kept.number]
        await self._background.to_the_end(kept.end())

    def close(self) -> None:
        """Forget all copies: the VM is gone."""
        self._is_closed = True
        for kept in self._by_number.values():
            kept.release()
        self._by_number = {}
