"""A story repeated over HTTP, to an application of its own, through the API's own encoder.

NeedVersions is the core's alone (migrations ask for it): no operation has it, it is left out, and no other
answer depends on it.
"""

from dataclasses import dataclass, field
from typing import Any

import httpx

from app.main import create_app
from app.settings import LogLevel, Settings
from hacdbs_sim.model import Action, AddIntervals, NeedVersions
from tests.conformance.vectors.calls import answers_to
from tests.property.guest_ops import body_of, op_of
from tests.property.stories import Story
from tests.support.scalar_model import Refused

IN_THE_SCHEMA = ("invalid_argument", "senseless_fault")
"""Codes of refusals that the schema of a request may refuse first; such actions are left out."""

LAST_SLOT = 32766


@dataclass
class Replay:
    """Every answer's bytes, and the machine and its clock as they are shown at the end."""

    answers: list[bytes] = field(default_factory=list)
    vm: dict[str, Any] = field(default_factory=dict)
    clock: dict[str, Any] = field(default_factory=dict)


def is_on_the_wire(action: Action[Any], answer: object) -> bool:
    """Return whether an action can be requested over HTTP as it is."""
    if isinstance(action, NeedVersions):
        return False
    if isinstance(answer, Refused) and answer.code in IN_THE_SCHEMA:
        return False
    if isinstance(action, AddIntervals) and len(action.pages.starts) == 1:
        return False  # a request has at least one interval
    slot, cpu = getattr(action, "slot", 0), getattr(action, "cpu", None)
    return 0 <= slot <= LAST_SLOT and (cpu is None or cpu >= 0)


async def replay(story: Story) -> Replay:
    """Make the story's machine in a new application, perform its actions, query its state."""
    replayed = Replay()
    transport = httpx.ASGITransport(create_app(Settings(log_level=LogLevel.WARNING)))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        made = await client.post("/v1/vms", json=body_of(story.config))
        assert made.status_code == 201, made.text
        path = made.headers["location"]
        replayed.answers.append(made.content)
        ops = [
            op_of(action)
            for action, answer in zip(story.actions, story.answers, strict=True)
            if is_on_the_wire(action, answer)
        ]
        async for answer in answers_to(client, path, ops):
            replayed.answers.append(answer.content)
        for query in ("", "/stage2?limit=1000", "/cpus", "/faults", "/workloads", "/clock"):
            replayed.answers.append((await client.get(path + query)).content)
        replayed.vm = (await client.get(path)).json()
        replayed.clock = (await client.get(f"{path}/clock")).json()
    return replayed
