"""Dependencies of routes: the context, the VM of the path, the page of a list, parameters of a query."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Path, Query
from pydantic.json_schema import SkipJsonSchema
from starlette.requests import Request

from hacdbs_sim.model.kinds import Boolean, Count, Gfn, Page64, PositiveCount, SlotId

from ..service.fleet import Fleet, Session, Vm
from .metrics import Metrics
from .paging import Page, read_page


@dataclass(slots=True)
class Context:
    """The parts that main joins, and whether the service is stopping."""

    fleet: Fleet
    metrics: Metrics
    max_body_bytes: int
    max_batch_bytes: int
    is_stopping: bool = False


def context_of(request: Request) -> Context:
    """Return the context of the application that serves a request."""
    context: Context = request.app.context
    return context


def find_fleet(request: Request) -> Fleet:
    """Return the fleet."""
    return context_of(request).fleet


def find_vm(
    request: Request,
    vm_id: Annotated[str, Path(description="As in `default-1`.", examples=["default-1"])],
) -> Vm:
    """Return the VM of the path."""
    return context_of(request).fleet.vm(vm_id)


SessionPath = Annotated[str, Path(description="As in `default`.", examples=["default"])]


def find_session(request: Request, session_id: SessionPath) -> Session:
    """Return the session of the path."""
    return context_of(request).fleet.session(session_id)


def find_epoch(request: Request) -> int:
    """Return the fleet's epoch as the call begins: put it before the body, which may take its time."""
    return context_of(request).fleet.epoch


ContextDep = Annotated[Context, Depends(context_of)]
FleetDep = Annotated[Fleet, Depends(find_fleet)]
VmDep = Annotated[Vm, Depends(find_vm)]
SessionDep = Annotated[Session, Depends(find_session)]
EpochDep = Annotated[int, Depends(find_epoch)]
PageDep = Annotated[Page, Depends(read_page)]

SlotPath = Annotated[SlotId, Path(description="The slot's number.", examples=[0])]
CpuPath = Annotated[Count, Path(description="The host CPU's number.", examples=[0])]
FaultPath = Annotated[str, Path(description="As in `f1`.", examples=["f1"])]
CopyPath = Annotated[str, Path(description="As in `c1`.", examples=["c1"])]
WorkloadPath = Annotated[str, Path(description="As in `w1`.", examples=["w1"])]
ScenarioPath = Annotated[
    str,
    Path(description="As in `read-fails-after-clearing`.", examples=["read-fails-after-clearing"]),
]

CountQuery = Annotated[Count, Query()]
GfnQuery = Annotated[Gfn, Query()]
OptionalPositiveCountQuery = Annotated[PositiveCount | SkipJsonSchema[None], Query()]
OptionalCountQuery = Annotated[Count | SkipJsonSchema[None], Query()]
FirstPageQuery = Annotated[Page64, Query()]
TruthQuery = Annotated[Boolean, Query()]
