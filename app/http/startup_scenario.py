"""The scenario with which a service starts: a file, or one that ships, in the session `default`."""

import json
from pathlib import Path

import orjson

from hacdbs_sim.scenarios.builtin import names, text_of
from hacdbs_sim.scenarios.reading import BadDocumentError, explain, parse
from hacdbs_sim.model.errors import KvmError

from ..service.errors import SetupRefusedError
from ..service.fleet import DEFAULT_SESSION, Fleet
from .problems import Refusal, Site, kvm_document, refusal_document
from .scenarios import apply, outcome_of, scenario_of
from .schemas.problem import ProblemOut
from .schemas.scenarios import Verdict


class ScenarioNotStartedError(Exception):
    """The scenario cannot be put up; the message has a line for each thing that is wrong."""


async def start_with(fleet: Fleet, given: str) -> Verdict:
    """Put a scenario up in `default`, and tell how it ended as far as it has come.

    Args:
        fleet: Where.
        given: The name of one that ships, or a file in JSON or YAML.

    Raises:
        ScenarioNotStartedError: It cannot be read, or is refused.
    """
    text = _read(given)
    try:
        scenario = scenario_of(json.dumps(parse(text)).encode())
        standing, _ = await apply(fleet, DEFAULT_SESSION, scenario)
    except BadDocumentError as bad:
        raise ScenarioNotStartedError(f"{given}:{bad.line}: {bad}") from None
    except (Refusal, SetupRefusedError, KvmError) as refused:
        problem = _problem_of(refused)
        lines = explain(given, text, problem.get("errors", ()))
        raise ScenarioNotStartedError("\n".join(lines) or problem["detail"]) from None
    return outcome_of(standing, orjson.loads(standing.document)).verdict


def _read(given: str) -> str:
    if given in names():
        return text_of(given)
    try:
        return Path(given).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as unread:
        raise ScenarioNotStartedError(
            f"{given} is no file that can be read ({unread}), and no scenario of this name ships"
        ) from None


def _problem_of(refused: Refusal | SetupRefusedError | KvmError) -> ProblemOut:
    if isinstance(refused, Refusal):
        return refusal_document(refused, Site(""))
    if isinstance(refused, SetupRefusedError):
        part = Site("", body_pointer=f"/{refused.part}/{refused.index}")
        return kvm_document(refused.cause, part)
    return kvm_document(refused, Site(""))
