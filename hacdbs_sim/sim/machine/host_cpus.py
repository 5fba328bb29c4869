"""The host's CPUs, each with its HACDBS unit, and whose turn it is."""

from hacdbs_sim.model import CpuInfo
from hacdbs_sim.model.errors import LastCpuError, NoSuchCpuError
from hacdbs_sim.sim.arm64.hacdbs import Unit


class HostCpus:
    """All host CPUs; calls of the hook that name none take the online ones in turn."""

    def __init__(self, cpus: int, *, built: bool) -> None:
        self._units = tuple(Unit(cpu, built=built) for cpu in range(cpus))
        self._turn = 0

    def unit(self, cpu: int) -> Unit:
        """Return a CPU's unit (NoSuchCpuError if there is none)."""
        self.check(cpu)
        return self._units[cpu]

    def check(self, cpu: int | None) -> None:
        """Refuse a CPU that does not exist; None names none."""
        if cpu is not None and not 0 <= cpu < len(self._units):
            raise NoSuchCpuError.absent("cpu", cpu, count=len(self._units), what="host CPU")

    def for_hook(self, cpu: int | None) -> Unit:
        """Return the CPU that a call runs on: the one named, or the one whose turn it is."""
        return self._units[self._take_turn() if cpu is None else cpu]

    def views(self) -> tuple[CpuInfo, ...]:
        """Return the state of all CPUs."""
        return tuple(unit.view() for unit in self._units)

    def set_online(self, cpu: int, *, online: bool) -> CpuInfo:
        """Plug a CPU in or out, but for the last one that is online (EBUSY)."""
        unit = self.unit(cpu)
        others = any(other.online for other in self._units if other is not unit)
        if not online and not others:
            raise LastCpuError(
                f"cpu {cpu} must stay online: it is the last one", field="online", value=cpu
            )
        unit.set_online(online=online)
        return unit.view()

    def _take_turn(self) -> int:
        """Return the first online CPU at or after the turn, and move the turn past it."""
        cpu = self._turn
        while not self._units[cpu].online:  # at least one is
            cpu = (cpu + 1) % len(self._units)
        self._turn = (cpu + 1) % len(self._units)
        return cpu
