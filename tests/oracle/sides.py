"""The machines under comparison, both by the same actions; `service.py` has the service over HTTP."""

from dataclasses import replace
from typing import Any

from typing_extensions import override

from hacdbs_sim.host_kvm import HostKvmBackend, device
from hacdbs_sim.model import (
    AccessOutcome,
    Action,
    Backend,
    Bitmap,
    DirtyLog,
    GuestRead,
    GuestWrite,
    SetMemslot,
    VmConfig,
)
from hacdbs_sim.model.errors import KvmError
from tests.oracle.answers import Answer
from tests.oracle.ground import HostFacts
from tests.oracle.setups import Setup
from tests.support.machine import Machine


class BackendSide:
    """A backend: every slot has the backing of the sequence."""

    def __init__(self, backend: Backend, setup: Setup) -> None:
        self._backend = backend
        self._backing = setup.backing

    def close(self) -> None:
        """Nothing to free, as a rule."""

    def perform(self, action: Action[Any]) -> Answer:
        """Perform an action; return all that does not depend on the architecture."""
        try:
            outcome = self._outcome(action)
        except KvmError as error:
            return Answer(str(error.errno or error.code))
        match outcome:
            case DirtyLog(bitmap=Bitmap(words)):
                return Answer(bitmap=words.astype("<u8").tobytes())
            case AccessOutcome() if isinstance(action, GuestWrite | GuestRead):
                return Answer(mmio_exits=outcome.mmio_exits)
            case _:
                return Answer()

    def _outcome(self, action: Action[Any]) -> object:
        if isinstance(action, SetMemslot):
            return self._backend.perform(replace(action, backing=self._backing))
        return self._backend.perform(action)


class CoreSide(BackendSide):
    """The simulated machine."""

    def __init__(self, setup: Setup) -> None:
        machine = Machine(setup.config())
        for fault in setup.faults():
            machine.perform(fault)
        super().__init__(machine, setup)


class RealSide(BackendSide):
    """A VM of the host's KVM, which knows the backing, and nothing else of a setup."""

    def __init__(self, setup: Setup) -> None:
        self._kvm = HostKvmBackend(VmConfig())
        super().__init__(self._kvm, setup)

    @override
    def close(self) -> None:
        """Destroy the VM."""
        self._kvm.close()


def host_facts() -> HostFacts:
    """Return what of the host's KVM the common ground depends on."""
    kvm = device.Kvm()
    try:
        return HostFacts(
            nr_memslots=kvm.check_extension(device.CAP_NR_MEMSLOTS),
            address_spaces=max(kvm.check_extension(device.CAP_MULTI_ADDRESS_SPACE), 1),
        )
    finally:
        kvm.close()
