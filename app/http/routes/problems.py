"""The explanations of problems."""

from typing import Annotated

from fastapi import Path
from starlette.responses import Response

from hacdbs_sim.model import ProblemType

from ..problems import NO_SUCH_PATH, Refusal, all_problems
from ..responses import JsonResponse
from ..routing import resource_router

router = resource_router("service")


@router.get("/problems/{code}", response_model=ProblemType)
async def get_problem(
    code: Annotated[
        str, Path(description="The `code` of a problem document.", examples=["no_such_vm"])
    ],
) -> Response:
    """Return the explanation of a problem."""
    if (found := all_problems().get(code)) is None:
        raise Refusal(NO_SUCH_PATH, "no problem has this code")
    return JsonResponse(found)
