"""The machine of the figures."""

import os
import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Final

from bench.kernel_loop import compiler_version
from hacdbs_sim.host_kvm import why_unusable
from hacdbs_sim.model.units import GIB

PACKAGES: Final = ("numpy", "fastapi", "starlette", "pydantic", "uvicorn", "uvloop", "httptools")


def facts() -> Iterator[tuple[str, str]]:
    """Name the machine and the versions of what ran on it."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    yield "machine", f"{_processor()}, {os.cpu_count()} CPUs, {memory / GIB:.0f} GiB"
    yield "caches of a CPU", ", ".join(_caches())
    yield "kernel", f"{platform.system()} {platform.release()}, {platform.machine()}"
    yield "real KVM", why_unusable() or "/dev/kvm, 4 KiB pages, one vCPU"
    yield "Python", f"{platform.python_implementation()} {platform.python_version()}"
    yield "packages", ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    yield "C compiler", compiler_version() or "none"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def _caches() -> Iterator[str]:
    for cache in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = (
            (cache / name).read_text().strip() for name in ("level", "type", "size")
        )
        yield f"L{level} {kind.lower()} {size}"
