"""A service under a hard limit of memory, with the settings of docker-compose.yml."""

import os
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support.serving import Serving, started

ROOT: Final = Path(__file__).resolve().parents[2]
LIMIT_BYTES: Final = 1 << 30
"""What docker-compose.yml gives the service."""

_CGROUPS: Final = (
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
    (Path("/sys/fs/cgroup"), "memory.max"),
)
"""Where memory is limited: in cgroups of version 1 and 2."""

_ENTER: Final = 'echo $$ > "$0" && exec "$@"'


def compose_settings() -> dict[str, str]:
    """Return the environment that docker-compose.yml gives the service."""
    service: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    confined = service["services"]["hacdbs-sim"]
    assert confined["mem_limit"] == "1g", "the limit is LIMIT_BYTES"
    return {name: str(value) for name, value in confined["environment"].items()}


class Cage:
    """A cgroup that kills at the limit; where none can be made, only the peak is compared with it."""

    def __init__(self) -> None:
        self._directory = next(self._made(), None)

    def _made(self) -> Iterator[Path]:
        for root, name in _CGROUPS:
            directory = root / f"hacdbs-siege-{os.getpid()}"
            if not (root / "cgroup.procs").exists():
                continue
            with suppress(OSError):
                directory.mkdir()
                try:
                    (directory / name).write_text(str(LIMIT_BYTES))
                except OSError:
                    directory.rmdir()
                    raise
                yield directory

    @property
    def name(self) -> str:
        return "no cgroup, the peak only" if self._directory is None else str(self._directory)

    def command(self, arguments: list[str]) -> list[str]:
        """Return the command that runs another one inside."""
        if self._directory is None:
            return arguments
        return ["/bin/sh", "-c", _ENTER, str(self._directory / "cgroup.procs"), *arguments]

    def open(self) -> None:
        """Remove the cgroup, once nothing runs inside."""
        if self._directory is not None:
            self._directory.rmdir()


@contextmanager
def caged_service() -> Generator[tuple[Serving, Cage]]:
    """Run the service under the limit, on a free port of loopback."""
    cage = Cage()
    command = cage.command([sys.executable, "-m", "hacdbs_sim.cli", "serve"])
    quiet = {"HACDBS_LOG_LEVEL": "error", "HACDBS_LOG_FORMAT": "json"}
    try:
        with started(command, {**compose_settings(), **quiet}) as service:
            os.truncate(service.log, 0)
            yield service, cage
    finally:
        cage.open()
