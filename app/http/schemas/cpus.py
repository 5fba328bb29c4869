"""Host CPUs and their HACDBS units."""

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from typing_extensions import TypedDict

from hacdbs_sim.sim.actions import UnitView
from hacdbs_sim.sim.arm64.sysregs import ErrReason, Hacdbsbr, Hacdbscons

from .base import Request, answer
from .render import hex_of


class CpuIn(Request):
    """Whether the CPU is plugged in."""

    online: bool


ErrReasonName: TypeAlias = Literal["NOF", "STRUCTF", "IPAF", "IPAHACF"]

_ERR_REASONS: Final[Mapping[ErrReason, ErrReasonName]] = {
    ErrReason.NOF: "NOF",
    ErrReason.STRUCTF: "STRUCTF",
    ErrReason.IPAF: "IPAF",
    ErrReason.IPAHACF: "IPAHACF",
}


@answer
class BrOut(TypedDict):
    """HACDBSBR_EL2: where the unit's array is, and whether it runs."""

    raw: str
    baddr: str
    en: bool
    sz: int


@answer
class ConsOut(TypedDict):
    """HACDBSCONS_EL2: why the unit stopped, and at which entry."""

    raw: str
    err_reason: ErrReasonName
    index: int


@answer
class CpuOut(TypedDict):
    """A host CPU and its unit."""

    cpu: int
    online: bool
    status: Literal["OFF", "IDLE", "RUNNING", "ERROR"]
    hacdbsbr_el2: BrOut
    hacdbscons_el2: ConsOut
    interrupts: int
    runs: int
    entries: int
    cleaned: int


@answer
class CpuListOut(TypedDict):
    """Host CPUs, by number."""

    cpus: list[CpuOut]
    next_page_token: str


def cpu_out(view: UnitView) -> CpuOut:
    """Project a CPU, its registers raw and by field."""
    br = Hacdbsbr.decode(view.hacdbsbr_el2)
    cons = Hacdbscons.decode(view.hacdbscons_el2)
    return {
        "cpu": view.cpu,
        "online": view.online,
        "status": view.status.value,
        "hacdbsbr_el2": {
            "raw": hex_of(view.hacdbsbr_el2),
            "baddr": hex_of(br.baddr),
            "en": br.en,
            "sz": br.sz,
        },
        "hacdbscons_el2": {
            "raw": hex_of(view.hacdbscons_el2),
            "err_reason": _ERR_REASONS[cons.err_reason],
            "index": cons.index,
        },
        "interrupts": view.interrupts,
        "runs": view.runs,
        "entries": view.entries,
        "cleaned": view.cleaned,
    }
