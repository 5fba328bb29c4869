"""Calls on a VM with a slot of 128 GiB, each as long as such calls get."""

import base64
import json
from collections.abc import Callable
from typing import Final

from tests.support.wire import JSON, OCTETS, Calls

GIB: Final = 1 << 30
SIZE: Final = 128 * GIB
NPAGES: Final = SIZE // 4096
RANGES: Final = 65_536

CREATION: Final = {
    "ipa_bits": 44,
    "memslots": [
        {"slot": 0, "guest_phys_addr": 0, "memory_size": SIZE, "flags": ["LOG_DIRTY_PAGES"]}
    ],
}

BIG_CALLS: Final = (
    *("get base64", "get ranges", "get 65,536 ranges", "get summary", "get octets", "peek"),
    *("clear octets", "clear base64", "make and delete a slot"),
)


def big_calls(calls: Calls, vm: str) -> dict[str, Callable[[], None]]:
    """Return what may be done again and again, by name; each writes first what it takes."""
    log = f"{vm}/memslots/0/dirty-log"
    every_page = {"gfn_ranges": [[0, NPAGES]]}
    step = NPAGES // RANGES
    scattered = json.dumps({"gfn_ranges": [[step * n, 1] for n in range(RANGES)]}).encode()
    ones = b"\xff" * (NPAGES // 8)
    in_base64 = json.dumps({"bitmap": base64.b64encode(ones).decode()}).encode()
    other_slot = {
        "guest_phys_addr": 2 * SIZE,
        "memory_size": 8 * SIZE,
        "flags": ["LOG_DIRTY_PAGES"],
    }

    def done(
        method: str, path: str, body: object = None, octets: bytes | None = None, accept: str = JSON
    ) -> None:
        answer = calls.call(method, path, body, octets=octets, accept=accept)
        assert answer.status < 300, answer.content[:500]

    def taken(path: str, *, written: object = every_page, accept: str = JSON) -> None:
        done("POST", f"{vm}/guest/write", written)
        done("POST", log + path, accept=accept)

    def cleared(body: bytes | None, octets: bytes | None) -> None:
        done("POST", f"{vm}/guest/write", every_page)
        done("POST", log + "/clear", body, octets)

    def remade() -> None:
        done("PUT", f"{vm}/memslots/1", other_slot)
        done("DELETE", f"{vm}/memslots/1")

    return dict(
        zip(
            BIG_CALLS,
            (
                lambda: taken("/get?format=base64"),
                lambda: taken("/get"),
                lambda: taken("/get", written=scattered),
                lambda: taken("/get?format=summary"),
                lambda: taken("/get", accept=OCTETS),
                lambda: done("GET", log + "?format=base64"),
                lambda: cleared(None, ones),
                lambda: cleared(in_base64, None),
                remade,
            ),
            strict=True,
        )
    )
