"""Scenarios: a session described by one document, and the builtin documents."""

import asyncio
from typing import Annotated

from starlette.responses import Response

from hacdbs_sim import model
from hacdbs_sim.model import BuiltinScenario, ScenarioList, ScenarioOutcome
from hacdbs_sim.report import scenario_html

from ...service.scenarios import StandingScenario
from ...service.vm_runtime import INLINE_WORK, WORK_PER_PART
from .. import scenarios
from ..bodies import THREAD_BYTES, json_body
from ..deps import ContextDep, FleetDep, PageDep, ScenarioPath, SessionDep, SessionPath
from ..long_poll import WaitSeconds
from ..reports import HTML, html_report
from ..responses import JSON_MEDIA_TYPE, Answer, JsonResponse, respond
from ..routing import resource_router

router = resource_router("scenarios")


async def _show(
    session_id: str, standing: StandingScenario, status: int = 200, location: str | None = None
) -> Response:
    """Return the response, written in a worker thread if it is long."""

    def show() -> Response:
        return Answer(scenarios.scenario_outcome(session_id, standing), status, location).response()

    is_long = standing.account.held_bytes > THREAD_BYTES
    work = INLINE_WORK + 1 if is_long else WORK_PER_PART * len(standing.steps)
    return await respond(show, work)


@router.put(
    "/v1/sessions/{session_id}/scenario",
    response_model=ScenarioOutcome,
    responses={
        201: {
            "description": "Applied; the previous content of the session was deleted.",
            "content": {JSON_MEDIA_TYPE: {}},
        }
    },
)
async def put_scenario(
    fleet: FleetDep,
    session: SessionDep,
    body: Annotated[
        scenarios.Scenario,
        json_body(model.Scenario, scenarios.SCENARIO_BYTES, parse=scenarios.scenario_of),
    ],
) -> Response:
    """Apply a scenario to the whole session; do nothing if the session already has the same one.

    The session is reset first: its VMs and its previous scenario are deleted.
    """
    standing, is_new = await scenarios.apply(fleet, session, body)
    session_id = session.session_id
    if is_new:
        return await _show(session_id, standing, 201, f"/v1/sessions/{session_id}/scenario")
    return await _show(session_id, standing)


@router.get("/v1/sessions/{session_id}/scenario", response_model=ScenarioOutcome)
async def get_scenario(
    context: ContextDep, session_id: SessionPath, wait_seconds: WaitSeconds = 0
) -> Response:
    """Return the whole session's scenario and its outcome, at once or when it has ended."""
    standing = scenarios.standing_in(context.fleet, session_id)
    if wait_seconds and not context.is_stopping:
        await standing.wait(wait_seconds)
        standing = scenarios.standing_in(context.fleet, session_id)  # after a reset it is another
    return await _show(session_id, standing)


@router.get(
    "/v1/sessions/{session_id}/scenario/report.html", response_class=Response, responses=HTML
)
async def report_scenario(fleet: FleetDep, session_id: SessionPath) -> Response:
    """Return the report of the session's scenario as one HTML file to keep."""
    standing = scenarios.standing_in(fleet, session_id)
    outcome = await asyncio.to_thread(scenarios.reported_outcome, session_id, standing)
    return await html_report(scenario_html, outcome, f"{session_id}-{outcome.scenario}")


@router.delete("/v1/sessions/{session_id}/scenario", status_code=204)
async def delete_scenario(fleet: FleetDep, session_id: SessionPath) -> Response:
    """Delete the whole session's scenario: the session is reset."""
    scenarios.standing_in(fleet, session_id)
    fleet.reset_session(session_id)
    return Response(status_code=204)


@router.get("/v1/scenarios", response_model=ScenarioList)
async def list_scenarios(page: PageDep) -> Response:
    """List the builtin scenarios, by name."""
    found = await asyncio.to_thread(scenarios.builtin)
    return page.response(ScenarioList, found, lambda each: each.scenario.encode())


@router.get("/v1/scenarios/{name}", response_model=BuiltinScenario)
async def get_builtin_scenario(name: ScenarioPath) -> Response:
    """Return a builtin scenario."""
    return JsonResponse(await asyncio.to_thread(scenarios.find_builtin, name))
