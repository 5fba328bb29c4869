"""Answers of the service as results: the one place that parses them."""

import base64
from typing import Final, Generic, NamedTuple, TypeVar

import httpx
import orjson

from hacdbs_sim.client.answers import Answer, BatchResult, BatchResults
from hacdbs_sim.client.cleaning import CleaningReport
from hacdbs_sim.client.errors import UnexpectedAnswerError, problem_error
from hacdbs_sim.client.pages import DirtyLog, words_of
from hacdbs_sim.client.request import OCTETS

__tracebackhide__ = True

A = TypeVar("A", bound=Answer)

REPORT_HEADER: Final = "Dirty-Log-Report"
REPLAYED_HEADER: Final = "Idempotent-Replayed"


def parse(result: type[A], body: object) -> A:
    """Make a result of JSON, as text or as it was loaded; nothing else knows how."""
    if isinstance(body, str | bytes):
        return result.model_validate_json(body)
    return result.model_validate(body)


class Page(NamedTuple, Generic[A]):
    """Part of a list; the token of the part after it, empty at the end."""

    items: list[A]
    next_page_token: str


def read(result: type[A], answer: httpx.Response) -> A:
    """Read an answer's JSON, and its ETag where the result has one.

    Raises:
        UnexpectedAnswerError: It is not an answer of this service.
    """
    with _Reading(answer):
        if "etag" not in result.model_fields:
            return parse(result, answer.content)
        etag = answer.headers.get("ETag")
        return parse(result, {**orjson.loads(answer.content), "etag": etag})


def read_page(item: type[A], name: str, answer: httpx.Response) -> Page[A]:
    """Read a page of a list, whose items the answer has under a name."""
    with _Reading(answer):
        body = orjson.loads(answer.content)
        items = [parse(item, each) for each in body[name]]
        return Page(items, body.get("next_page_token", ""))


def read_dirty_log(answer: httpx.Response) -> DirtyLog:
    """Read a dirty log: octets with the report in a header, or JSON with the bitmap in base64."""
    with _Reading(answer):
        if answer.headers.get("Content-Type", "").startswith(OCTETS):
            report = parse(CleaningReport, answer.headers[REPORT_HEADER])
            bitmap = words_of(answer.content)
        else:
            body = orjson.loads(answer.content)
            report = parse(CleaningReport, body)
            bitmap = words_of(base64.b64decode(body["bitmap"], validate=True))
        return DirtyLog(bitmap, report, REPLAYED_HEADER in answer.headers)


def read_batch(answer: httpx.Response, *, check: bool) -> list[BatchResult]:
    """Read a batch's results.

    Raises:
        ProblemError: The last action was refused, and results are checked.
    """
    results = read(BatchResults, answer).results
    if check and results and results[-1].is_refusal:
        last = results[-1]
        action = f"{_name(answer)}, action {len(results) - 1}"
        refusal = problem_error(action, last.status, last.body or {})
        refusal.earlier = tuple(results[:-1])
        raise refusal
    return results


class _Reading:
    """Refuses what cannot be read; a class, because contextlib's frames show in tracebacks."""

    def __init__(self, answer: httpx.Response) -> None:
        self._answer = answer

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, ValueError | KeyError | TypeError):
            message = f"{_name(self._answer)}: not an answer of hacdbs-sim: {error}"
            raise UnexpectedAnswerError(message) from error


def _name(answer: httpx.Response) -> str:
    return f"{answer.request.method} {answer.request.url.path}"
