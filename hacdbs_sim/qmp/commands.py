"""The commands: what each takes, and what performs it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from hacdbs_sim.qmp.addresses import CHANNELS
from hacdbs_sim.qmp.arguments import (
    Array,
    Boolean,
    Enumeration,
    Integer,
    Kind,
    String,
    Struct,
    Unsigned,
)
from hacdbs_sim.qmp.dirty_rates import MODES, UNITS
from hacdbs_sim.qmp.endpoint import Endpoint
from hacdbs_sim.qmp.settings import CAPABILITIES, PARAMETERS_KIND
from hacdbs_sim.qmp.state import Status

Perform: TypeAlias = Callable[..., Awaitable[Any]]

_NONE: Final = Struct()
_UNIT: Final = Enumeration(UNITS)
_WHERE: Final[dict[str, Kind]] = {"uri": String(), "channels": CHANNELS}
_CAPABILITY: Final = Struct({"capability": Enumeration(CAPABILITIES), "state": Boolean()})


@dataclass(frozen=True, slots=True)
class Command:
    """A command.

    Attributes:
        perform: A method of `Endpoint`.
        arguments: What it takes.
        is_oob: Whether it may be executed out of band.
    """

    perform: Perform
    arguments: Struct = _NONE
    is_oob: bool = False


COMMANDS: Final[dict[str, Command]] = {
    "query-version": Command(Endpoint.query_version),
    "query-name": Command(Endpoint.query_name),
    "query-status": Command(Endpoint.query_status),
    "query-memory-size-summary": Command(Endpoint.query_memory_size_summary),
    "stop": Command(Endpoint.stop),
    "cont": Command(Endpoint.cont),
    "quit": Command(Endpoint.quit),
    "migrate-set-capabilities": Command(
        Endpoint.migrate_set_capabilities, Struct({"capabilities": Array(_CAPABILITY)})
    ),
    "query-migrate-capabilities": Command(Endpoint.query_migrate_capabilities),
    "migrate-set-parameters": Command(Endpoint.migrate_set_parameters, PARAMETERS_KIND),
    "query-migrate-parameters": Command(Endpoint.query_migrate_parameters),
    "migrate": Command(
        Endpoint.migrate, Struct(optional={**_WHERE, "detach": Boolean(), "resume": Boolean()})
    ),
    "migrate-incoming": Command(
        Endpoint.migrate_incoming, Struct(optional={**_WHERE, "exit-on-error": Boolean()})
    ),
    "query-migrate": Command(Endpoint.query_migrate),
    "migrate-continue": Command(Endpoint.migrate_continue, Struct({"state": Enumeration(Status)})),
    "migrate_cancel": Command(Endpoint.migrate_cancel),
    "migrate-start-postcopy": Command(Endpoint.migrate_start_postcopy),
    "migrate-pause": Command(Endpoint.migrate_pause, is_oob=True),
    "migrate-recover": Command(Endpoint.migrate_recover, Struct({"uri": String()}), is_oob=True),
    "calc-dirty-rate": Command(
        Endpoint.calc_dirty_rate,
        Struct(
            {"calc-time": Integer()},
            {"calc-time-unit": _UNIT, "sample-pages": Integer(), "mode": Enumeration(MODES)},
        ),
    ),
    "query-dirty-rate": Command(
        Endpoint.query_dirty_rate, Struct(optional={"calc-time-unit": _UNIT})
    ),
    "set-vcpu-dirty-limit": Command(
        Endpoint.set_vcpu_dirty_limit,
        Struct({"dirty-rate": Unsigned()}, {"cpu-index": Integer()}),
    ),
    "query-vcpu-dirty-limit": Command(Endpoint.query_vcpu_dirty_limit),
    "cancel-vcpu-dirty-limit": Command(
        Endpoint.cancel_vcpu_dirty_limit, Struct(optional={"cpu-index": Integer()})
    ),
}
"""The commands by name, but for `qmp_capabilities` and `query-commands`, which are the monitor's."""

NAMES: Final = (*COMMANDS, "qmp_capabilities", "query-commands")
