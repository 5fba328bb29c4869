"""A campaign: good requests, damaged ones and attacks on one service, and what came of them."""

import random
import statistics
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.contract.documented import METHODS, Contract
from tests.fuzz.attacks import ATTACKS, mutated, perform
from tests.fuzz.pen import Call
from tests.fuzz.stories import Author
from tests.support.serving import Serving
from tests.support.wire import Answer, Connection, Request

DAMAGED: Final = 0.25
RAW: Final = 0.02
"""Shares of requests; the rest makes sense."""

CONNECTIONS: Final = 4
LOOKS_INSIDE_EVERY: Final = 5
"""Of so many answers one is held against its schema."""

SAMPLES: Final = 200
LISTENS_SECONDS: Final = 0.02
MAX_GROWTH: Final = 0.05
"""Growth of memory over the second half of a campaign, as the issue allows it."""


@dataclass(slots=True)
class Outcome:
    """What a campaign has seen."""

    contract: Contract
    requests: int = 0
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    """By kind of request (good, damaged, elsewhere, raw)."""
    rss_bytes: list[int] = field(default_factory=list)
    """Along the way, at equal distances."""

    def never_good(self) -> list[str]:
        """List the operations that never answered 2xx."""
        well = {operation_id for operation_id, status in self.contract.seen if status < 300}
        return sorted({o.operation_id for o in self.contract.operations} - well)

    def growth(self) -> float:
        """Return the growth of memory from the third quarter to the last, by their medians."""
        quarter = len(self.rss_bytes) // 4
        third, last = self.rss_bytes[2 * quarter : 3 * quarter], self.rss_bytes[3 * quarter :]
        return statistics.median(last) / statistics.median(third) - 1


def run(
    service: Serving,
    document: Mapping[str, Any],
    requests: int,
    seed: str,
    report: Callable[[Outcome], None] = lambda _: None,
) -> Outcome:
    """Run a campaign.

    Args:
        service: The service to fuzz.
        document: Its OpenAPI document.
        requests: How many.
        seed: The same requests for the same seed, as long as the answers are the same.
        report: Called with the outcome so far, at each sample of memory.

    Raises:
        BrokenPromiseError: an answer that the document does not promise.
        AssertionError: a 5xx, a hang, or a service that died or complained.
    """
    rng = random.Random(f"{seed}/campaign")
    author = Author(seed)
    outcome = Outcome(Contract(document))
    connections = [Connection(service.port) for _ in range(CONNECTIONS)]
    every = max(requests // SAMPLES, 1)
    for number in range(requests):
        share = rng.random()
        if share < RAW:
            _attack(outcome, service, rng, author)
        else:
            connection = connections[number % CONNECTIONS]
            _ask(outcome, connection, author, is_damaged=share < RAW + DAMAGED)
        outcome.requests += 1
        if (number + 1) % every == 0:
            outcome.rss_bytes.append(service.rss_bytes)
            service.check()
            report(outcome)
    for connection in connections:
        connection.close()
    return outcome


def _ask(outcome: Outcome, connection: Connection, author: Author, *, is_damaged: bool) -> None:
    story = author.next()
    sent = author.damaged(story) if is_damaged else story
    answer = connection.exchange(sent.request)
    operation = outcome.contract.judge(
        sent.request.method,
        sent.request.path,
        answer.status,
        answer.headers,
        answer.content,
        looks_inside=outcome.requests % LOOKS_INSIDE_EVERY == 0,
    )
    assert answer.status < 500, f"{sent.request}: {answer}"
    if operation is None:
        _check_elsewhere(outcome.contract, sent.request, answer)
    else:
        assert is_damaged or operation.operation_id == story.operation_id, story
        author.learn(Call(operation.operation_id, sent.request), answer)
    kind = "elsewhere" if operation is None else "damaged" if is_damaged else "good"
    outcome.statuses[kind, answer.status] += 1


def _check_elsewhere(contract: Contract, request: Request, answer: Answer) -> None:
    """Outside every operation the path or the method does not exist, or the middleware refuses it."""
    named = any(contract.operation_at(method.upper(), request.path) for method in METHODS)
    allowed = {400, 403, 405} if named else {400, 403, 404}
    assert answer.status in allowed, f"{request}: {answer}"


def _attack(outcome: Outcome, service: Serving, rng: random.Random, author: Author) -> None:
    if rng.random() < 0.3:
        attack = rng.choice(ATTACKS)
        statuses = perform(attack, service.port)
        assert attack.resets or statuses == list(attack.answers), f"{attack.name}: {statuses}"
    else:
        attack = mutated(rng, author.next().request.encoded())
        statuses = perform(attack, service.port, listens_seconds=LISTENS_SECONDS)
    assert all(status < 500 for status in statuses), f"{attack}: {statuses}"
    outcome.statuses.update(("raw", status) for status in statuses or [0])
