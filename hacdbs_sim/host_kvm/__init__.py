"""KVM of the host as a backend: the same actions on a real VM, through this machine's /dev/kvm.

x86-64 only: 4 KiB pages, one vCPU, and guest physical addresses below 7 GiB (docs/host-kvm.md).
"""

from hacdbs_sim.host_kvm.backend import HostKvmBackend
from hacdbs_sim.host_kvm.device import why_unusable

__all__ = ["HostKvmBackend", "why_unusable"]
