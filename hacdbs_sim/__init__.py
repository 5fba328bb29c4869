"""hacdbs-sim: the client of a service that simulates KVM/arm64 dirty logging; `hacdbs_sim.client` has all names.

The names are imported when they are first asked for. The pytest plugin is loaded into every test
run, and what it imported before coverage starts would be measured as never executed.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hacdbs_sim.client import (
        AsyncClient,
        Client,
        ClientError,
        FetchedLog,
        ProblemError,
        Service,
        Session,
        Slot,
        Vm,
        serve_in_thread,
    )

    __version__: str

__all__ = [
    "AsyncClient",
    "Client",
    "ClientError",
    "FetchedLog",
    "ProblemError",
    "Service",
    "Session",
    "Slot",
    "Vm",
    "__version__",
    "serve_in_thread",
]

if not TYPE_CHECKING:  # a type checker would take any name for one that there is

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name == "__version__":
            from importlib.metadata import version  # noqa: PLC0415 - see above

            value = version("hacdbs-sim")
        else:
            from hacdbs_sim import client  # noqa: PLC0415

            value = getattr(client, name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
