"""The scenario that is written for both backends, on real KVM as on the simulated machine."""

from collections.abc import Iterator
from typing import Any

import pytest

from hacdbs_sim.client import Client, ProblemError
from hacdbs_sim.scenarios.builtin import load
from tests.support.real_kvm import require_kvm

NAME = "same-on-host-kvm"


@pytest.fixture(scope="module")
def host() -> Iterator[Client]:
    require_kvm()
    with Client.in_process(host_kvm=True) as opened:
        yield opened


def on(backend: str, document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "vms": [{**vm, "backend": backend} for vm in document["vms"]]}


@pytest.mark.parametrize("backend", ["simulated", "host_kvm"])
def test_it_passes_on_both_backends(host: Client, backend: str) -> None:
    host.session().reset()

    played = host.session().put_scenario(on(backend, load(NAME)))

    assert [wrong for step in played.steps for wrong in step.mismatches] == []
    assert played.verdict == "passed"
    assert {vm.backend for vm in host.list_vms()} == {backend}


def test_it_covers_what_both_backends_have() -> None:
    steps = load(NAME)["steps"]
    errnos = {step["expect"].get("body", {}).get("errno") for step in steps}
    ops = {step["action"]["op"] for step in steps}

    assert errnos >= {"EINVAL", "ENOENT", "EEXIST"}
    assert ops >= {"guest_write", "host_write", "get_dirty_log", "clear_dirty_log", "update_vm"}


def test_a_scenario_that_real_kvm_cannot_run_is_refused_and_changes_nothing(host: Client) -> None:
    host.session().reset()
    kept = host.create_vm()

    with pytest.raises(ProblemError, match="no faults") as refused:
        host.session().put_scenario(on("host_kvm", load("lost-interrupt")))

    assert refused.value.problem["errors"][0]["pointer"] == "/vms/0/faults"
    assert [vm.vm_id for vm in host.list_vms()] == [kept.vm_id]
