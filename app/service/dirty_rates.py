"""Measurements of dirty rates: who lets the time pass that they take.

The guest of a VM runs once only. Beside a migration it is the migration's steps that run it, and end a
measurement that is due; without one the measurement runs it, piece by piece, so that other calls on the
VM are served in between. A measurement that outlives a migration goes on by itself.
"""

from contextlib import suppress
from functools import partial

from hacdbs_sim.model import CalcDirtyRate, DirtyRateInfo, RunGuest
from hacdbs_sim.model.errors import NotSupportedByBackendError

from .background import Background
from .errors import NoSuchVmError
from .migrations import Migrations
from .vm_runtime import INLINE_WORK, VmRuntime


class DirtyRates:
    """The measurements of one service that run by themselves; used on the event loop only.

    Args:
        migrations: The service's migrations.
        background: Where they run.
    """

    def __init__(self, migrations: Migrations, background: Background) -> None:
        self._migrations = migrations
        self._background = background

    async def measure(
        self, session_id: str, vm_id: str, runtime: VmRuntime, request: CalcDirtyRate
    ) -> DirtyRateInfo:
        """Measure the dirty rate of a VM; beside a migration, begin to.

        Raises:
            NotSupportedByBackendError: Its guest does not run in virtual time.
            NoSuchVmError: It was deleted meanwhile.
            KvmError: As `DirtyRate.start`.
        """
        if not runtime.supports(RunGuest):
            raise NotSupportedByBackendError(
                f"the dirty rate of a VM of the backend {runtime.capabilities.backend} cannot be"
                " measured in virtual time: its guest does not run by itself",
                field="vm_id",
            )
        # It goes on where the caller does not wait for it
        await self._background.to_the_end(self._measure(session_id, vm_id, runtime, request))
        if runtime.is_deleted:
            raise NoSuchVmError("the VM was deleted while it was measured", field="vm_id")
        return runtime.dirty_rate.info

    def go_on(
        self, session_id: str, vm_id: str, runtime: VmRuntime, *, is_paused: bool = False
    ) -> None:
        """Let the time pass that a measurement has left, as long as no migration does.

        Args:
            session_id: The VM's session.
            vm_id: The VM's id.
            runtime: The VM.
            is_paused: Whether its guest is paused.
        """
        self._background.begin(self._let_time_pass(session_id, vm_id, runtime, is_paused=is_paused))

    async def _measure(
        self, session_id: str, vm_id: str, runtime: VmRuntime, request: CalcDirtyRate
    ) -> None:
        start = partial(runtime.dirty_rate.start, runtime, request)
        await runtime.run(start, work=lambda: INLINE_WORK + 1)
        await self._let_time_pass(session_id, vm_id, runtime, is_paused=False)

    async def _let_time_pass(
        self, session_id: str, vm_id: str, runtime: VmRuntime, *, is_paused: bool
    ) -> None:
        def piece() -> None:
            if runtime.tracking.sender is None:  # a migration may have begun while this one waited
                runtime.dirty_rate.run(runtime, is_paused=is_paused)

        with suppress(NoSuchVmError):
            while runtime.dirty_rate.is_measuring and not runtime.is_deleted:
                if self._migrations.running_of(session_id, vm_id) is not None:
                    return
                await runtime.run(piece, work=lambda: INLINE_WORK + 1)
