"""calc-dirty-rate and query-dirty-rate, which take real time as QEMU's do."""

import asyncio
import time
from contextlib import suppress
from typing import Any, Final

from hacdbs_sim.client import AsyncVm, ClientError
from hacdbs_sim.model import CalcDirtyRate, DirtyRateInfo, DirtyRateMode
from hacdbs_sim.model.dirty_rate import (
    DEFAULT_SAMPLE_PAGES,
    MAX_DURATION_NS,
    MAX_SAMPLE_PAGES,
    MIN_DURATION_NS,
    MIN_SAMPLE_PAGES,
)
from hacdbs_sim.qmp.errors import QmpError
from hacdbs_sim.qmp.guest import Guest

MODES: Final = ("page-sampling", "dirty-ring", "dirty-bitmap")
UNITS: Final = {"second": 1_000_000_000, "millisecond": 1_000_000}
_NS_PER_MS: Final = 1_000_000


class DirtyRates:
    """The measurements of one side's guest.

    Args:
        guest: Whose.
        pace: Real seconds that a virtual second takes.
    """

    def __init__(self, guest: Guest, pace: float) -> None:
        self._guest = guest
        self._pace = pace
        self._mode = MODES[0]
        self._sample_pages = 0
        self._started_seconds = 0
        self._duration_ns = 0
        self._info: DirtyRateInfo | None = None
        self._measuring: asyncio.Task[None] | None = None

    def start(
        self,
        calc_time: int,
        calc_time_unit: str = "second",
        sample_pages: int | None = None,
        mode: str = MODES[0],
    ) -> None:
        """Begin to measure.

        Raises:
            QmpError: Something is measured already, or an argument is out of its bounds.
        """
        if self._measuring is not None:
            raise QmpError("the dirty rate is already being measured.")
        duration_ns = calc_time * UNITS[calc_time_unit]
        if not MIN_DURATION_NS <= duration_ns <= MAX_DURATION_NS:
            low, high = MIN_DURATION_NS // _NS_PER_MS, MAX_DURATION_NS // _NS_PER_MS
            raise QmpError(f"Calculation time is out of range [{low}ms, {high}ms].")
        if sample_pages is not None and mode != MODES[0]:
            raise QmpError("sample-pages is used only in page-sampling mode")
        sampled = DEFAULT_SAMPLE_PAGES if sample_pages is None else sample_pages
        if not MIN_SAMPLE_PAGES <= sampled <= MAX_SAMPLE_PAGES:
            raise QmpError(f"sample-pages is out of range[{MIN_SAMPLE_PAGES}, {MAX_SAMPLE_PAGES}].")
        if mode == "dirty-ring":
            raise QmpError("mode dirty-ring is not enabled, use other method instead.")
        request = CalcDirtyRate(
            duration_ns=duration_ns,
            mode=DirtyRateMode(mode.replace("-", "_")),
            sample_pages_per_gib=sample_pages,
        )
        vm = self._guest.here
        self._mode, self._duration_ns, self._info = mode, duration_ns, None
        self._sample_pages = sampled
        self._started_seconds = int(time.time())
        self._measuring = asyncio.get_running_loop().create_task(self._measure(vm, request))

    async def _measure(self, vm: AsyncVm, request: CalcDirtyRate) -> None:
        began = time.monotonic()
        try:
            with suppress(ClientError):  # then there is no rate
                self._info = await vm.calc_dirty_rate(
                    request.duration_ns,
                    mode=request.mode.value,
                    sample_pages_per_gib=request.sample_pages_per_gib,
                )
            left = request.duration_ns / 1e9 * self._pace - (time.monotonic() - began)
            await asyncio.sleep(max(left, 0.0))
            with suppress(ClientError):  # beside a migration it has only begun
                self._info = await vm.query_dirty_rate()
        finally:
            self._measuring = None

    def query(self, calc_time_unit: str = "second") -> dict[str, Any]:
        """Return what query-dirty-rate returns."""
        found: dict[str, Any] = {
            "status": "unstarted",
            "start-time": self._started_seconds,
            "calc-time": self._duration_ns // UNITS[calc_time_unit],
            "calc-time-unit": calc_time_unit,
            "sample-pages": self._sample_pages,
            "mode": self._mode,
        }
        if self._measuring is not None:
            found["status"] = "measuring"
        elif self._duration_ns:
            rate = None if self._info is None else self._info.dirty_rate
            found["status"] = "measured"
            found["dirty-rate"] = -1 if rate is None else rate
            if self._mode != MODES[0]:
                found["sample-pages"] = 0
        return found

    def close(self) -> None:
        """End what is measured: the process ends."""
        if self._measuring is not None:
            self._measuring.cancel()
