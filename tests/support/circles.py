"""Objects of this project that only a collection of garbage would free, watched in a service."""

import gc
import signal
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent.parent
OWN: Final = ("app", "hacdbs_sim")
FOLDERS: Final = tuple(f"{ROOT / name}/" for name in OWN)


def watch(file: str) -> None:
    """Free nothing but by reference counts from now on; SIGUSR1 writes what that leaves to `file`."""
    collect = gc.collect
    collect()
    gc.disable()
    gc.collect = lambda generation=2: 0  # noqa: ARG005
    gc.freeze = lambda: None

    def write(*_: object) -> None:
        gc.set_debug(gc.DEBUG_SAVEALL)
        collect()
        gc.set_debug(0)
        lines = Counter(filter(None, map(_named, gc.garbage)))
        part = Path(f"{file}.part")
        part.write_text("".join(f"{count} {name}\n" for name, count in lines.most_common()))
        part.rename(file)

    signal.signal(signal.SIGUSR1, write)


def _named(thing: object) -> str | None:
    """Name an object if it is this project's: a frame by its function, others by their class."""
    if isinstance(thing, FrameType):
        code = thing.f_code
        return (
            f"{code.co_filename}:{code.co_name}" if code.co_filename.startswith(FOLDERS) else None
        )
    kind = type(thing)
    return f"{kind}" if str(kind.__module__).partition(".")[0] in OWN else None
