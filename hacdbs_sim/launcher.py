"""Find the service's application, `app` in a checkout and `hacdbs_sim.app` in a wheel.

A wheel must not install a top-level `app`: it would shadow the `app` of every project that has one.
So nothing in `hacdbs_sim` imports the application by name but this module.
"""

import importlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Final

_PACKAGED: Final = "hacdbs_sim.app"
_CHECKOUT: Final = "app"


class ApplicationNotFoundError(ImportError):
    """The application is not installed, or another project's `app` is found in its place."""


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
    """
    return importlib.import_module(f"{application_name()}.{module}")
