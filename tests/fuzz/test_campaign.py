"""A short campaign; `scripts/fuzz` runs long ones and measures the memory as well."""

import json

import pytest

from tests.contract.test_openapi import COMMITTED
from tests.fuzz.campaign import run
from tests.support.serving import watched_service

pytestmark = pytest.mark.slow


REQUESTS = 8_000


def test_a_campaign_finds_nothing_and_reaches_every_operation() -> None:
    document = json.loads(COMMITTED.read_text())

    with watched_service() as service:
        outcome = run(service, document, REQUESTS, "ci")

    kinds = {kind for kind, _ in outcome.statuses}
    assert kinds == {"good", "damaged", "elsewhere", "raw"}
    assert outcome.requests == REQUESTS
    assert outcome.never_good() == []
