"""The kernel's loop in C (`kernel_loop.c`), compiled with gcc -O2 and called by ctypes."""

import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.rows import SkippedError

SOURCE: Final = Path(__file__).with_name("kernel_loop.c")
COMPILER: Final = "gcc"

_CLEAN: Final = np.uint64(1 << 51 | 1 << 10 | 1 << 6 | 0b11)
"""A writable-clean page descriptor: DBM, AF, S2AP[0], page, valid (docs/kernel.md B.5)."""
_WRITE: Final = np.uint64(1 << 7)


def compiler_version() -> str | None:
    """Return the compiler's version."""
    if shutil.which(COMPILER) is None:
        return None
    done = subprocess.run([COMPILER, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0]


class KernelLoop:
    """The compiled loop.

    Raises:
        SkippedError: this machine has no compiler.
    """

    def __init__(self) -> None:
        if compiler_version() is None:
            raise SkippedError(f"there is no {COMPILER} here to compile {SOURCE.name} with")
        with tempfile.TemporaryDirectory(prefix="hacdbs-bench-") as directory:
            library = Path(directory) / "kernel_loop.so"
            command = [COMPILER, "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o"]
            subprocess.run([*command, library, SOURCE], check=True)
            self.clear = ctypes.CDLL(str(library)).clear_dirty_log  # stays mapped
        self.clear.restype = ctypes.c_uint64
        pointer = ctypes.c_void_p
        self.clear.argtypes = (pointer, pointer, ctypes.c_size_t, pointer)


class LoopSlot:
    """A slot as the loop sees it: a dirty bitmap, the user's bitmap, a descriptor for each page.

    Args:
        loop: The compiled loop.
        dirty: uint64[k], the pages that are dirty before each clear, all of which it clears.
    """

    def __init__(self, loop: KernelLoop, dirty: NDArray[np.uint64]) -> None:
        self._loop = loop
        self._user = dirty
        self._dirty = np.empty_like(dirty)
        bits = np.unpackbits(dirty.view(np.uint8), bitorder="little")
        self._pages = np.flatnonzero(bits)
        self._is_full = len(self._pages) == len(bits)
        self._descriptors = np.full(len(bits), _CLEAN)

    @property
    def is_clean(self) -> bool:
        """Whether no page is dirty, neither in the log nor in stage 2."""
        return not np.any(self._dirty) and not np.any(self._descriptors & _WRITE)

    def refill(self) -> None:
        """Make the same pages dirty again, in the log and in stage 2."""
        self._dirty[:] = self._user
        if self._is_full:
            self._descriptors |= _WRITE
        else:
            self._descriptors[self._pages] |= _WRITE

    def clear(self) -> None:
        """Clear the whole log."""
        cleaned = self._loop.clear(
            self._dirty.ctypes.data,
            self._user.ctypes.data,
            len(self._dirty),
            self._descriptors.ctypes.data,
        )
        assert cleaned == len(self._pages), "every dirty page is cleaned"
