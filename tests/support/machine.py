"""The machine with a method for each of its queries, as tests read it."""

from typing import Any

from hacdbs_sim import model
from hacdbs_sim.sim import machine


class Machine(machine.Machine):
    """A machine whose queries are methods."""

    def memslot(self, slot: int) -> model.MemslotInfo:
        return self.query(model.GetMemslot(slot=slot))

    def memslots(self) -> tuple[model.MemslotInfo, ...]:
        return self.query(model.ListMemslots())

    def peek_dirty_log(self, slot: int) -> model.DirtyLog:
        return self.query(model.PeekDirtyLog(slot=slot))

    def cpu(self, cpu: int) -> model.CpuInfo:
        return self.query(model.GetCpu(cpu=cpu))

    def cpus(self) -> tuple[model.CpuInfo, ...]:
        return self.query(model.ListCpus())

    def fault(self, fault_id: str) -> model.FaultInfo:
        return self.query(model.GetFault(fault_id=fault_id))

    def faults(self) -> tuple[model.FaultInfo, ...]:
        return self.query(model.ListFaults())

    def fault_hits(self) -> dict[model.FaultType, int]:
        return self.query(model.CountFaultHits())

    def workload(self, workload_id: str) -> model.WorkloadInfo:
        return self.query(model.GetWorkload(workload_id=workload_id))

    def clock(self) -> model.Clock:
        return self.query(model.GetClock())

    def versions(self, slot: int, first_page: int = 0, num_pages: int | None = None) -> Any:
        query = model.CopyVersions(slot=slot, first_page=first_page, num_pages=num_pages)
        return self.query(query)

    @property
    def last_version(self) -> int | None:
        return self.query(model.GetLastVersion())

    def heat(self, slot: int, bins: int, **window: int) -> model.Heat:
        return self.query(model.GetHeat(slot=slot, bins=bins, **window))

    def counters(self) -> dict[str, int]:
        return self.query(model.GetCounters())

    def workloads(self) -> tuple[model.WorkloadInfo, ...]:
        return self.query(model.ListWorkloads())

    def writes_of_run(self, action: model.RunGuest) -> int:
        return self._guest_side.guest.writes_of_run(action.duration_ns, action.throttle_percent)
