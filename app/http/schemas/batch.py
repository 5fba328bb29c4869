"""The batch: many actions under one lock, a union by `op`."""

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import FailFast, Field
from typing_extensions import TypedDict

from .accesses import PagesIn
from .base import Request, answer, example, omittable
from .cpus import CpuIn
from .dirty_log import ClearIn, LogForm
from .faults import (
    CopyFaultIn,
    EntryFaultIn,
    HookFaultIn,
    LostInterruptIn,
    SplitFaultIn,
)
from .fields import Count, Slot, Whole
from .guest import AdvanceIn, RunIn
from .memslots import MEMSLOT_EXAMPLE, NumberedMemslotIn
from .workloads import (
    HotSetIn,
    IntervalsIn,
    MovingIn,
    ReplayIn,
    SequentialIn,
    UniformIn,
    ZipfIn,
)

MAX_ACTIONS = 10_000

FirstPage = Annotated[int, Whole(multiple_of=64)]


class GuestAccess(PagesIn):
    """Accesses by a vCPU."""

    shown: ClassVar = {"op": "guest_write", "gfns": [262144]}

    op: Literal["guest_write", "guest_read"]
    vcpu: Count = 0


class HostAccess(PagesIn):
    """Accesses by the host kernel."""

    shown: ClassVar = {"op": "host_write", "gfns": [262145]}

    op: Literal["host_write", "host_unmap"]


class GetLog(Request):
    """KVM_GET_DIRTY_LOG."""

    op: Literal["get_dirty_log"]
    slot: Slot
    cpu: Count = omittable()
    format: LogForm = LogForm.RANGES
    trace: bool = False


class ClearLog(ClearIn):
    """KVM_CLEAR_DIRTY_LOG."""

    shown: ClassVar = {"op": "clear_dirty_log", "slot": 0, "page_ranges": [[0, 2]]}

    op: Literal["clear_dirty_log"]
    slot: Slot
    first_page: FirstPage = 0
    num_pages: Count = omittable()
    cpu: Count = omittable()
    trace: bool = False


class SetMemslot(NumberedMemslotIn):
    """KVM_SET_USER_MEMORY_REGION."""

    model_config = example(op="set_memslot", slot=0, **MEMSLOT_EXAMPLE)

    op: Literal["set_memslot"]


class DeleteMemslot(Request):
    """KVM_SET_USER_MEMORY_REGION with a size of 0."""

    op: Literal["delete_memslot"]
    slot: Slot


class SetCpu(CpuIn):
    """Plug a CPU in or out."""

    op: Literal["set_cpu"]
    cpu: Count


class AddEntryFault(EntryFaultIn):
    """Arm a fault at an entry."""

    op: Literal["add_fault"]


class AddLostInterrupt(LostInterruptIn):
    """Arm a lost interrupt."""

    op: Literal["add_fault"]


class AddSplitFault(SplitFaultIn):
    """Arm a failure of splits."""

    op: Literal["add_fault"]


class AddHookFault(HookFaultIn):
    """Arm a hook that declines."""

    op: Literal["add_fault"]


class AddCopyFault(CopyFaultIn):
    """Arm a failing copy to userspace."""

    op: Literal["add_fault"]


AddFault: TypeAlias = Annotated[
    AddEntryFault | AddLostInterrupt | AddSplitFault | AddHookFault | AddCopyFault,
    Field(discriminator="type"),
]


class DeleteFault(Request):
    """Disarm a fault."""

    op: Literal["delete_fault"]
    fault_id: Annotated[str, Field(max_length=20)]


class AddSequential(SequentialIn):
    """Add a workload that writes page after page."""

    op: Literal["add_workload"]


class AddUniform(UniformIn):
    """Add a workload that writes everywhere alike."""

    op: Literal["add_workload"]


class AddHotSet(HotSetIn):
    """Add a workload with a hot set."""

    op: Literal["add_workload"]


class AddZipf(ZipfIn):
    """Add a workload after Zipf's law."""

    op: Literal["add_workload"]


class AddMoving(MovingIn):
    """Add a workload whose working set moves."""

    op: Literal["add_workload"]


class AddReplay(ReplayIn):
    """Add a trace that comes with the service."""

    op: Literal["add_workload"]


class AddIntervals(IntervalsIn):
    """Add a trace given in full."""

    op: Literal["add_workload"]


AddWorkload: TypeAlias = Annotated[
    AddSequential | AddUniform | AddHotSet | AddZipf | AddMoving | AddReplay | AddIntervals,
    Field(discriminator="kind"),
]


class DeleteWorkload(Request):
    """Take a workload off."""

    op: Literal["delete_workload"]
    workload_id: Annotated[str, Field(max_length=20)]


class ClockAdvance(AdvanceIn):
    """Let time pass while the guest is paused."""

    model_config = example(op="clock_advance", duration_ns=1_000_000)

    op: Literal["clock_advance"]


class GuestRun(RunIn):
    """Let the workloads write for some virtual time."""

    model_config = example(op="guest_run", duration_ns=1_000_000)

    op: Literal["guest_run"]


BatchAction: TypeAlias = Annotated[
    GuestAccess
    | HostAccess
    | GetLog
    | ClearLog
    | SetMemslot
    | DeleteMemslot
    | SetCpu
    | AddFault
    | DeleteFault
    | AddWorkload
    | DeleteWorkload
    | ClockAdvance
    | GuestRun,
    Field(discriminator="op"),
]


class BatchIn(Request):
    """Actions, performed in order up to the first refusal."""

    model_config = example(
        actions=[
            {"op": "guest_write", "gfns": [262144, 262145]},
            {"op": "get_dirty_log", "slot": 0, "format": "summary"},
        ]
    )

    max_bytes: ClassVar = None
    # At most 14 fields an action, `when` included, or a fault_id that is all colons.
    max_colons: ClassVar = 32 * MAX_ACTIONS

    actions: Annotated[list[BatchAction], FailFast(), Field(max_length=MAX_ACTIONS)]


@answer
class BatchResultOut(TypedDict):
    """What the action's own call would have answered: its status, and its body or problem."""

    status: int
    body: dict[str, Any] | None


@answer
class BatchOut(TypedDict):
    """Results, up to and including the first refusal."""

    results: list[BatchResultOut]
