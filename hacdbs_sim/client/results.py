"""Responses of the service, parsed into values of the model."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import httpx

from hacdbs_sim import model
from hacdbs_sim.client.connecting import REPLAYED_HEADER
from hacdbs_sim.client.errors import UnexpectedResponseError, problem_error
from hacdbs_sim.client.pages import WORD_PAGES, LogWindow
from hacdbs_sim.client.request import OCTETS, name_of
from hacdbs_sim.wire import InvalidRequestError, MalformedBodyError
from hacdbs_sim.wire import read as read_json
from hacdbs_sim.wire.codec import words_from_octets

__tracebackhide__ = True

T = TypeVar("T")

REPORT_HEADER: Final = "Dirty-Log-Report"


@dataclass(frozen=True, kw_only=True)
class FetchedVm(model.VmInfo):
    """A VM, and its ETag, which identifies its settings for `if_match`."""

    etag: str | None = None


@dataclass(kw_only=True)
class FetchedMemslot(model.MemslotInfo):
    """A memslot, and its ETag, which identifies its settings for `if_match`."""

    etag: str | None = None


@dataclass(kw_only=True)
class FetchedMemslotChange(model.ChangedMemslot, FetchedMemslot):
    """A memslot, what the call did to it, and its ETag."""


@dataclass(slots=True, kw_only=True, repr=False)
class FetchedLog(model.DirtyLog):
    """A dirty log with its pages.

    Attributes:
        is_replayed: Whether this is the stored response of an earlier request with the same key.
    """

    is_replayed: bool = False

    def window(self) -> LogWindow:
        """Return the whole log as one window, to be cleared."""
        return LogWindow(0, self.num_pages, self.words)

    def windows(self, num_pages: int) -> Iterator[LogWindow]:
        """Cut the log into windows of `num_pages`, a multiple of 64, to be cleared in turn."""
        if num_pages < 1 or num_pages % WORD_PAGES:
            raise ValueError(f"num_pages must be a multiple of {WORD_PAGES}, not {num_pages}")
        for first in range(0, self.num_pages, num_pages):
            length = min(num_pages, self.num_pages - first)
            words = slice(first // WORD_PAGES, -(-(first + length) // WORD_PAGES))
            yield LogWindow(first, length, self.words[words])


def read(result: type[T], response: httpx.Response) -> T:
    """Read a response's JSON, and its ETag where the result has one.

    Raises:
        UnexpectedResponseError: It is not a response of this service.
    """
    value = _parsed(response, lambda: read_json(result, response.content))
    if isinstance(value, FetchedVm | FetchedMemslot):
        return replace(value, etag=response.headers.get("ETag"))
    return value


def read_dirty_log(response: httpx.Response) -> FetchedLog:
    """Read a dirty log: octets with the report in a header, or JSON with its pages."""

    def parse() -> FetchedLog:
        if not response.headers.get("Content-Type", "").startswith(OCTETS):
            return read_json(FetchedLog, response.content)
        log = read_json(FetchedLog, response.headers[REPORT_HEADER])
        log.bitmap = model.Bitmap(words_from_octets(response.content, "bitmap"))
        return log

    log = _parsed(response, parse)
    log.is_replayed = REPLAYED_HEADER in response.headers
    return log


def read_batch(response: httpx.Response, *, check: bool) -> tuple[model.BatchResult, ...]:
    """Read a batch's results.

    Raises:
        ProblemError: The last action was refused, and results are checked.
    """
    results = read(model.BatchResults, response).results
    if check and results and results[-1].is_refusal:
        last = results[-1]
        action = f"{name_of(response.request)}, action {len(results) - 1}"
        refusal = problem_error(action, last.status, dict(last.body or {}))
        refusal.earlier = results[:-1]
        raise refusal
    return results


def _parsed(response: httpx.Response, parse: Callable[[], T]) -> T:
    try:
        return parse()
    except (InvalidRequestError, MalformedBodyError, model.KvmError, KeyError, ValueError) as error:
        message = f"{name_of(response.request)}: not a response of hacdbs-sim: {error}"
        raise UnexpectedResponseError(message) from error
