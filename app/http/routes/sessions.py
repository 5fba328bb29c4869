"""Sessions: VMs that belong together and are reset together."""

from typing import Annotated

from fastapi import Depends
from starlette.responses import Response

from ..bodies import optional_json_body
from ..deps import FleetDep, PageDep, SessionPath
from ..openapi import json_request
from ..responses import Answer, JsonResponse
from ..routing import resource_router
from ..schemas.sessions import SessionIn, SessionListOut, SessionOut, session_out

router = resource_router("sessions")


@router.post(
    "/v1/sessions",
    operation_id="create_session",
    status_code=201,
    response_model=SessionOut,
    openapi_extra=json_request(SessionIn, required=False),
)
async def create_session(
    fleet: FleetDep, body: Annotated[SessionIn, Depends(optional_json_body(SessionIn))]
) -> Response:
    """Make a session."""
    session = fleet.create_session(body.session_id)
    return Answer(session_out(session), 201, f"/v1/sessions/{session.session_id}").response()


@router.get("/v1/sessions", operation_id="list_sessions", response_model=SessionListOut)
async def list_sessions(fleet: FleetDep, page: PageDep) -> Response:
    """List the sessions, by id."""
    sessions, token = page.of(fleet.sessions(), key=lambda session: session.session_id.encode())
    body = {"sessions": [session_out(session) for session in sessions], "next_page_token": token}
    return JsonResponse(body)


@router.get("/v1/sessions/{session_id}", operation_id="get_session", response_model=SessionOut)
async def get_session(fleet: FleetDep, session_id: SessionPath) -> Response:
    """Show a session."""
    return JsonResponse(session_out(fleet.session(session_id)))


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
