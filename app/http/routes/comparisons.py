"""Comparisons: one VM and one migration in several variants, on machines of their own."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import Path, Query
from starlette.responses import Response

from hacdbs_sim import model
from hacdbs_sim.model import ComparisonInfo, ComparisonList, StartComparison, Variant
from hacdbs_sim.model.errors import KvmError, NotSupportedByBackendError
from hacdbs_sim.report import comparison_html
from hacdbs_sim.vmm.errors import InvalidMigrationError
from hacdbs_sim.wire import read
from hacdbs_sim.wire.cutting import abridged, whole

from ...service.errors import within
from ...service.fleet import Fleet
from ...service.migration_tasks import MigrationTask
from ...service.migrations import Comparison, prepare
from ...service.origins import compared
from ..bodies import json_body
from ..deps import EpochDep, FleetDep, PageDep
from ..long_poll import WaitSeconds
from ..paging import SessionQuery, session_key, session_or_all
from ..presets import with_preset
from ..reports import HTML, html_report
from ..responses import show
from ..routing import resource_router
from .vms import VM_BYTES

router = resource_router("comparisons")

ComparisonPath = Annotated[str, Path(description="As in `default-c1`.", examples=["default-c1"])]
WaitForEnd = Annotated[
    str, Query(pattern="^(end)?$", description="Wait for the `end` of all variants.")
]


def _comparison_of(body: bytes) -> StartComparison:
    comparison = read(StartComparison, body)
    plain: Any = abridged(body, whole(body))
    given = plain.get("migration") or {}
    return replace(comparison, migration=with_preset(comparison.migration, given))


async def _begin(fleet: Fleet, body: StartComparison, epoch: int) -> Comparison:
    """Create the machines of all variants and start; on a refusal, keep none."""
    session = fleet.session(body.vm.session_id, epoch)
    variants = body.variants or model.DEFAULT_VARIANTS
    fleet.migrations.check_limit()
    names = len({variant.name for variant in variants})
    if names < len(variants):
        detail = "variants must have names of their own"
        raise InvalidMigrationError(detail, field="variants", bound=names, value=len(variants))
    tasks: list[MigrationTask] = []
    try:
        for index, variant in enumerate(variants):
            tasks.append(await _task(fleet, body, index, variant))
        # That took time: the session may have been reset, or other runs started
        fleet.check_current(session)
        fleet.migrations.check_limit()
    except BaseException:
        for task in tasks:
            task.close(owns_machine=True)
        raise
    shown = compared(body, variants)
    return fleet.migrations.compare(session.session_id, tasks, shown, pace_ms=body.pace_ms)


async def _task(fleet: Fleet, body: StartComparison, index: int, variant: Variant) -> MigrationTask:
    with within(lambda part: f"variants/{index}" if part in variant.given else "vm"):
        runtime = await fleet.build_apart(replace(body.vm, **variant.given))
    try:
        prepared = await prepare(runtime, body.migration)
        return fleet.migrations.task(variant.name, runtime, prepared.migration)
    except KvmError as refused:
        runtime.close()
        # The body has the migration and the VM one level down
        if isinstance(refused, InvalidMigrationError):
            refused.field = f"migration.{refused.field}"
        elif isinstance(refused, NotSupportedByBackendError):
            refused.field = "vm.backend"
        raise


@router.post("/v1/comparisons", status_code=202, response_model=ComparisonInfo)
async def start_comparison(
    fleet: FleetDep,
    epoch: EpochDep,
    body: Annotated[StartComparison, json_body(StartComparison, VM_BYTES, parse=_comparison_of)],
) -> Response:
    """Start to run a migration in variants, one after the other, with the same seed."""
    # Shielded: if the request were cancelled, nothing would own the machine that a thread makes
    comparison = await fleet.background.to_the_end(_begin(fleet, body, epoch))
    location = f"/v1/comparisons/{comparison.comparison_id}"
    return await show(comparison.info(), 202, location)


@router.get("/v1/comparisons", response_model=ComparisonList)
async def list_comparisons(
    fleet: FleetDep, page: PageDep, session_id: SessionQuery = model.DEFAULT_SESSION
) -> Response:
    """List the comparisons of a session, by number."""
    listed = fleet.migrations.comparisons(session_or_all(fleet, session_id))
    return page.response(ComparisonList, listed, session_key, Comparison.brief)


@router.get("/v1/comparisons/{comparison_id}", response_model=ComparisonInfo)
async def get_comparison(
    fleet: FleetDep,
    comparison_id: ComparisonPath,
    wait_for: WaitForEnd = "",
    wait_seconds: WaitSeconds = 0,
) -> Response:
    """Return a comparison and its reports, at once or when all variants have ended."""
    comparison = fleet.migrations.comparison(comparison_id)
    if wait_for and wait_seconds:
        run = comparison.run
        await run.wait(lambda: run.is_over, wait_seconds)
    return await show(comparison.info())


@router.get("/v1/comparisons/{comparison_id}/report.html", response_class=Response, responses=HTML)
async def report_comparison(fleet: FleetDep, comparison_id: ComparisonPath) -> Response:
    """Return a comparison's report as one HTML file to keep."""
    return await html_report(
        comparison_html, fleet.migrations.comparison(comparison_id).info(), comparison_id
    )


@router.post("/v1/comparisons/{comparison_id}/cancel", response_model=ComparisonInfo)
async def cancel_comparison(fleet: FleetDep, comparison_id: ComparisonPath) -> Response:
    """Cancel all variants that have not ended."""
    comparison = fleet.migrations.comparison(comparison_id)
    comparison.run.cancel()
    return await show(comparison.info())
