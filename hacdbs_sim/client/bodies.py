"""Bodies of requests, from the arguments of methods."""

import base64
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias, TypeVar

import numpy as np

from hacdbs_sim import model
from hacdbs_sim.client.pages import (
    LogWindow,
    PageMask,
    PageNumbers,
    Ranges,
    Words,
    bitmap_of,
    octets_of,
    page_numbers,
    ranges_of,
)
from hacdbs_sim.client.results import FetchedLog
from hacdbs_sim.wire import action_to_plain, to_plain

__tracebackhide__ = True

T = TypeVar("T")

Address: TypeAlias = int | str
"""An address: an integer, or text like "0x40000000"."""

Size: TypeAlias = int | str
"""Bytes: an integer, or text like "2GiB"."""

Fields: TypeAlias = Mapping[str, Any]
"""The fields of a request by name, as in the API."""

AnyMemslot: TypeAlias = model.SetMemslot | Fields
AnyFault: TypeAlias = model.AddFault | Fields
AnyWorkload: TypeAlias = model.AddWorkload | Fields
AnyFeatures: TypeAlias = model.Features | Fields
AnyBurst: TypeAlias = model.Burst | Fields

LogWords: TypeAlias = Words | PageMask | LogWindow | FetchedLog
"""A log, or a window of one; or the ioctl's words, or one boolean per page."""

MAX_JSON_INTEGER: Final = (1 << 53) - 1


def address(value: int | str | None) -> int | str | None:
    """Return an address as JSON: a string if an integer of JSON cannot hold it."""
    if isinstance(value, int | np.integer) and value > MAX_JSON_INTEGER:
        return hex(value)
    return value


def listed(
    name: str, values: Iterable[T], make: Callable[[T], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return the parts of a body for a list; reject one that is given without a list around it."""
    if isinstance(values, Mapping | str) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a list")
    return [make(each) for each in values]


def plain(fields: model.Model | Fields) -> dict[str, Any]:
    """Return a part of a body, which is a value of the model or its fields."""
    return to_plain(fields) if isinstance(fields, model.Model) else dict(fields)


def memslot_body(memslot: AnyMemslot) -> dict[str, Any]:
    """Return the body of a memslot."""
    if isinstance(memslot, model.SetMemslot):
        return to_plain(memslot)
    fields = dict(memslot)
    for name in {"guest_phys_addr", "userspace_addr"} & fields.keys():
        fields[name] = address(fields[name])
    if "flags" in fields:
        flags = fields["flags"]
        if isinstance(flags, str):  # a sequence of strings to its type, so let it be one flag
            flags = [flags]
        fields["flags"] = model.flag_names(flags) if isinstance(flags, int) else list(flags)
    return fields


def action_body(action: model.Action[Any] | model.BatchAction | Fields) -> dict[str, Any]:
    """Return an action of a batch, with its `op`."""
    return action_to_plain(action) if isinstance(action, model.Action) else plain(action)


def access_body(gfns: PageNumbers | None, gfn_ranges: Ranges | None) -> dict[str, Any] | bytes:
    """Return the body of an access: gfns are sent as octets, ranges as JSON."""
    if (gfns is None) == (gfn_ranges is None):
        raise TypeError("exactly one of gfns and gfn_ranges must be given")
    if gfns is None:
        return {"gfn_ranges": gfn_ranges}
    if isinstance(gfns, range) and gfns and gfns.step == 1:
        return {"gfn_ranges": [(gfns.start, len(gfns))]}
    return octets_of(page_numbers(gfns, "gfns"))


def clear_body(
    pages: PageNumbers | LogWindow | FetchedLog | None,
    bitmap: Words | PageMask | None,
    first_page: int,
    num_pages: int | None,
) -> tuple[dict[str, Any] | bytes, int, int | None]:
    """Return the body of a clear, and its window: the first page and the length."""
    if (pages is None) == (bitmap is None):
        raise TypeError("exactly one of pages and bitmap must be given")
    if bitmap is not None:
        if bitmap.dtype == np.bool_:
            num_pages = bitmap.size if num_pages is None else num_pages
            bitmap = bitmap_of(bitmap.astype(np.bool_, copy=False))
        return octets_of(page_numbers(bitmap, "bitmap")), first_page, num_pages
    assert pages is not None, "or there is a bitmap"
    if isinstance(pages, FetchedLog):
        pages = pages.window()
    if not isinstance(pages, LogWindow):
        numbers = page_numbers(pages, "pages")
        if num_pages is None:  # only the service knows how long the bitmap would be
            return {"page_ranges": ranges_of(numbers)}, first_page, None
        pages = LogWindow.holding(numbers, first_page, num_pages)
    return octets_of(pages.bitmap), pages.first_page, pages.num_pages


def window_body(
    slot: int,
    words: LogWords | None,
    pages: PageNumbers | None = None,
    first_page: int = 0,
    num_pages: int | None = None,
) -> dict[str, Any]:
    """Return pages in a window of a memslot."""
    if (words is None) == (pages is None):
        raise TypeError("exactly one of words and pages must be given")
    if isinstance(words, LogWindow | FetchedLog):
        body, first_page, num_pages = clear_body(words, None, first_page, num_pages)
    else:
        body, first_page, num_pages = clear_body(pages, words, first_page, num_pages)
    if isinstance(body, bytes):
        body = {"bitmap": base64.b64encode(body).decode("ascii")}
    return {"slot": slot, "first_page": first_page, "num_pages": num_pages, **body}
