"""How the interpreter shares itself between the event loop and worker threads.

The loop waits for the interpreter whenever a worker thread has it: at most for a switch interval, and for
as long as a collection of garbage lasts. A collection of the oldest generation goes over all objects:
0.2 s and more where VMs have many thousand memslots. So none comes by itself; `tend` collects from time
to time what few objects there are, and leaves many alone from then on. What is not used any more is freed
by its reference count all the same.
"""

import asyncio
import gc
import sys
from typing import Final

SWITCH_SECONDS: Final = 0.001
"""How long a thread keeps the interpreter while another waits; Python's own default is 5 ms."""

YOUNG: Final = (700, 10)
"""When the two younger generations are collected: Python's own defaults."""
NEVER: Final = 1 << 30

TEND_SECONDS: Final = 10.0
BLOCKS_PER_OBJECT: Final = 2
"""How many blocks of memory there are for each object that a collection goes over (measured)."""

MAX_COLLECTED: Final = 100_000
"""Objects that a collection goes over: about 5 ms."""


def share_interpreter() -> None:
    """Set both for this process."""
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.set_threshold(*YOUNG, NEVER)


def tend() -> None:
    """Collect the oldest generation if it is small, else leave its objects out of collections."""
    # Estimated: `gc.get_objects` would hold a tuple that a worker thread is making, which ends in SystemError
    loose = sys.getallocatedblocks() // BLOCKS_PER_OBJECT - gc.get_freeze_count()
    if loose > MAX_COLLECTED:
        gc.freeze()
    else:
        gc.collect()


async def tend_always() -> None:
    """Tend from time to time."""
    while True:
        await asyncio.sleep(TEND_SECONDS)
        tend()
