"""One process: VMs live in memory, so a second worker would answer for other machines than the first."""

import multiprocessing
import os
from typing import Final

STARTUP_FAILURE: Final = 3
"""The exit status by which uvicorn knows a worker that must not be started again."""

_VARIABLE: Final = "WEB_CONCURRENCY"


class MoreWorkersError(Exception):
    """The service is started with more than one worker; the message says what to do."""


def check_one_worker() -> None:
    """Refuse to be one of several workers of uvicorn.

    Raises:
        MoreWorkersError: This process is one of several, by `--workers` or WEB_CONCURRENCY.
    """
    # uvicorn passes its configuration to the processes that it spawns, and to nothing else in them
    given = getattr(multiprocessing.current_process(), "_kwargs", {})
    workers = getattr(given.get("config"), "workers", 1)
    if isinstance(workers, int) and workers > 1:
        raise MoreWorkersError(_message(f"{workers} workers"))


def check_one_worker_in_environment() -> None:
    """Refuse an environment that requests several workers.

    Raises:
        MoreWorkersError: WEB_CONCURRENCY is not 1.
    """
    given = os.environ.get(_VARIABLE, "")
    if given.strip() not in {"", "1"}:
        raise MoreWorkersError(_message(f"{_VARIABLE}={given}"))


def _message(found: str) -> str:
    return (
        f"hacdbs-sim is one process, not {found}: each worker would have VMs of its own; "
        f"start it with one worker (--workers 1, {_VARIABLE} unset), and more services on other ports"
    )
