"""Find what may not be installed: the service's application, and the packages of an extra.

The application is `app` in a checkout and `hacdbs_sim.app` in a wheel. A wheel must not install a
top-level `app`: it would shadow the `app` of every project that has one. So nothing in `hacdbs_sim`
imports the application by name but this module.

A plain installation holds the client, the pytest plugin and the core. The service and the command
line import more, which the extras of pyproject.toml bring.
"""

import importlib
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Final, Literal

_PACKAGED: Final = "hacdbs_sim.app"
_CHECKOUT: Final = "app"
_OURS: Final = frozenset({"app", "hacdbs_sim"})

Extra = Literal["cli", "server"]


class NotInstalledError(ImportError):
    """A part of hacdbs-sim cannot be used as it is installed; the message is one line."""


class ApplicationNotFoundError(NotInstalledError):
    """The application is not installed, or another project's `app` is found in its place."""


class MissingExtraError(NotInstalledError):
    """A package that an extra brings is not installed.

    Attributes:
        extra: The extra.
        name: The package.
    """

    def __init__(self, extra: Extra, package: str) -> None:
        super().__init__(
            f"hacdbs-sim needs the extra `{extra}`: pip install {_requirement(extra)}", name=package
        )
        self.extra = extra


def _requirement(extra: Extra) -> str:
    package = Path(__file__).resolve().parent
    is_checkout = not (package / _CHECKOUT).is_dir()
    return f"-e '{package.parent}[{extra}]'" if is_checkout else f"'hacdbs-sim[{extra}]'"


@contextmanager
def requiring(extra: Extra) -> Generator[None]:
    """Name the extra if an import in the `with` block finds no package.

    Raises:
        MissingExtraError: A package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in _OURS:
            raise
        raise MissingExtraError(extra, package) from None


@cache
def application_name() -> str:
    """Return the import name of the package that holds the application.

    Raises:
        ApplicationNotFoundError: There is neither a packaged one nor one beside `hacdbs_sim`.
    """
    if find_spec(_PACKAGED) is not None:
        return _PACKAGED
    beside = Path(__file__).resolve().parents[1] / _CHECKOUT
    spec = find_spec(_CHECKOUT)
    if spec is not None and beside in map(Path, spec.submodule_search_locations or ()):
        return _CHECKOUT
    found = "no package" if spec is None else f"{spec.origin}"
    raise ApplicationNotFoundError(
        f"the application of hacdbs-sim must lie in {beside}, but `import {_CHECKOUT}` finds {found};"
        " run from the checkout, or install the package"
    )


def load(module: str) -> ModuleType:
    """Import a module of the application, such as `main` or `server.runner`.

    Raises:
        ApplicationNotFoundError: The application is not installed.
        MissingExtraError: What it imports is not installed.
    """
    with requiring("server"):
        return importlib.import_module(f"{application_name()}.{module}")
