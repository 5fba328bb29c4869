"""The batch: actions on one VM in order, up to the first refusal."""

from typing import Any, Final

import orjson
from starlette.responses import Response

from hacdbs_sim.model import BatchAction
from hacdbs_sim.model.errors import KvmError
from hacdbs_sim.wire import Site, document, write
from hacdbs_sim.wire.codec import BatchAnswerLimitError

from ..service.fleet import Vm
from .ioctls import IOCTLS
from .operations import perform_now
from .responses import JSON_MEDIA_TYPE

MAX_ANSWER_BYTES: Final = 8 << 20
"""JSON of pages and traces that a batch may return; the action after is refused."""

SMALL_BYTES: Final = 1_024
"""What an answer has beside its pages and trace is not counted."""


def check_answer(answer_bytes: int) -> None:
    """Refuse the action after an answer that has grown too large.

    Raises:
        BatchAnswerLimitError: It has.
    """
    if answer_bytes > MAX_ANSWER_BYTES:
        raise BatchAnswerLimitError(
            f"the batch has answered {answer_bytes} bytes of pages and traces,"
            f" it may answer {MAX_ANSWER_BYTES}",
            bound=MAX_ANSWER_BYTES,
            value=answer_bytes,
        )


def weight_of(octets: bytes) -> int:
    """Estimate the bytes of an answer's pages and trace; the rest of it is small."""
    return max(len(octets) - SMALL_BYTES, 0)


def perform_all(vm: Vm, actions: tuple[BatchAction, ...], path: str) -> Response:
    """Perform actions until one is refused; that one's problem is the last result."""
    results: list[dict[str, Any]] = []
    answer_bytes = 0
    for index, each in enumerate(actions):
        try:
            check_answer(answer_bytes)
            answer = perform_now(vm, each.action, each.format)
        except KvmError as refused:
            op = each.action.op
            site = Site(path, ioctl=IOCTLS.get(op), body_pointer=f"/actions/{index}")
            problem = document(refused, site)
            results.append({"status": problem.status, "body": orjson.Fragment(write(problem))})
            break
        octets = answer.octets()
        answer_bytes += weight_of(octets)
        results.append({"status": answer.status, "body": orjson.Fragment(octets)})
    return Response(orjson.dumps({"results": results}), media_type=JSON_MEDIA_TYPE)
