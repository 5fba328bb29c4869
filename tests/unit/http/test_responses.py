"""Answers: the same headers as the framework's own responses have."""

import numpy as np
from starlette.responses import JSONResponse, Response

from app.http.responses import (
    OCTETS_MEDIA_TYPE,
    Answer,
    JsonResponse,
    OctetsAnswer,
    ProblemResponse,
)
from hacdbs_sim.wire import MalformedBodyError, Site, document
from hacdbs_sim.wire.codec import octets_from_words


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

    response = OctetsAnswer(octets_from_words(words), {"Dirty-Log-Report": "{}"}).response()
    words[0] = 7

    expected = Response(words.tobytes(), 200, {"Dirty-Log-Report": "{}"}, OCTETS_MEDIA_TYPE)
    assert (response.raw_headers, bytes(response.body)) == (expected.raw_headers, expected.body)
