"""The HTTP calls of the demo, and the bitmaps and gfns they carry as octets."""

import json
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import httpx
import numpy as np

from app.cli.ledger import PageMask, Pages

OCTETS: Final = "application/octet-stream"
REPORT_HEADER: Final = "Dirty-Log-Report"
TIMEOUT_SECONDS: Final = 30.0


class RefusedError(Exception):
    """The service refused a call; `code` and `errno` are those of its problem document."""

    def __init__(self, call: str, status: int, problem: dict[str, Any]) -> None:
        self.code = problem.get("code")
        self.errno = problem.get("errno")
        super().__init__(f"{call}: {status} {problem.get('detail', problem)}")


@dataclass(frozen=True, slots=True)
class Cleaning:
    """What the service says of how a call cleaned pages: by the unit, and by software."""

    cpu: int | None = None
    errno: str | None = None
    error: str | None = None
    hardware: int = 0
    software: int = 0
    requeued: int = 0

    @classmethod
    def of(cls, report: dict[str, Any]) -> Self:
        """Read the report of a get or a clear."""
        accelerator = report["accelerator"] or {}
        return cls(
            cpu=accelerator.get("cpu"),
            errno=accelerator.get("errno"),
            error=(accelerator.get("error") or {}).get("reason"),
            hardware=accelerator.get("cleaned", 0),
            software=report["software"]["pages"],
            requeued=accelerator.get("requeued", 0),
        )


def bitmap_to_octets(bitmap: PageMask) -> bytes:
    """Pages as the ioctl's bitmap: little-endian 64-bit words, bit 0 first."""
    octets = np.packbits(bitmap, bitorder="little").tobytes()
    return octets + bytes(-len(octets) % 8)


def bitmap_from_octets(octets: bytes, npages: int) -> PageMask:
    """The ioctl's bitmap as one truth per page."""
    bits = np.unpackbits(np.frombuffer(octets, dtype=np.uint8), bitorder="little")
    return bits[:npages].astype(np.bool_)


class Vm:
    """One VM of the service with one memslot, by its calls."""

    def __init__(self, http: httpx.Client, vm_id: str, *, slot: int = 0) -> None:
        self._http = http
        self._slot = slot
        self._path = f"/v1/vms/{vm_id}"
        self._log_path = f"{self._path}/memslots/{slot}/dirty-log"

    def set_memslot(self, **fields: object) -> None:
        """KVM_SET_USER_MEMORY_REGION."""
        self._json("PUT", f"{self._path}/memslots/{self._slot}", fields)

    def set_manual_protect(self, flags: int) -> None:
        """KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2."""
        self._json("PATCH", self._path, {"manual_dirty_log_protect2": flags})

    def set_cpu_online(self, cpu: int, *, online: bool) -> None:
        """Plug a host CPU in or out."""
        self._json("PATCH", f"{self._path}/cpus/{cpu}", {"online": online})

    def guest_write(self, gfns: Pages, *, vcpu: int) -> None:
        """Write pages as a vCPU."""
        self._send(
            "POST",
            f"{self._path}/guest/write",
            params={"vcpu": vcpu},
            content=gfns.astype("<u8").tobytes(),
            headers={"Content-Type": OCTETS},
        )

    def get_dirty_log(self, npages: int, *, cpu: int | None = None) -> tuple[PageMask, Cleaning]:
        """KVM_GET_DIRTY_LOG, as the ioctl's own bytes."""
        answer = self._send(
            "POST",
            f"{self._log_path}/get",
            params=_given(cpu=cpu),
            headers={"Accept": OCTETS},
        )
        cleaning = Cleaning.of(json.loads(answer.headers[REPORT_HEADER]))
        return bitmap_from_octets(answer.content, npages), cleaning

    def clear_dirty_log(
        self, bitmap: PageMask, *, first_page: int, cpu: int | None = None
    ) -> Cleaning:
        """KVM_CLEAR_DIRTY_LOG of the window that `bitmap` begins at `first_page`."""
        answer = self._send(
            "POST",
            f"{self._log_path}/clear",
            params=_given(first_page=first_page, num_pages=len(bitmap), cpu=cpu),
            content=bitmap_to_octets(bitmap),
            headers={"Content-Type": OCTETS},
        )
        return Cleaning.of(answer.json())

    def arm_fault(self, fault: dict[str, Any]) -> str:
        """Arm a fault; give its id."""
        return str(self._json("POST", f"{self._path}/faults", fault)["fault_id"])

    def disarm_fault(self, fault_id: str) -> int:
        """Take a fault off; give how often it hit."""
        path = f"{self._path}/faults/{fault_id}"
        hits = int(self._send("GET", path).json()["hits"])
        self._send("DELETE", path)
        return hits

    def _json(self, method: str, path: str, body: object) -> dict[str, Any]:
        answer: dict[str, Any] = self._send(method, path, json=body).json()
        return answer

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:  # noqa: ANN401 - httpx's own arguments
        return checked(self._http.request(method, path, **request))


class Session:
    """A session of its own for one VM, deleted with all it holds at the end."""

    def __init__(self, http: httpx.Client, session_id: str) -> None:
        self._http = http
        self.session_id = session_id

    def __enter__(self) -> Self:
        """Make the session."""
        checked(self._http.post("/v1/sessions", json={"session_id": self.session_id}))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Delete the session; after a failure, as far as the service still answers."""
        try:
            checked(self._http.delete(f"/v1/sessions/{self.session_id}"))
        except (httpx.HTTPError, RefusedError):
            if error is None:
                raise

    def create_vm(self, **fields: object) -> Vm:
        """Make a VM in the session."""
        body = {"session_id": self.session_id, **fields}
        return Vm(self._http, checked(self._http.post("/v1/vms", json=body)).json()["vm_id"])


def open_http(
    url: str, token: str | None = None, transport: httpx.BaseTransport | None = None
) -> httpx.Client:
    """Open a client of the service at a URL."""
    return httpx.Client(
        base_url=url,
        headers={} if token is None else {"Authorization": f"Bearer {token}"},
        timeout=TIMEOUT_SECONDS,
        transport=transport,
        trust_env=False,  # a proxy of the environment has no business with a service named here
    )


def checked(answer: httpx.Response) -> httpx.Response:
    """Give the answer, or raise what it refuses."""
    if answer.is_success:
        return answer
    try:
        problem = answer.json()
    except ValueError:
        problem = {"detail": answer.text[:200]}
    request = answer.request
    raise RefusedError(f"{request.method} {request.url.path}", answer.status_code, problem)


def _given(**params: int | None) -> dict[str, int]:
    return {name: value for name, value in params.items() if value is not None}
