"""Sessions: VMs that belong together and are reset together."""

from typing import Annotated

from starlette.responses import Response

from hacdbs_sim.model import CreateSession, SessionInfo, SessionList

from ...service.fleet import Session
from ..bodies import json_body
from ..deps import FleetDep, PageDep, SessionPath
from ..responses import Answer, JsonResponse
from ..routing import resource_router

router = resource_router("sessions")


@router.post("/v1/sessions", status_code=201, response_model=SessionInfo)
async def create_session(
    fleet: FleetDep, body: Annotated[CreateSession, json_body(CreateSession, required=False)]
) -> Response:
    """Create a session."""
    session = fleet.create_session(body.session_id)
    return Answer(session.info(), 201, f"/v1/sessions/{session.session_id}").response()


@router.get("/v1/sessions", response_model=SessionList)
async def list_sessions(fleet: FleetDep, page: PageDep) -> Response:
    """List the sessions, by id."""
    return page.response(
        SessionList, fleet.sessions(), lambda each: each.session_id.encode(), Session.info
    )


@router.get("/v1/sessions/{session_id}", response_model=SessionInfo)
async def get_session(fleet: FleetDep, session_id: SessionPath) -> Response:
    """Return a session."""
    return JsonResponse(fleet.session(session_id).info())


@router.delete("/v1/sessions/{session_id}", status_code=204)
async def delete_session(fleet: FleetDep, session_id: SessionPath) -> Response:
    """Delete a session with its VMs."""
    fleet.delete_session(session_id)
    return Response(status_code=204)


@router.post("/v1/sessions/{session_id}/reset", status_code=204)
async def reset_session(fleet: FleetDep, session_id: SessionPath) -> Response:
    """Delete a session's VMs and number the next ones from 1 again."""
    fleet.reset_session(session_id)
    return Response(status_code=204)
