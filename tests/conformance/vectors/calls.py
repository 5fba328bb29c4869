"""Operations sent to the service in batches."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx


async def answers_to(
    client: httpx.AsyncClient, path: str, ops: Sequence[dict[str, Any]]
) -> AsyncIterator[httpx.Response]:
    """Send operations in order; after a refusal the next batch continues behind it."""
    together = list(ops)
    while together:
        answer = await client.post(f"{path}/batch", json={"actions": together})
        assert answer.status_code == 200, answer.text
        yield answer
        together = together[len(answer.json()["results"]) :]
