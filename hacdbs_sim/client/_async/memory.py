"""The dirty log of a memslot."""

from hacdbs_sim.client._async.resource import AsyncResource, AsyncSender
from hacdbs_sim.client.bodies import clear_body
from hacdbs_sim.client.pages import LogWindow, PageMask, PageNumbers, Words
from hacdbs_sim.client.request import OCTETS
from hacdbs_sim.client.results import FetchedLog, read, read_dirty_log
from hacdbs_sim.model import DirtyLog, Heat, SlotVersions

__tracebackhide__ = True


class AsyncSlot(AsyncResource):
    """A memslot of a VM, by its number."""

    def __init__(self, sender: AsyncSender, vm_id: str, number: int) -> None:
        super().__init__(sender, "v1", "vms", vm_id, "memslots", number)
        self.number = number

    async def get_dirty_log(
        self, *, cpu: int | None = None, trace: bool = False, key: str | None = None
    ) -> FetchedLog:
        """Take the dirty log (KVM_GET_DIRTY_LOG); without manual protect this clears it.

        Args:
            cpu: The host CPU that it runs on.
            trace: Whether the report has the runs of the unit one by one.
            key: The call's Idempotency-Key.
        """
        where = ("dirty-log", "get")
        if trace:  # which octets have no place for
            params = {"cpu": cpu, "format": "base64", "trace": True}
            return read_dirty_log(await self.send("POST", *where, params=params, key=key))
        accept = {"Accept": OCTETS}
        response = await self.send("POST", *where, params={"cpu": cpu}, key=key, headers=accept)
        return read_dirty_log(response)

    async def peek_dirty_log(self) -> FetchedLog:
        """Look at the dirty log without any side effect."""
        return read_dirty_log(await self.send("GET", "dirty-log", headers={"Accept": OCTETS}))

    async def clear_dirty_log(
        self,
        pages: PageNumbers | LogWindow | FetchedLog | None = None,
        *,
        bitmap: Words | PageMask | None = None,
        first_page: int = 0,
        num_pages: int | None = None,
        cpu: int | None = None,
        trace: bool = False,
        key: str | None = None,
    ) -> DirtyLog:
        """Clear pages of the dirty log (KVM_CLEAR_DIRTY_LOG).

        Args:
            pages: Pages counted from the slot's start; or a log, or a window of one.
            bitmap: Instead of pages, the ioctl's words, or one boolean per page; bit 0 is
                `first_page`.
            first_page: Where the window begins; a multiple of 64.
            num_pages: The window's length; to the slot's end if None.
            cpu: The host CPU that it runs on.
            trace: Whether the report has the runs of the unit one by one.
            key: The call's Idempotency-Key.
        """
        body, first_page, num_pages = clear_body(pages, bitmap, first_page, num_pages)
        params = {
            "first_page": first_page,
            "num_pages": num_pages,
            "cpu": cpu,
            "trace": trace or None,
        }
        response = await self.send("POST", "dirty-log", "clear", params=params, body=body, key=key)
        return read(DirtyLog, response)

    async def get_heat(
        self,
        *,
        bins: int | None = None,
        first_page: int | None = None,
        num_pages: int | None = None,
    ) -> Heat:
        """Return a heat map of at most `bins` parts: dirty pages, and states of stage 2.

        Args:
            bins: The most parts; 1,024 if None.
            first_page: Where it begins, a multiple of 64; None: at the slot's start.
            num_pages: Its length, cut at the slot's end; None: to that end.
        """
        params = {"bins": bins, "first_page": first_page, "num_pages": num_pages}
        return read(Heat, await self.send("GET", "heat", params=params))

    async def get_page_versions(
        self, *, first_page: int | None = None, num_pages: int | None = None
    ) -> SlotVersions:
        """Return which write last touched each page, where versions are tracked.

        Args:
            first_page: Where the window begins, in pages of the slot.
            num_pages: The window's length, cut at the slot's end; 65,536 if None.
        """
        params = {"first_page": first_page, "num_pages": num_pages}
        return read(SlotVersions, await self.send("GET", "page-versions", params=params))
