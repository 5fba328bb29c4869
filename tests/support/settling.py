"""The event loop's tasks, run until each of them waits for something."""

import asyncio
from typing import Final

_TURNS: Final = 20
"""More than any chain of tasks here that wake each other is long."""


async def settle() -> None:
    """Let the other tasks go on until nothing but an event from outside moves them."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)
