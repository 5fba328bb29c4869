"""Documents that commands read: JSON or YAML; errors have their line."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hacdbs_sim.cli.command_context import usage_error
from hacdbs_sim.scenarios.reading import BadDocumentError, parse

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
        text = sys.stdin.read() if file == STDIN else file.read_text(encoding="utf-8")
        return Document(name, text, parse(text))
    except BadDocumentError as bad:
        raise usage_error(f"{name}:{bad.line}: {bad}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise usage_error(f"cannot read {name}: {error}") from None
