"""What two transcripts of one conversation must have in common: everything but figures.

Of a number only its type is kept, of a version and a path nothing; of the passes, the first and the last:
how many there are between is a figure. Calls and events are compared side by side: whether an answer or an event comes first is a race.
"""

import json
import re
from pathlib import Path
from typing import Any, Final, TypeAlias

Json: TypeAlias = Any

FIXTURES: Final = Path(__file__).with_name("transcripts")
"""Of QEMU 10.0.2, recorded by `python -m tests.qmp`."""

_PATH: Final = re.compile(r"/[\w./-]*/qmp-\w+/")
_FREE_TEXT: Final = "JSON parse error"


def read(name: str) -> dict[str, list[Json]]:
    """Read QEMU's transcript of a conversation."""
    found: dict[str, list[Json]] = json.loads((FIXTURES / f"{name}.json").read_text())
    return found


def write(name: str, transcript: dict[str, list[Json]]) -> None:
    """Keep QEMU's transcript of a conversation."""
    text = json.dumps(_paths(transcript), indent=1, sort_keys=True)
    (FIXTURES / f"{name}.json").write_text(text + "\n")


def normal(transcript: dict[str, list[Json]]) -> dict[str, list[Json]]:
    """Return what a transcript must have in common with another."""
    return {
        who: _events(entries) if who.endswith("events") else [_call(each) for each in entries]
        for who, entries in transcript.items()
    }


def _events(events: list[Json]) -> list[Json]:
    found: list[Json] = []
    for event in events:
        # The first comes after `setup`, the last after `device`
        status = found[-1].get("data", {}).get("status") if found else None
        if event["event"] != "MIGRATION_PASS" or status in {"setup", "device"}:
            found.append(_value(event))
    return found


def passes(events: list[Json]) -> list[list[int]]:
    """Return the numbers of the passes of each migration."""
    found: list[list[int]] = []
    for event in events:
        if event["event"] == "MIGRATION" and event["data"]["status"] == "setup":
            found.append([])
        elif event["event"] == "MIGRATION_PASS":
            found[-1].append(event["data"]["pass"])
    return found


def _call(entry: Json) -> Json:
    if "greeting" in entry:
        return _value(entry)
    kept = {name: each for name, each in entry.items() if name not in {"arguments", "raw"}}
    return {"sent": _paths(entry.get("arguments", entry.get("raw"))), **_value(kept)}


def _paths(value: Json) -> Json:
    return json.loads(_PATH.sub("/.../", json.dumps(value)))


def _value(value: Json) -> Json:
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return _FREE_TEXT if value.startswith(_FREE_TEXT) else _PATH.sub("/.../", value)
    if isinstance(value, list):
        return [_value(each) for each in value]
    return {
        name: "a text" if name in {"package", "error-desc"} else _value(each)
        for name, each in value.items()
    }
