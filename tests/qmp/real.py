"""QEMU itself: 128 MiB, a quarter of which is not zero, and no guest but the firmware."""

import random
import re
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.qmp.harness import Launch, commands

PROGRAM: Final = "qemu-system-x86_64"
OLDEST: Final = 10
"""Older ones have another order of events."""

CONTENT_MIB: Final = 32


class NoQemuError(Exception):
    """There is no QEMU here that can be compared."""


def find_qemu() -> str:
    """Return the path of QEMU.

    Raises:
        NoQemuError: There is none, or an older one.
    """
    path = shutil.which(PROGRAM)
    if path is None:
        raise NoQemuError(f"there is no {PROGRAM} here")
    asked = [path, "--version"]
    said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout  # noqa: S603
    found = re.search(r"version (\d+)", said)
    if found is None or int(found[1]) < OLDEST:
        raise NoQemuError(f"QEMU {OLDEST} or newer is needed, here is: {said.splitlines()[0]}")
    return path


@contextmanager
def real(qemu: str) -> Generator[Launch]:
    """Yield what starts QEMU."""
    with tempfile.TemporaryDirectory(prefix="qmp-") as directory:
        content = Path(directory, "content")
        content.write_bytes(random.Random(1).randbytes(CONTENT_MIB << 20))
        command = (
            f"{qemu} -nodefaults -machine pc,accel=kvm:tcg -display none -vga none -m 128M"
            f" -device loader,file={content},addr=0x1000000,force-raw=on"
            " -qmp unix:{monitor},server=on,wait=off"
        )
        yield commands(command, f"{command} -incoming defer")
