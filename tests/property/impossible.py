"""Actions that are refused whatever a machine holds."""

from typing import Any, Final

from hacdbs_sim.model import (
    Action,
    AddUniform,
    AdvanceClock,
    ClearDirtyLog,
    DeleteFault,
    DeleteWorkload,
    FaultType,
    GetDirtyLog,
    RunGuest,
    SetCpu,
    SetMemslot,
    UpdateVm,
)
from tests.support.faults import fault
from tests.support.strategies import page_ranges

IMPOSSIBLE: Final[tuple[Action[Any], ...]] = (
    SetMemslot(slot=32767, guest_phys_addr=0, memory_size=1 << 20),
    SetMemslot(slot=-1, guest_phys_addr=0, memory_size=1 << 20),
    SetMemslot(slot=5, guest_phys_addr=0, memory_size=1 << 20, flags=4),
    SetMemslot(slot=5, guest_phys_addr=0, memory_size=100),
    SetMemslot(slot=5, guest_phys_addr=0, memory_size=1 << 64),
    SetMemslot(slot=5, guest_phys_addr=100, memory_size=1 << 20),
    SetMemslot(slot=5, guest_phys_addr=0, memory_size=1 << 20, userspace_addr=7),
    SetMemslot(
        slot=5, guest_phys_addr=0, memory_size=1 << 20, userspace_addr=(1 << 52) - (1 << 16)
    ),
    SetMemslot(
        slot=5, guest_phys_addr=(1 << 64) - (1 << 20), memory_size=1 << 20, userspace_addr=0
    ),
    SetMemslot(slot=5, guest_phys_addr=0, memory_size=1 << 50, userspace_addr=0),
    SetMemslot(slot=5, guest_phys_addr=0, memory_size=1 << 20, backing=12345),
    SetMemslot(slot=5, guest_phys_addr=0, memory_size=0, backing=12345),
    SetMemslot(slot=5, guest_phys_addr=1 << 40, memory_size=1 << 20),
    UpdateVm(manual_dirty_log_protect2=2),
    UpdateVm(manual_dirty_log_protect2=4),
    UpdateVm(eager_split_chunk_size=8192),
    UpdateVm(),
    UpdateVm(manual_dirty_log_protect2=1, eager_split_chunk_size=0),
    GetDirtyLog(slot=40000),
    GetDirtyLog(slot=9),
    GetDirtyLog(slot=9, cpu=-1),
    ClearDirtyLog(slot=40000, pages=page_ranges()),
    ClearDirtyLog(slot=9, pages=page_ranges(), first_page=63),
    ClearDirtyLog(slot=9, pages=page_ranges()),
    SetCpu(cpu=4, online=False),
    DeleteFault(fault_id="f0"),
    fault(FaultType.IPAF, when={"index": 1 << 20}),
    fault(FaultType.IPAF, when={"index": -1}),
    fault(FaultType.IPAF, when={"gfn": 5, "batch": 0}),
    fault(FaultType.IPAF, when={"gfn": 5, "index": 0}),
    fault(FaultType.IPAF, when={"gfn": 1 << 40}),
    fault(FaultType.IPAF, when={"cpu": 512}),
    fault(FaultType.UNIT_BUSY, when={"cpu": 512}),
    AddUniform(slot=9, writes_per_second=1),
    AddUniform(slot=0, writes_per_second=1, vcpu=512),
    AddUniform(slot=40000, writes_per_second=1),
    DeleteWorkload(workload_id="w0"),
    AdvanceClock(duration_ns=0),
    AdvanceClock(duration_ns=10**15 + 1),
    RunGuest(duration_ns=0),
    RunGuest(duration_ns=1, throttle_percent=100),
    RunGuest(duration_ns=1, throttle_percent=-1),
)
"""What is refused whatever the machine holds."""
