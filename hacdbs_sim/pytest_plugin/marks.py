"""`@pytest.mark.hacdbs(cpus=8, ...)`: settings of the VMs that a test creates."""

import inspect
from collections.abc import Mapping
from typing import Any, Final

import pytest

from hacdbs_sim.client import Session
from hacdbs_sim.client.bodies import listed, memslot_body, plain
from hacdbs_sim.model import CreateVm
from hacdbs_sim.wire import InvalidRequestError, MalformedBodyError, read, write

MARK: Final = "hacdbs"
PARAMETERS: Final = tuple(
    name for name in inspect.signature(Session.create_vm).parameters if name not in {"self", "key"}
)


def settings_of(item: pytest.Item) -> dict[str, Any]:
    """Return what the marks of a test set together: those nearer to it take precedence.

    Raises:
        pytest.fail.Exception: An argument is none of `Session.create_vm`, or out of bounds; the
            message names it, and the test.
    """
    settings: dict[str, Any] = {}
    for mark in item.iter_markers(MARK):
        if mark.args:
            raise _wrong(item, f"takes keyword arguments only, not {mark.args[0]!r}")
        settings = {**mark.kwargs, **settings}
    _check(item, settings)
    return settings


def _check(item: pytest.Item, settings: Mapping[str, Any]) -> None:
    if unknown := sorted(settings.keys() - set(PARAMETERS)):
        raise _wrong(item, f"no parameter {unknown[0]!r}; there are {', '.join(PARAMETERS)}")
    try:
        body = dict(settings)
        if "memslots" in settings:
            body["memslots"] = listed("memslots", settings["memslots"], memslot_body)
        for name in {"faults", "workloads"} & settings.keys():
            body[name] = listed(name, settings[name], plain)
        read(CreateVm, write(body))
    except InvalidRequestError as refused:
        found = (
            f"{each.pointer.removeprefix('/')}: {each.detail}"
            + ("" if each.value is None else f" (got {each.value!r})")
            for each in refused.errors
        )
        raise _wrong(item, "; ".join(found)) from None
    except (MalformedBodyError, TypeError, ValueError) as error:
        raise _wrong(item, str(error)) from None


def _wrong(item: pytest.Item, what: str) -> BaseException:
    return pytest.fail.Exception(f"{item.nodeid}: @pytest.mark.{MARK}: {what}", pytrace=False)
