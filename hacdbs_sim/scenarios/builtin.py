"""The builtin scenarios: one YAML file each, with the name of its scenario."""

from importlib import resources
from typing import Any, Final

from hacdbs_sim.scenarios.reading import parse

_SUFFIX: Final = ".yaml"
_PACK: Final = resources.files(__package__) / "pack"


def names() -> list[str]:
    """List the names, sorted."""
    files = (each.name for each in _PACK.iterdir())
    return sorted(name.removesuffix(_SUFFIX) for name in files if name.endswith(_SUFFIX))


def load(name: str) -> dict[str, Any]:
    """Read the document of a name that `names` lists."""
    return parse(text_of(name))


def text_of(name: str) -> str:
    """Read the file of a name that `names` lists."""
    return (_PACK / f"{name}{_SUFFIX}").read_text(encoding="utf-8")
