"""The routes, one module per resource; `ROUTERS` is all of them."""

from typing import Final

from hacdbs_sim.model.base import Model
from hacdbs_sim.wire.writer import serializer_of

from .. import swagger, ui
from ..routing import StrictRoute
from . import (
    accesses,
    batch,
    comparisons,
    copies,
    cpus,
    dirty_log,
    dirty_rate,
    events,
    faults,
    memslots,
    migrations,
    problems,
    scenarios,
    service,
    sessions,
    stage2,
    vms,
    workloads,
)

# Paths are tried in this order, so what a migration calls again and again comes first.
ROUTERS: Final = (
    dirty_log.router,
    accesses.router,
    service.router,
    sessions.router,
    scenarios.router,
    vms.router,
    memslots.router,
    stage2.router,
    cpus.router,
    faults.router,
    workloads.router,
    copies.router,
    dirty_rate.router,
    batch.router,
    events.router,
    migrations.router,
    comparisons.router,
    problems.router,
    swagger.router,
    ui.router,
)


def _strict(route: object) -> StrictRoute:
    assert isinstance(route, StrictRoute), f"{route} is of a router without strict routes"
    return route


ROUTES: Final = tuple(_strict(route) for router in ROUTERS for route in router.routes)
"""The routes of all of them."""


def prepare_answers() -> None:
    """Make what writes the answers of all routes: the first of a kind would keep others waiting for it."""
    for route in ROUTES:
        if isinstance(route.outcome, type) and issubclass(route.outcome, Model):
            serializer_of(route.outcome)
