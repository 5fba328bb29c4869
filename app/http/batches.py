"""The batch: actions on one VM in order, up to the first refusal."""

from typing import Any, Final

import orjson
from starlette.responses import Response

from hacdbs_sim import model
from hacdbs_sim.model import BatchAction, DirtyLog, LogFormat
from hacdbs_sim.model.errors import KvmError
from hacdbs_sim.model.words import words_for
from hacdbs_sim.sim.arm64.dirty_bit import MAX_TRACED_RUNS
from hacdbs_sim.wire import Site, document, write
from hacdbs_sim.wire.codec import MAX_RANGES, BatchAnswerLimitError, base64_length, count_ranges

from ..service.fleet import Vm
from .operations import RESULT_BYTES, bytes_of_info, perform_now
from .responses import JSON_MEDIA_TYPE, Answer

MAX_ANSWER_BYTES: Final = 8 << 20
"""The maximum bytes of pages and traces that a batch may return; the next action is refused.

A scenario and its answers may have as many; an action that could bring more is refused.
"""

RANGE_BYTES: Final = 16
WORD_BYTES: Final = 16
RUN_BYTES: Final = 96
"""The approximate size of a range, a word and a run of a trace as JSON."""

MAX_RANGE_BYTES: Final = 24
CLEAN_WORD_BYTES: Final = 2
MAX_WORD_BYTES: Final = 21
"""The most that a range, a word without a page and a word take as JSON, with the comma."""


def check_answer(answer_bytes: int, answers: str = "the batch's pages and traces") -> None:
    """Refuse the next action if the response has grown too large."""
    if answer_bytes > MAX_ANSWER_BYTES:
        detail = f"{answers} take {answer_bytes} bytes, they may take {MAX_ANSWER_BYTES}"
        raise BatchAnswerLimitError(detail, bound=MAX_ANSWER_BYTES, value=answer_bytes)


def weight_of(answer: Answer) -> int:
    """Estimate the bytes of a response's pages and trace; the rest of it is small."""
    log = answer.body
    if not isinstance(log, DirtyLog):
        return 0
    runs = () if log.accelerator is None else log.accelerator.trace or ()
    return _weight_of_pages(log, answer.format) + len(runs) * RUN_BYTES


def _weight_of_pages(log: DirtyLog, log_format: LogFormat | None) -> int:
    match log_format:
        case LogFormat.RANGES if log.bitmap is not None:
            return count_ranges(log.bitmap.words) * RANGE_BYTES
        case LogFormat.BASE64 if log.bitmap is not None:
            return base64_length(len(log.bitmap.words))
        case LogFormat.WORDS if log.bitmap is not None:
            return len(log.bitmap) * WORD_BYTES
    return 0


def most_bytes_of(vm: Vm, batched: BatchAction) -> int:
    """Estimate the bytes of a response from above, before its action is performed."""
    action = batched.action
    if isinstance(action, model.UpdateVm | model.TrackVersions):
        return bytes_of_info(vm)
    most = RESULT_BYTES
    if isinstance(action, model.GetDirtyLog | model.ClearDirtyLog) and action.trace:
        most += MAX_TRACED_RUNS * RUN_BYTES
    if isinstance(action, model.GetDirtyLog):
        most += _most_bytes_of_pages(vm, action.slot, batched.format)
    return most


def _most_bytes_of_pages(vm: Vm, slot: int, log_format: LogFormat) -> int:
    try:
        memslot = vm.runtime.query(model.GetMemslot(slot=slot))
    except KvmError:
        return 0  # the get itself is refused
    if not memslot.is_logging:
        return 0  # so it is
    dirty = memslot.npages if memslot.dirty_count is None else memslot.dirty_count
    num_words = words_for(memslot.npages)
    match log_format:
        case LogFormat.RANGES:
            return min(dirty, MAX_RANGES) * MAX_RANGE_BYTES
        case LogFormat.BASE64:
            return base64_length(num_words)
        case LogFormat.WORDS:
            set_words = min(dirty, num_words)
            return set_words * MAX_WORD_BYTES + (num_words - set_words) * CLEAN_WORD_BYTES
        case LogFormat.SUMMARY:
            return 0


def perform_all(vm: Vm, actions: tuple[BatchAction, ...], path: str) -> Response:
    """Perform actions until one is refused; that one's problem is the last result."""
    results: list[dict[str, Any]] = []
    answer_bytes = 0
    for index, each in enumerate(actions):
        try:
            check_answer(answer_bytes)
            answer = perform_now(vm, each.action, each.format)
        except KvmError as refused:
            site = Site(path, ioctl=each.action.ioctl, body_pointer=f"/actions/{index}")
            problem = document(refused, site)
            results.append({"status": problem.status, "body": orjson.Fragment(write(problem))})
            break
        answer_bytes += weight_of(answer)
        body = orjson.Fragment(answer.octets())
        results.append({"status": answer.status, "body": body})
    return Response(orjson.dumps({"results": results}), media_type=JSON_MEDIA_TYPE)
