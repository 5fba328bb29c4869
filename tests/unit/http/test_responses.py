"""Responses: the same headers as the framework's own responses have."""

import numpy as np
from starlette.responses import JSONResponse, Response

from app.http.responses import OCTETS_MEDIA_TYPE, Answer, JsonResponse, ProblemResponse
from hacdbs_sim.model import Bitmap, DirtyLog, LogFormat
from hacdbs_sim.wire import MalformedBodyError, Site, document, write


def test_a_json_answer_has_the_headers_of_the_frameworks() -> None:
    headers = {"Location": "/v1/vms/default-1", "ETag": '"1.2"'}

    ours = JsonResponse({"a": [1]}, 201, headers)

    theirs = JSONResponse({"a": [1]}, 201, headers)
    assert (ours.raw_headers, ours.body) == (theirs.raw_headers, theirs.body)
    assert ours.status_code == theirs.status_code


def test_a_problem_says_what_it_is() -> None:
    problem = document(MalformedBodyError("the body is not JSON"), Site("/v1/vms"))

    response = ProblemResponse(problem, {"X-Other": "1"})

    assert response.headers["content-type"] == "application/problem+json"
    assert (response.status_code, response.headers["x-other"]) == (400, "1")


def test_an_answer_without_a_body_has_no_length() -> None:
    assert Answer(None, 204).response().raw_headers == []


def test_octets_are_sent_from_where_they_are() -> None:
    words = np.arange(4, dtype=np.uint64)
    log = DirtyLog(
        slot=0,
        first_page=0,
        num_pages=256,
        dirty_count=6,
        remaining_count=0,
        bitmap=Bitmap(words),
    )

    response = Answer(log, format=None).response()
    report = write(log, format=LogFormat.SUMMARY, with_trace=False).decode()
    words[0] = 7

    expected = Response(words.tobytes(), 200, {"Dirty-Log-Report": report}, OCTETS_MEDIA_TYPE)
    assert (response.raw_headers, bytes(response.body)) == (expected.raw_headers, expected.body)
