"""Find what may not be installed: the service's application, and the packages of an extra.

The application is `app` in a checkout and `hacdbs_sim.app` in a wheel: a top-level `app` in a wheel
would shadow that of every project that has one. So only this module imports it by name.
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

Extra = Literal["cli", "server", "otel"]


class NotInstalledError(ImportError):
    """A part of hacdbs-sim cannot be used as it is installed; the message is one line."""


class ApplicationNotFoundError(NotInstalledError):
    """The application is not installed, or another project's `app` is found in its place."""


class MissingExtraError(NotInstalledError):
    """A package, `name`, that an extra brings is not installed."""

    def __init__(self, extra: Extra, package: str) -> None:
        here = Path(__file__).resolve().parent
        is_wheel = (here / _CHECKOUT).is_dir()
        place = f"'hacdbs-sim[{extra}]'" if is_wheel else f"-e '{here.parent}[{extra}]'"
        super().__init__(f"hacdbs-sim needs the extra `{extra}`: pip install {place}", name=package)
        self.extra = extra


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
        if package in {"app", "hacdbs_sim"}:
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
