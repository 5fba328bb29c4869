"""The machines under comparison: real KVM, the core, and the service over HTTP."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import httpx
import numpy as np

from app.main import create_app
from app.settings import LogLevel, Settings
from hacdbs_sim.model.errors import KvmError
from hacdbs_sim.sim.machine import Machine
from tests.oracle import guest, kvm
from tests.oracle.answers import Answer
from tests.oracle.ground import ARENA_BYTES, LOG, READONLY, USER_BASE, Access, HostFacts, gfns_of
from tests.oracle.setups import BACKINGS, Setup
from hacdbs_sim.model import AccessOutcome, Action, Bitmap, ClearDirtyLog, DirtyLog, GetDirtyLog, GuestRead, GuestWrite, HostUnmap, HostWrite, SetMemslot

_OCTETS: Final = {"content-type": "application/octet-stream"}
_ACCESS_PATHS: Final[Mapping[type[Action], str]] = {
    GuestWrite: "guest/write",
    GuestRead: "guest/read",
    HostWrite: "host/write",
    HostUnmap: "host/unmap",
}
_FILLER: Final = np.uint64(0xA5A5_A5A5_A5A5_A5A5)


class RealHost:
    """/dev/kvm with memory for its VMs: one VM at a time."""

    def __init__(self) -> None:
        self._kvm = kvm.Kvm()
        self._control = kvm.Arena(guest.SIZE_BYTES, huge=False)
        self._arenas = {
            backing: kvm.Arena(ARENA_BYTES, huge=backing > kvm.PAGE_SIZE) for backing in BACKINGS
        }
        self.facts = HostFacts(
            nr_memslots=self._kvm.check_extension(kvm.CAP_NR_MEMSLOTS),
            address_spaces=max(self._kvm.check_extension(kvm.CAP_MULTI_ADDRESS_SPACE), 1),
        )

    def start(self, setup: Setup) -> "RealSide":
        """Make a VM; real KVM knows the backing, and nothing else of a setup."""
        return RealSide(kvm.KvmVm(self._kvm, self._control), self._arenas[setup.backing])

    def close(self) -> None:
        """Close the device."""
        self._kvm.close()


class RealSide:
    """One VM of the real KVM."""

    def __init__(self, vm: kvm.KvmVm, arena: kvm.Arena) -> None:
        self._vm = vm
        self._arena = arena
        self._slots: dict[int, SetMemslot] = {}
        self._bitmap = np.empty(ARENA_BYTES // kvm.PAGE_SIZE // 64 + 1, np.uint64)

    def close(self) -> None:
        """Destroy the VM."""
        self._vm.close()

    def perform(self, action: Action) -> Answer:
        """Perform an action by ioctl, or by the guest."""
        match action:
            case SetMemslot():
                return self._set_memory_region(action)
            case SetManualProtect():
                return Answer(self._vm.enable_cap(kvm.CAP_MANUAL_DIRTY_LOG_PROTECT2, action.flags))
            case GuestWrite() | GuestRead() | HostWrite() | HostUnmap():
                return self._access(action)
            case GetDirtyLog():
                return self._get_dirty_log(action)
            case ClearDirtyLog(pages=Bitmap(words), num_pages=int(num_pages)):
                first_page = action.first_page
                return Answer(self._vm.clear_dirty_log(action.slot, first_page, num_pages, words))
            case _:
                raise AssertionError(f"real KVM has nothing like {action}")

    def _access(self, action: Access) -> Answer:
        gfns = gfns_of(action)
        match action:
            case GuestWrite():
                return Answer(mmio_exits=self._vm.touch(guest.Touch.WRITE, gfns))
            case GuestRead():
                return Answer(mmio_exits=self._vm.touch(guest.Touch.READ, gfns))
            case HostWrite():
                for gfn in gfns.tolist():
                    self._vm.write_as_host(gfn)
            case HostUnmap():
                for gfn in gfns.tolist():
                    self._unmap(gfn)
        return Answer()

    def _set_memory_region(self, action: SetMemslot) -> Answer:
        user = action.userspace_addr
        assert user is not None, "sequences say where a slot's memory is"
        if USER_BASE <= user < USER_BASE + ARENA_BYTES:
            user += self._arena.address - USER_BASE
        answer = Answer(
            self._vm.set_user_memory_region(
                action.slot, action.flags, action.guest_phys_addr, action.memory_size, user
            )
        )
        if answer.errno is None:
            self._slots[action.slot] = action
        return answer

    def _unmap(self, gfn: int) -> None:
        """Give back the memory behind a page: the kernel's MMU notifier has KVM unmap it first."""
        for region in self._slots.values():
            offset = gfn * kvm.PAGE_SIZE - region.guest_phys_addr
            if 0 <= offset < region.memory_size:
                assert region.userspace_addr is not None
                self._arena.discard(region.userspace_addr - USER_BASE + offset)

    def _get_dirty_log(self, action: GetDirtyLog) -> Answer:
        self._bitmap.fill(_FILLER)
        errno = self._vm.get_dirty_log(action.slot, self._bitmap)
        if errno is not None:
            return Answer(errno)
        words = -(-self._slots[action.slot].memory_size // kvm.PAGE_SIZE // 64)
        assert (self._bitmap[words:] == _FILLER).all(), "the bitmap has ALIGN(npages, 64) bits"
        return Answer(bitmap=self._bitmap[:words].tobytes())


class CoreSide:
    """The simulated machine, by its actions."""

    def __init__(self, setup: Setup) -> None:
        self._machine = Machine(setup.config())
        self._backing = setup.backing
        for fault in setup.faults():
            self._machine.perform(fault)

    def close(self) -> None:
        """Nothing to give up."""

    def perform(self, action: Action) -> Answer:
        """Perform an action; every slot has the backing of the sequence."""
        try:
            outcome = self._outcome(action)
        except KvmError as error:
            return Answer(str(error.errno or error.code))
        match outcome:
            case DirtyLog(bitmap=bitmap) if bitmap is not None:
                return Answer(bitmap=bitmap.astype("<u8").tobytes())
            case AccessOutcome() if isinstance(action, GuestWrite | GuestRead):
                return Answer(mmio_exits=outcome.mmio_exits)
            case _:
                return Answer()

    def _outcome(self, action: Action) -> object:
        if isinstance(action, SetMemslot):
            return self._machine.perform(replace(action, backing=self._backing))
        return self._machine.perform(action)


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

    def perform(self, action: Action) -> Answer:
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

    def _response(self, action: Action) -> httpx.Response:
        call, slots = self._service.call, f"{self._path}/memslots"
        match action:
            case SetMemslot():
                return call("PUT", f"{slots}/{action.slot}", json=self._region(action))
            case SetManualProtect():
                body = {"manual_dirty_log_protect2": action.flags}
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
