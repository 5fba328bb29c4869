"""The service over HTTP, as a side of a comparison."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import httpx

from app.main import create_app
from app.settings import LogLevel, Settings
from hacdbs_sim.model import (
    Action,
    Bitmap,
    ClearDirtyLog,
    GetDirtyLog,
    GuestRead,
    GuestWrite,
    HostUnmap,
    HostWrite,
    SetMemslot,
    UpdateVm,
)
from tests.oracle.answers import Answer
from tests.oracle.ground import LOG, READONLY, flags_of, gfns_of
from tests.oracle.setups import Setup

_OCTETS: Final = {"content-type": "application/octet-stream"}
_ACCESS_PATHS: Final[Mapping[type[Action[Any]], str]] = {
    GuestWrite: "guest/write",
    GuestRead: "guest/read",
    HostWrite: "host/write",
    HostUnmap: "host/unmap",
}


class HttpService:
    """The whole service in this process, spoken to as a client does."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        app = create_app(Settings(log_level=LogLevel.ERROR))
        transport = httpx.ASGITransport(app)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://localhost")

    def start(self, setup: Setup) -> "HttpSide":
        """Make a VM."""
        return HttpSide(self, setup)

    def close(self) -> None:
        """Close the client and its event loop."""
        self._runner.run(self._client.aclose())
        self._runner.close()

    def call(self, method: str, path: str, **rest: Any) -> httpx.Response:
        """Make one request."""
        return self._runner.run(self._client.request(method, path, **rest))


class HttpSide:
    """A VM of the service."""

    def __init__(self, service: HttpService, setup: Setup) -> None:
        self._service = service
        self._backing = setup.backing
        made = service.call("POST", "/v1/vms", json=setup.body())
        assert made.status_code == 201, made.text
        self._path: str = made.headers["location"]

    def close(self) -> None:
        """Delete the VM."""
        self._service.call("DELETE", self._path)

    def perform(self, action: Action[Any]) -> Answer:
        """Perform an action by one request."""
        response = self._response(action)
        if response.is_error:
            problem = response.json()
            return Answer(problem.get("errno", f"{response.status_code} {problem['code']}"))
        match action:
            case GetDirtyLog():
                return Answer(bitmap=response.content)
            case GuestWrite() | GuestRead():
                return Answer(mmio_exits=response.json()["mmio_exits"])
            case _:
                return Answer()

    def _response(self, action: Action[Any]) -> httpx.Response:
        call, slots = self._service.call, f"{self._path}/memslots"
        match action:
            case SetMemslot():
                return call("PUT", f"{slots}/{action.slot}", json=self._region(action))
            case UpdateVm():
                body = {"manual_dirty_log_protect2": flags_of(action)}
                return call("PATCH", self._path, json=body)
            case GuestWrite() | GuestRead() | HostWrite() | HostUnmap():
                octets = gfns_of(action).astype("<u8").tobytes()
                path = f"{self._path}/{_ACCESS_PATHS[type(action)]}"
                return call("POST", path, content=octets, headers=_OCTETS)
            case GetDirtyLog():
                accept = {"accept": "application/octet-stream"}
                return call("POST", f"{slots}/{action.slot}/dirty-log/get", headers=accept)
            case ClearDirtyLog(pages=Bitmap(words), num_pages=int(num_pages)):
                return call(
                    "POST",
                    f"{slots}/{action.slot}/dirty-log/clear",
                    params={"first_page": action.first_page, "num_pages": num_pages},
                    content=words.astype("<u8").tobytes(),
                    headers=_OCTETS,
                )
            case _:
                raise AssertionError(f"no sequence has {action}")

    def _region(self, action: SetMemslot) -> dict[str, Any]:
        names = {LOG: "LOG_DIRTY_PAGES", READONLY: "READONLY"}
        bits = [1 << bit for bit in range(32) if action.flags >> bit & 1]
        return {
            "guest_phys_addr": f"{action.guest_phys_addr:#x}",
            "memory_size": action.memory_size,
            "userspace_addr": f"{action.userspace_addr:#x}",
            "flags": [names.get(bit, f"UNKNOWN_{bit:#x}") for bit in bits],
            "backing": self._backing,
        }
