"""Documents that commands read: JSON or YAML; errors have their line."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hacdbs_sim.cli.command_context import usage_error
from hacdbs_sim.files import BadFileError, decoded, read_all, read_file
from hacdbs_sim.scenarios.reading import MAX_BYTES, parse
from hacdbs_sim.scenarios.yaml_nodes import BadDocumentError

STDIN: Final = Path("-")


@dataclass(frozen=True, slots=True)
class Document:
    """A document: its name in messages, its text, and the object that it contains."""

    name: str
    text: str
    value: dict[str, Any]


def read_document(file: Path) -> Document:
    """Read a file, or stdin; exit with a usage error if it cannot be read."""
    name = "stdin" if file == STDIN else str(file)
    try:
        is_stdin = file == STDIN
        octets = read_all(sys.stdin.buffer, MAX_BYTES) if is_stdin else read_file(file, MAX_BYTES)
        text = decoded(octets)
        return Document(name, text, parse(text))
    except BadDocumentError as bad:
        raise usage_error(f"{name}:{bad.line}: {bad}") from None
    except BadFileError as bad:
        raise usage_error(f"{name}: {bad}") from None


def fields_of(file: Path | None) -> dict[str, Any]:
    """Return the object in a file; without a file an empty one."""
    return {} if file is None else read_document(file).value
