"""The routes, one module per resource; `ROUTERS` is all of them."""

from typing import Final

from app.api.routes import (
    accesses,
    batch,
    capabilities,
    cpus,
    dirty_log,
    faults,
    memslots,
    problems,
    service,
    sessions,
    stage2,
    vms,
)

# Paths are tried in this order, so what a migration calls again and again comes first.
ROUTERS: Final = (
    dirty_log.router,
    accesses.router,
    service.router,
    capabilities.router,
    sessions.router,
    vms.router,
    memslots.router,
    stage2.router,
    cpus.router,
    faults.router,
    batch.router,
    problems.router,
)
