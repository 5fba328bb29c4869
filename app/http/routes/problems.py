"""What a problem means."""

from typing import Annotated

from fastapi import Path
from starlette.responses import Response

from ..problems import NO_SUCH_PATH, PROBLEMS, Refusal
from ..responses import JsonResponse
from ..routing import resource_router
from ..schemas.problem import ProblemTypeOut

router = resource_router("service")


@router.get("/problems/{code}", operation_id="get_problem", response_model=ProblemTypeOut)
async def get_problem(
    code: Annotated[str, Path(description="The `code` of a problem document.")],
) -> Response:
    """Tell what a problem means."""
    if (problem := PROBLEMS.get(code)) is None:
        raise Refusal(NO_SUCH_PATH, "no problem has this code")
    body: ProblemTypeOut = {
        "type": problem.uri,
        "code": problem.code,
        "title": problem.title,
        "status": problem.status,
        "meaning": problem.meaning,
    }
    return JsonResponse(body)
