"""Sessions: VMs that belong together and are reset together."""

from typing import Annotated, Final

from fastapi import Depends
from starlette.responses import Response

from hacdbs_sim.model import CreateSession, SessionInfo, SessionList
from hacdbs_sim.wire import reader_of

from ..bodies import optional_json_body
from ..deps import FleetDep, PageDep, SessionPath
from ..openapi import json_request
from ..responses import Answer, JsonResponse
from ..routing import resource_router

router = resource_router("sessions")

_SESSION: Final = reader_of(CreateSession)


@router.post(
    "/v1/sessions",
    operation_id="create_session",
    status_code=201,
    response_model=SessionInfo,
    openapi_extra=json_request(_SESSION, required=False),
)
async def create_session(
    fleet: FleetDep, body: Annotated[CreateSession, Depends(optional_json_body(_SESSION))]
) -> Response:
    """Create a session."""
    session = fleet.create_session(body.session_id)
    return Answer(session.info(), 201, f"/v1/sessions/{session.session_id}").response()


@router.get("/v1/sessions", operation_id="list_sessions", response_model=SessionList)
async def list_sessions(fleet: FleetDep, page: PageDep) -> Response:
    """List the sessions, by id."""
    sessions, token = page.of(fleet.sessions(), key=lambda session: session.session_id.encode())
    shown = tuple(session.info() for session in sessions)
    return JsonResponse(SessionList(sessions=shown, next_page_token=token))


@router.get("/v1/sessions/{session_id}", operation_id="get_session", response_model=SessionInfo)
async def get_session(fleet: FleetDep, session_id: SessionPath) -> Response:
    """Return a session."""
    return JsonResponse(fleet.session(session_id).info())


@router.delete("/v1/sessions/{session_id}", operation_id="delete_session", status_code=204)
async def delete_session(fleet: FleetDep, session_id: SessionPath) -> Response:
    """Delete a session with its VMs."""
    fleet.delete_session(session_id)
    return Response(status_code=204)


@router.post("/v1/sessions/{session_id}/reset", operation_id="reset_session", status_code=204)
async def reset_session(fleet: FleetDep, session_id: SessionPath) -> Response:
    """Delete a session's VMs and number the next ones from 1 again."""
    fleet.reset_session(session_id)
    return Response(status_code=204)
