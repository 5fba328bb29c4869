"""schemathesis with all its default checks against the published schema, nothing excluded."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings

from app.fleet.fleet import VmSpec
from app.main import create_app
from app.settings import LogLevel, Settings
from app.sim.actions import ArmFault, FaultSpec, FaultType, MachineConfig, SetMemoryRegion

VM_ID = "default-1"
FAULT_ID = "f1"
SESSION_ID = "other"
LOGGING = 1

app = create_app(Settings(log_level=LogLevel.ERROR, allowed_hosts=("*",)))
schema = schemathesis.openapi.from_asgi("/openapi.json", app)


def prepare() -> None:
    """Have the VM, fault and session that path parameters name, whatever the calls before did."""
    fleet = app.state.context.fleet
    if SESSION_ID not in {session.session_id for session in fleet.sessions()}:
        fleet.create_session(SESSION_ID)
    fleet.reset_session("default")
    # Slot 0 is the one of the schema's examples.
    slots = (
        SetMemoryRegion(0, 1 << 30, 2 << 30, flags=LOGGING),
        SetMemoryRegion(1, 0, 1 << 21, flags=LOGGING),
    )
    faults = (ArmFault(FaultSpec(FaultType.IPAF, probability=0.5)),)
    # Loading the schema has started and stopped the application.
    app.state.context.is_stopping = False
    spec = VmSpec("default", "", MachineConfig(), slots, faults)
    asyncio.run(fleet.create_vm(spec))


@schema.hook
def map_path_parameters(
    context: Any,  # noqa: ARG001 - the hook is given it
    path_parameters: dict[str, Any] | None,
) -> dict[str, Any] | None:
    if path_parameters is None:
        return None
    known = {"vm_id": VM_ID, "fault_id": FAULT_ID, "session_id": SESSION_ID, "code": "no_such_vm"}
    named = {name: known.get(name, value) for name, value in path_parameters.items()}
    # Numbers that the schema allows are folded onto those that exist, and a few beyond.
    for name in ("slot", "cpu"):
        if isinstance(named.get(name), int) and named[name] >= 0:
            named[name] %= 3
    return named


@pytest.fixture(scope="module")
def statuses() -> Iterator[defaultdict[str, set[int]]]:
    seen: defaultdict[str, set[int]] = defaultdict(set)
    yield seen

    never = [label for label, codes in seen.items() if not any(c < 300 for c in codes)]
    assert not never, f"never answered 2xx: {never}"


@schema.parametrize()
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_what_the_schema_says(
    case: schemathesis.Case[Any], statuses: defaultdict[str, set[int]]
) -> None:
    prepare()

    response = case.call_and_validate()

    statuses[case.operation.label].add(response.status_code)
