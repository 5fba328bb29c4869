"""Memory: of a page in all planes, and of an idle VM.

Run as a program it prints the bits that a page of a large slot takes, measured in a fresh process.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

from bench.core import PAGE_SIZE, CoreSlot
from bench.goals import at_most
from bench.rows import Figures, Row, Spread
from bench.service import ROOT, rss_bytes, service
from hacdbs_sim.model.units import GIB, KIB

WARMING_VMS: Final = 100


def bits_per_page(size_bytes: int) -> float:
    """Return the growth of this process for each page of a slot that was written, cleared, written."""
    CoreSlot(PAGE_SIZE * 64).refill()  # what is made once, by whichever slot comes first
    before = rss_bytes(os.getpid())
    slot = CoreSlot(size_bytes)
    slot.refill()
    return 8 * (rss_bytes(os.getpid()) - before) / (size_bytes // PAGE_SIZE)


def _page() -> Figures:
    command = [sys.executable, "-m", "bench.memory"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    bits = float(done.stdout)
    return Figures(Spread.of([bits]), f"{bits:.2f} bits")


def _idle_vm(count: int) -> Figures:
    with service() as fresh, fresh.vms(WARMING_VMS, GIB):
        before = fresh.rss_bytes
        with fresh.vms(count, GIB):
            kib = (fresh.rss_bytes - before) / count / KIB
    return Figures(Spread.of([kib]), f"{kib:.1f} KiB")


def rows(*, quick: bool) -> Iterator[Row]:
    """Return the rows of memory."""
    count = 300 if quick else 2_000
    yield Row(
        "page-memory",
        "resident memory of a page, 128 GiB",
        "logging, warmed, cleared, all dirty; scratch included",
        "",
        at_most(6, "bits"),
        lambda _: _page(),
    )
    yield Row(
        "vm-memory",
        f"resident memory of an idle VM, {count:,} of them in the service",
        "one logging slot of 1 GiB each, never written",
        "",
        at_most(64, "KiB"),
        lambda _: _idle_vm(count),
    )


if __name__ == "__main__":
    print(bits_per_page(128 * GIB))
