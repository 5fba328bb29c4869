"""Operations sent to the service: batches of them, a PATCH where one is the VM's own."""

from collections.abc import AsyncIterator, Sequence
from itertools import groupby
from typing import Any

import httpx


async def answers_to(
    client: httpx.AsyncClient, path: str, ops: Sequence[dict[str, Any]]
) -> AsyncIterator[httpx.Response]:
    """Send operations in order; after a refusal the next batch continues behind it."""
    for is_patch, some in groupby(ops, key=lambda op: op["op"] == "update_vm"):
        together = list(some)
        if is_patch:
            for op in together:
                patch = {name: value for name, value in op.items() if name != "op"}
                yield await client.patch(path, json=patch)
            continue
        while together:
            answer = await client.post(f"{path}/batch", json={"actions": together})
            assert answer.status_code == 200, answer.text
            yield answer
            together = together[len(answer.json()["results"]) :]
