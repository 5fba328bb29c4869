"""Comparisons: one VM and one migration in several variants, on machines of their own."""

from typing import Annotated

from fastapi import Depends, Path, Query
from starlette.responses import Response

from hacdbs_sim.sim.base.errors import KvmError
from hacdbs_sim.vmm.errors import InvalidMigrationError

from ...service.errors import SetupRefusedError
from ...service.fleet import DEFAULT_SESSION, Fleet
from ...service.migration_tasks import MigrationTask
from ...service.migrations import Comparison
from ..bodies import json_body
from ..deps import FleetDep, PageDep
from ..long_poll import WaitSeconds
from ..openapi import json_request
from ..paging import SessionQuery, session_key, session_or_all
from ..responses import Answer, JsonResponse
from ..routing import resource_router
from ..schemas.comparisons import (
    ComparisonIn,
    ComparisonListOut,
    ComparisonOut,
    VariantIn,
    comparison_brief_out,
    comparison_out,
)

router = resource_router("comparisons")

ComparisonPath = Annotated[str, Path(description="As in `default-c1`.")]
WaitForEnd = Annotated[
    str, Query(pattern="^(end)?$", description="Wait for the `end` of all variants.")
]


async def _begin(fleet: Fleet, body: ComparisonIn) -> Comparison:
    """Make the machines of all variants, and begin; or make none."""
    session_id = body.vm.session_id
    fleet.session(session_id)
    fleet.migrations.check_limit()
    _check_names([variant.name for variant in body.chosen()])
    tasks: list[MigrationTask] = []
    try:
        for index, variant in enumerate(body.chosen()):
            tasks.append(await _leg(fleet, body, index, variant))
        # What was made took its time; the session may have gone, or others have begun
        fleet.session(session_id)
        fleet.migrations.check_limit()
    except BaseException:
        for task in tasks:
            task.close(owns_machine=True)
        raise
    return fleet.migrations.compare(session_id, tasks, pace_ms=body.pace_ms)


async def _leg(fleet: Fleet, body: ComparisonIn, index: int, variant: VariantIn) -> MigrationTask:
    try:
        runtime = await fleet.build_apart(variant.of(body.vm).to_domain())
    except SetupRefusedError as refused:
        is_its_own = refused.part in variant.model_fields_set
        part = f"variants/{index}/{refused.part}" if is_its_own else f"vm/{refused.part}"
        raise SetupRefusedError(part, refused.index, refused.cause) from refused
    try:
        return fleet.migrations.task(variant.name, runtime, body.migration.to_spec())
    except InvalidMigrationError as refused:
        runtime.close()
        raise InvalidMigrationError(
            refused.detail,
            field=f"migration.{refused.field}",
            bound=refused.bound,
            value=refused.value,
        ) from None
    except KvmError:
        runtime.close()
        raise


def _check_names(names: list[str]) -> None:
    if len(set(names)) < len(names):
        raise InvalidMigrationError(
            "variants must have names of their own",
            field="variants",
            bound=len(set(names)),
            value=len(names),
        )


@router.post(
    "/v1/comparisons",
    operation_id="start_comparison",
    status_code=202,
    response_model=ComparisonOut,
    openapi_extra=json_request(ComparisonIn),
)
async def start_comparison(
    fleet: FleetDep, body: Annotated[ComparisonIn, Depends(json_body(ComparisonIn))]
) -> Response:
    """Begin to run a migration in variants, one after the other, with the same seed."""
    comparison = await _begin(fleet, body)
    location = f"/v1/comparisons/{comparison.comparison_id}"
    return Answer(comparison_out(comparison), 202, location).response()


@router.get("/v1/comparisons", operation_id="list_comparisons", response_model=ComparisonListOut)
async def list_comparisons(
    fleet: FleetDep, page: PageDep, session_id: SessionQuery = DEFAULT_SESSION
) -> Response:
    """List the comparisons of a session, by number."""
    listed, token = page.of(
        fleet.migrations.comparisons(session_or_all(fleet, session_id)), key=session_key
    )
    out = [comparison_brief_out(comparison) for comparison in listed]
    return JsonResponse({"comparisons": out, "next_page_token": token})


@router.get(
    "/v1/comparisons/{comparison_id}", operation_id="get_comparison", response_model=ComparisonOut
)
async def get_comparison(
    fleet: FleetDep,
    comparison_id: ComparisonPath,
    wait_for: WaitForEnd = "",
    wait_seconds: WaitSeconds = 0,
) -> Response:
    """Show a comparison and its reports, at once or once all variants have ended."""
    comparison = fleet.migrations.comparison(comparison_id)
    if wait_for and wait_seconds:
        run = comparison.run
        await run.wait(lambda: run.is_over, wait_seconds)
    return JsonResponse(comparison_out(comparison))


@router.post(
    "/v1/comparisons/{comparison_id}/cancel",
    operation_id="cancel_comparison",
    response_model=ComparisonOut,
)
async def cancel_comparison(fleet: FleetDep, comparison_id: ComparisonPath) -> Response:
    """Ask what has not ended to end."""
    comparison = fleet.migrations.comparison(comparison_id)
    comparison.run.cancel()
    return JsonResponse(comparison_out(comparison))
