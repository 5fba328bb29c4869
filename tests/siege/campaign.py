"""A siege: all attacks at once, a bystander that must be served, then everything is deleted."""

import subprocess
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from tests.siege.attacks import TIB, Siege, begin
from tests.siege.cage import LIMIT_BYTES, caged_service
from tests.support.serving import Serving
from tests.support.wire import Calls, NoAnswerError

JOIN_SECONDS: Final = 60.0
"""How long an attacker may take to end."""

SETTLING_SECONDS: Final = 60.0
"""How long memory may take to come back: the service returns it every 10 s."""

AIM_BYTES: Final = 30 << 20
RETURNED_BYTES: Final = 100 << 20
"""How much more should, and may, be resident at the end than at the start: 38 to 70 MiB were."""

STEP_SECONDS: Final = 15.0
PAUSE_SECONDS: Final = 0.1


@dataclass(eq=False)
class Outcome:
    """What a siege showed."""

    cage: str = ""
    start_bytes: int = 0
    peak_bytes: int = 0
    end_bytes: int = 0
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    served: int = 0
    """Calls of the bystander."""
    ready_seconds: list[float] = field(default_factory=list)
    """How long each call of /readyz took."""
    faults: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Fail if the service did not hold."""
        assert not self.faults, self.faults[:10]
        assert self.served > 0
        assert self.peak_bytes < LIMIT_BYTES, self.peak_bytes
        assert self.end_bytes < self.start_bytes + RETURNED_BYTES, (
            self.start_bytes,
            self.end_bytes,
        )


def run(seconds: float) -> Outcome:
    """Besiege a service for so long."""
    outcome = Outcome()
    with caged_service() as (service, cage), Calls(service.url) as calls:
        outcome.cage = cage.name
        limits = calls.made("GET", "/v1/capabilities")["limits"]
        outcome.start_bytes = service.rss_bytes
        siege = Siege(service.port, limits, _shared_vm(calls))
        threads = begin(siege)
        try:
            _stand_by(calls, seconds, outcome)
        except (NoAnswerError, OSError, AssertionError) as error:
            outcome.faults.append(f"the bystander was not served: {error!r}")
        finally:
            siege.end()
        for thread in threads:
            thread.join(JOIN_SECONDS)
        outcome.statuses = siege.statuses
        outcome.faults += siege.faults
        if _has_ended(service, outcome):
            outcome.faults.append(f"the service ended with {service.process.returncode}")
        else:
            _delete_everything(calls)
            outcome.peak_bytes = service.peak_bytes
            outcome.end_bytes = _settled(service, outcome.start_bytes + AIM_BYTES)
        if said := service.log.read_text(errors="replace"):
            outcome.faults.append(f"the service logged: {said[:4000]}")
    return outcome


def _shared_vm(calls: Calls) -> str:
    """Make a VM with a log of 1 TiB, of which every page is dirty."""
    slot = {"slot": 0, "guest_phys_addr": 0, "memory_size": TIB, "flags": ["LOG_DIRTY_PAGES"]}
    made = calls.made("POST", "/v1/vms", {"ipa_bits": 42, "memslots": [slot]})
    path = f"/v1/vms/{made['vm_id']}"
    calls.made("POST", f"{path}/host/write", {"gfn_ranges": [[0, TIB >> 12]]})
    return path


def _has_ended(service: Serving, outcome: Outcome) -> bool:
    """Whether the service is gone; one that has just been killed may take a moment."""
    if outcome.faults:
        with suppress(subprocess.TimeoutExpired):
            service.process.wait(1)
    return service.process.poll() is not None


def _stand_by(calls: Calls, seconds: float, outcome: Outcome) -> None:
    """Use the service as a bystander does, and compare what it answers."""
    calls.made("POST", "/v1/sessions", {"session_id": "bystander"})
    slot = {"slot": 0, "guest_phys_addr": 0, "memory_size": 64 << 12, "flags": ["LOG_DIRTY_PAGES"]}
    made = calls.made("POST", "/v1/vms", {"session_id": "bystander", "memslots": [slot]})
    path = f"/v1/vms/{made['vm_id']}"
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        asked = time.monotonic()
        calls.made("GET", "/readyz")
        outcome.ready_seconds.append(time.monotonic() - asked)
        gfn = outcome.served % 64
        calls.made("POST", f"{path}/guest/write", {"gfns": [gfn]})
        taken = calls.made("POST", f"{path}/memslots/0/dirty-log/get")
        if taken["page_ranges"] != [[gfn, 1]]:
            outcome.faults.append(f"the bystander wrote {gfn} and got {taken['page_ranges']}")
        outcome.served += 1
        time.sleep(PAUSE_SECONDS)


def _delete_everything(calls: Calls) -> None:
    for session in calls.made("GET", "/v1/sessions?limit=1000")["sessions"]:
        name = session["session_id"]
        if name == "default":
            calls.made("POST", "/v1/sessions/default/reset")
        else:
            calls.made("DELETE", f"/v1/sessions/{name}")


def _settled(service: Serving, wanted_bytes: int) -> int:
    """Return what is resident once that is as wanted, or does not shrink any more."""
    give_up_at = time.monotonic() + SETTLING_SECONDS
    resident, before = service.rss_bytes, 2 * service.rss_bytes
    while wanted_bytes < resident < before and time.monotonic() < give_up_at:
        time.sleep(STEP_SECONDS)
        before, resident = resident, service.rss_bytes
    return resident
