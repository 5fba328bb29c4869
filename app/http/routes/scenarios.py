"""Scenarios: a session as one document says it, and the builtin documents."""

import asyncio
from typing import Annotated

from fastapi import Depends
from starlette.responses import Response

from hacdbs_sim.model import BuiltinScenario, ScenarioList, ScenarioOutcome

from ...service.fleet import Fleet
from ...service.scenarios import StandingScenario
from ..bodies import THREAD_BYTES
from ..builtin_scenarios import builtin, find_builtin
from ..deps import FleetDep, PageDep, ScenarioPath, SessionPath
from ..long_poll import WaitSeconds
from ..openapi import json_request
from ..responses import Answer, JsonResponse
from ..routing import resource_router
from ..scenarios import (
    SCENARIO_BODY,
    Scenario,
    apply,
    read_scenario,
    scenario_outcome,
    standing_in,
)

router = resource_router("scenarios")


async def _show(
    session_id: str, standing: StandingScenario, status: int = 200, location: str | None = None
) -> Response:
    """Make the answer, in a worker thread if it is long."""

    def show() -> Response:
        return Answer(scenario_outcome(session_id, standing), status, location).response()

    if standing.account.held_bytes > THREAD_BYTES:
        return await asyncio.to_thread(show)
    return show()


@router.put(
    "/v1/sessions/{session_id}/scenario",
    operation_id="put_scenario",
    response_model=ScenarioOutcome,
    responses={
        201: {
            "description": "Applied; what was there before went.",
            "content": {"application/json": {}},
        }
    },
    openapi_extra=json_request(SCENARIO_BODY),
)
async def put_scenario(
    fleet: FleetDep,
    session_id: SessionPath,
    body: Annotated[Scenario, Depends(read_scenario)],
) -> Response:
    """Make the session be what a scenario says; nothing is done where the same stands already.

    The session is reset first: VMs and another scenario that it had are gone.
    """
    standing, is_new = await apply(fleet, session_id, body)
    if is_new:
        return await _show(session_id, standing, 201, f"/v1/sessions/{session_id}/scenario")
    return await _show(session_id, standing)


@router.get(
    "/v1/sessions/{session_id}/scenario",
    operation_id="get_scenario",
    response_model=ScenarioOutcome,
)
async def get_scenario(
    fleet: FleetDep, session_id: SessionPath, wait_seconds: WaitSeconds = 0
) -> Response:
    """Show the scenario that stands in the session, and what came of it; or wait for its end."""
    standing = standing_in(fleet, session_id)
    if wait_seconds and (migration := standing.migration) is not None:
        run = migration.run
        await run.wait(lambda: run.is_over, wait_seconds)
    return await _show(session_id, standing)


@router.delete(
    "/v1/sessions/{session_id}/scenario", operation_id="delete_scenario", status_code=204
)
async def delete_scenario(fleet: FleetDep, session_id: SessionPath) -> Response:
    """Take the scenario off: the session is reset."""
    _take_off(fleet, session_id)
    return Response(status_code=204)


def _take_off(fleet: Fleet, session_id: str) -> None:
    standing_in(fleet, session_id)
    fleet.reset_session(session_id)


@router.get("/v1/scenarios", operation_id="list_scenarios", response_model=ScenarioList)
async def list_scenarios(page: PageDep) -> Response:
    """List the builtin scenarios, by name."""
    found, token = page.of(
        await asyncio.to_thread(builtin), key=lambda each: each.scenario.encode()
    )
    return JsonResponse(ScenarioList(scenarios=tuple(found), next_page_token=token))


@router.get(
    "/v1/scenarios/{name}", operation_id="get_builtin_scenario", response_model=BuiltinScenario
)
async def get_builtin_scenario(name: ScenarioPath) -> Response:
    """Show a builtin scenario."""
    return JsonResponse(await asyncio.to_thread(find_builtin, name))
