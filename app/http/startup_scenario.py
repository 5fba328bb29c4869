"""The scenario with which a service starts: a file or a builtin one, in the session `default`."""

import json

from hacdbs_sim.files import BadFileError, decoded, read_file
from hacdbs_sim.model import DEFAULT_SESSION, Verdict
from hacdbs_sim.model.errors import KvmError
from hacdbs_sim.scenarios.builtin import names, text_of
from hacdbs_sim.scenarios.reading import MAX_BYTES, explain, parse
from hacdbs_sim.scenarios.yaml_nodes import BadDocumentError
from hacdbs_sim.wire import InvalidRequestError, MalformedBodyError, Site, to_plain

from ..service.errors import SetupRefusedError
from ..service.fleet import Fleet
from .rendering import document_of
from .scenarios import apply, scenario_of, scenario_outcome


class ScenarioNotStartedError(Exception):
    """The scenario cannot be applied; the message has a line for each error."""


async def start_with(fleet: Fleet, given: str) -> Verdict:
    """Apply a builtin scenario or a file to `default`, and return its verdict so far."""
    text = _read(given)
    try:
        scenario = scenario_of(json.dumps(parse(text)).encode())
        standing, _ = await apply(fleet, fleet.session(DEFAULT_SESSION), scenario)
    except BadDocumentError as bad:
        raise ScenarioNotStartedError(f"{given}:{bad.line}: {bad}") from None
    except (InvalidRequestError, MalformedBodyError, SetupRefusedError, KvmError) as refused:
        problem = document_of(refused, Site(""))
        lines = explain(given, text, to_plain(problem).get("errors", ()))
        raise ScenarioNotStartedError("\n".join(lines) or problem.detail) from None
    return scenario_outcome(DEFAULT_SESSION, standing).verdict


def _read(given: str) -> str:
    if given in names():
        return text_of(given)
    try:
        return decoded(read_file(given, MAX_BYTES))
    except BadFileError as unread:
        raise ScenarioNotStartedError(
            f"{given}: {unread}, and no builtin scenario has this name"
        ) from None
