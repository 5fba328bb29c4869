"""Memslots, accesses of guest and host, and the dirty log."""

import base64
from collections.abc import Sequence
from typing import Any, Final

import httpx
import numpy as np
import orjson

from hacdbs_sim.client.answers import Access, Heat, MemslotChange, MemslotInfo, Page
from hacdbs_sim.client.call import (
    OCTETS,
    Call,
    address,
    change,
    get,
    given,
    listing,
    nothing,
    path,
    post,
    reading,
    reading_tagged,
)
from hacdbs_sim.client.cleaning import CleaningReport
from hacdbs_sim.client.pages import (
    DirtyLog,
    LogWindow,
    PageMask,
    PageNumbers,
    Ranges,
    Words,
    bitmap_of,
    octets_of,
    page_numbers,
    ranges_of,
    words_of,
)
from hacdbs_sim.client.specs import Address, Size, SlotRef

REPORT_HEADER: Final = "Dirty-Log-Report"
REPLAYED_HEADER: Final = "Idempotent-Replayed"
_ACCEPT_OCTETS: Final = {"Accept": OCTETS}


def _slot_path(ref: SlotRef, *more: str) -> str:
    return path("v1", "vms", ref.vm_id, "memslots", ref.slot, *more)


def set_memslot(
    ref: SlotRef,
    *,
    guest_phys_addr: Address,
    memory_size: Size,
    userspace_addr: Address | None = None,
    flags: Sequence[str] = (),
    backing: Size | None = None,
    if_match: str | None = None,
    if_none_match: str | None = None,
) -> Call[MemslotChange]:
    """Create, move or re-flag the memslot (KVM_SET_USER_MEMORY_REGION).

    Delete it with `delete`, which a lost answer does not confuse.
    """
    body = given(
        guest_phys_addr=address(guest_phys_addr),
        memory_size=memory_size,
        userspace_addr=address(userspace_addr),
        flags=list(flags),
        backing=backing,
    )
    return change(
        "set_memslot",
        "PUT",
        _slot_path(ref),
        reading_tagged(MemslotChange),
        body,
        if_match=if_match,
        if_none_match=if_none_match,
    )


def list_memslots(vm_id: str, *, limit: int | None = None) -> Call[Page[MemslotInfo]]:
    """List the memslots, by number; `limit` is how many one request asks for."""
    where = path("v1", "vms", vm_id, "memslots")
    return listing("list_memslots", where, MemslotInfo, "memslots", limit=limit)


def get_memslot(ref: SlotRef) -> Call[MemslotInfo]:
    """Show the memslot."""
    return Call("get_memslot", "GET", _slot_path(ref), reading_tagged(MemslotInfo))


def delete_memslot(ref: SlotRef, *, if_match: str | None = None) -> Call[None]:
    """Delete the memslot."""
    return change("delete_memslot", "DELETE", _slot_path(ref), nothing, if_match=if_match)


def _access(
    operation_id: str,
    where: str,
    gfns: PageNumbers | None,
    gfn_ranges: Ranges | None,
    key: str | None,
    **params: int | None,
) -> Call[Access]:
    """Describe a batch of accesses: gfns go as octets, ranges as JSON."""
    if (gfns is None) == (gfn_ranges is None):
        raise TypeError("exactly one of gfns and gfn_ranges must be given")
    body: dict[str, Any] | bytes
    if gfns is None:
        body = {"gfn_ranges": gfn_ranges}
    elif isinstance(gfns, range) and gfns and gfns.step == 1:
        body = {"gfn_ranges": [(gfns.start, len(gfns))]}
    else:
        body = octets_of(page_numbers(gfns, "gfns"))
    return post(operation_id, where, reading(Access), body, key, **params)


def guest_write(
    vm_id: str,
    gfns: PageNumbers | None = None,
    *,
    gfn_ranges: Ranges | None = None,
    vcpu: int | None = None,
    key: str | None = None,
) -> Call[Access]:
    """Write pages as a vCPU; a `range` of gfns goes as one range."""
    where = path("v1", "vms", vm_id, "guest", "write")
    return _access("guest_write", where, gfns, gfn_ranges, key, vcpu=vcpu)


def guest_read(
    vm_id: str,
    gfns: PageNumbers | None = None,
    *,
    gfn_ranges: Ranges | None = None,
    vcpu: int | None = None,
    key: str | None = None,
) -> Call[Access]:
    """Read pages as a vCPU."""
    where = path("v1", "vms", vm_id, "guest", "read")
    return _access("guest_read", where, gfns, gfn_ranges, key, vcpu=vcpu)


def host_write(
    vm_id: str,
    gfns: PageNumbers | None = None,
    *,
    gfn_ranges: Ranges | None = None,
    key: str | None = None,
) -> Call[Access]:
    """Write pages as the host kernel: marks the log, leaves stage 2 alone."""
    where = path("v1", "vms", vm_id, "host", "write")
    return _access("host_write", where, gfns, gfn_ranges, key)


def host_unmap(
    vm_id: str,
    gfns: PageNumbers | None = None,
    *,
    gfn_ranges: Ranges | None = None,
    key: str | None = None,
) -> Call[Access]:
    """Unmap pages as an MMU notifier does, whole blocks included; leaves the log alone."""
    where = path("v1", "vms", vm_id, "host", "unmap")
    return _access("host_unmap", where, gfns, gfn_ranges, key)


def _log_from_octets(answer: httpx.Response) -> DirtyLog:
    report = CleaningReport.model_validate_json(answer.headers[REPORT_HEADER])
    return DirtyLog(words_of(answer.content), report, REPLAYED_HEADER in answer.headers)


def _log_from_json(answer: httpx.Response) -> DirtyLog:
    body = orjson.loads(answer.content)
    bitmap = words_of(base64.b64decode(body["bitmap"], validate=True))
    return DirtyLog(bitmap, CleaningReport.model_validate(body), REPLAYED_HEADER in answer.headers)


def get_dirty_log(
    ref: SlotRef, *, cpu: int | None = None, trace: bool = False, key: str | None = None
) -> Call[DirtyLog]:
    """Take the dirty log (KVM_GET_DIRTY_LOG); without manual protect this clears it.

    With a trace the report has the runs of the unit one by one.
    """
    where = _slot_path(ref, "dirty-log", "get")
    if trace:  # which octets have no place for
        return post(
            "get_dirty_log", where, _log_from_json, key=key, cpu=cpu, format="base64", trace=True
        )
    call = post("get_dirty_log", where, _log_from_octets, key=key, cpu=cpu)
    return call.with_headers(_ACCEPT_OCTETS)


def peek_dirty_log(ref: SlotRef) -> Call[DirtyLog]:
    """Look at the dirty log without any side effect."""
    where = _slot_path(ref, "dirty-log")
    return Call("peek_dirty_log", "GET", where, _log_from_octets, headers=_ACCEPT_OCTETS)


def get_heat(ref: SlotRef, *, bins: int | None = None) -> Call[Heat]:
    """Show the slot as a heat map of at most so many bins: dirty pages, and states of stage 2."""
    return get("get_heat", _slot_path(ref, "heat"), Heat, bins=bins)


def clear_dirty_log(
    ref: SlotRef,
    pages: PageNumbers | LogWindow | DirtyLog | None = None,
    *,
    bitmap: Words | PageMask | None = None,
    first_page: int = 0,
    num_pages: int | None = None,
    cpu: int | None = None,
    trace: bool = False,
    key: str | None = None,
) -> Call[CleaningReport]:
    """Clear pages of the dirty log (KVM_CLEAR_DIRTY_LOG).

    Args:
        ref: The slot.
        pages: Pages counted from the slot's start; or a log, or a window of one, with its place.
        bitmap: Instead of pages, the ioctl's words, or one truth per page; bit 0 is `first_page`.
        first_page: Where the window begins; a multiple of 64.
        num_pages: The window's length; to the slot's end if absent.
        cpu: The host CPU that it runs on.
        trace: Whether the report has the runs of the unit one by one.
        key: The call's Idempotency-Key.
    """
    if (pages is None) == (bitmap is None):
        raise TypeError("exactly one of pages and bitmap must be given")
    if isinstance(pages, DirtyLog):
        pages = pages.window()
    body: dict[str, Any] | bytes
    if isinstance(pages, LogWindow):
        first_page, num_pages, body = pages.first_page, pages.num_pages, octets_of(pages.bitmap)
    elif bitmap is not None:
        if bitmap.dtype == np.bool_:
            num_pages = bitmap.size if num_pages is None else num_pages
            bitmap = bitmap_of(bitmap.astype(np.bool_, copy=False))
        body = octets_of(page_numbers(bitmap, "bitmap"))
    else:
        assert pages is not None, "or there is a bitmap"
        numbers = page_numbers(pages, "pages")
        if num_pages is None:  # only the service knows how long the bitmap would be
            body = {"page_ranges": ranges_of(numbers)}
        else:
            body = octets_of(LogWindow.holding(numbers, first_page, num_pages).bitmap)
    return post(
        "clear_dirty_log",
        _slot_path(ref, "dirty-log", "clear"),
        reading(CleaningReport),
        body,
        key,
        first_page=first_page,
        num_pages=num_pages,
        cpu=cpu,
        trace=trace or None,
    )
