"""Record QEMU's transcripts anew, all or some: `python -m tests.qmp [NAME]...`."""

import asyncio
import sys
from collections.abc import Sequence

from tests.qmp.harness import CONVERSATIONS, converse
from tests.qmp.real import find_qemu, real
from tests.qmp.transcripts import write


def main(names: Sequence[str]) -> None:
    """Record conversations."""
    qemu = find_qemu()
    for name in names or CONVERSATIONS:
        with real(qemu) as launch:
            write(name, asyncio.run(converse(name, launch)))
        print(name)


if __name__ == "__main__":
    main(sys.argv[1:])
