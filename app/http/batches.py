"""The batch: actions on one VM in order, up to the first refusal."""

from typing import Any, Final

import orjson
from starlette.responses import Response

from hacdbs_sim.model import BatchAction, DirtyLog, LogFormat
from hacdbs_sim.model.errors import KvmError
from hacdbs_sim.wire import Site, document, write
from hacdbs_sim.wire.codec import BatchAnswerLimitError, base64_length, count_ranges

from ..service.fleet import Vm
from .operations import perform_now
from .responses import JSON_MEDIA_TYPE, Answer

MAX_ANSWER_BYTES: Final = 8 << 20
"""The maximum bytes of pages and traces that a batch may return; the next action is refused."""

RANGE_BYTES: Final = 16
WORD_BYTES: Final = 16
RUN_BYTES: Final = 96
"""The approximate size of a range, a word and a run of a trace as JSON."""


def check_answer(answer_bytes: int) -> None:
    """Refuse the next action if the response has grown too large."""
    if answer_bytes > MAX_ANSWER_BYTES:
        detail = (
            f"the batch has answered {answer_bytes} bytes of pages and traces,"
            f" it may answer {MAX_ANSWER_BYTES}"
        )
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
            return base64_length(log.bitmap.words)
        case LogFormat.WORDS if log.bitmap is not None:
            return len(log.bitmap) * WORD_BYTES
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
