"""Which backend a VM gets: the simulated machine, or the host's KVM where the service may use it."""

from collections.abc import Callable
from functools import partial
from typing import Final

from hacdbs_sim import model
from hacdbs_sim.model.errors import BackendUnavailableError, NotSupportedByBackendError
from hacdbs_sim.sim.machine import Machine
from hacdbs_sim.traces.recording import builtin_intervals

MakeBackend = Callable[[Callable[[], None]], model.Backend]
"""Makes a backend; the argument is what `VmRuntime` says."""

_ONLY_SIMULATED: Final = {
    "faults": "faults",
    "workloads": "workloads",
    "track_versions": "page versions",
}
"""Fields of a VM that only the simulated backend has, and what they stand for."""


def backend_maker(spec: model.VmSpec, config: model.VmConfig, *, host_kvm: bool) -> MakeBackend:
    """Return what makes the backend that a VM asks for, if the service has it."""
    if spec.backend is model.BackendName.SIMULATED:
        return partial(Machine, config, builtin_intervals)
    if not host_kvm:
        detail = (
            f"the backend {spec.backend} is switched off: start the service with HACDBS_HOST_KVM=1"
        )
        raise BackendUnavailableError(detail, field="backend", value=spec.backend)
    for field, what in _ONLY_SIMULATED.items():
        if getattr(spec, field):
            raise NotSupportedByBackendError(
                f"the backend {spec.backend} has no {what}", field=field
            )
    # Here, for only Linux has what it imports
    from hacdbs_sim.host_kvm import HostKvmBackend  # noqa: PLC0415

    return lambda _: HostKvmBackend(config)
