"""The scenario with which a service starts."""

import subprocess
import sys
from pathlib import Path

import pytest

from app.http.startup_scenario import ScenarioNotStartedError
from hacdbs_sim.client import Client
from tests.support.wire import HANG_SECONDS

BAD = """\
scenario: bad
vms:
  - key: src
    cpus: 0
steps:
  - {vm: src, action: {op: get_dirty_log, slot: x}}
"""
OVERLAP = """\
scenario: bad
vms:
  - key: src
    memslots:
      - {slot: 0, guest_phys_addr: 0x40000000, memory_size: 4096}
      - {slot: 1, guest_phys_addr: 0x40000000, memory_size: 4096}
"""
STRAY = """\
scenario: bad
vms: [{key: src}]
steps:
  - vm: src
    action: {op: get_dirty_log, slot: 0}
    expect: {status: 404}
  - vm: dst
    action: {op: get_dirty_log, slot: 0}
"""
HUGE = f"""\
scenario: bad
vms: [{{key: src}}]
steps:
  - vm: src
    action: {{op: get_dirty_log, slot: 0}}
    expect: {{body: {{slot: {1 << 70}}}}}
"""


def test_the_default_session_is_the_scenario_that_ships() -> None:
    with Client.in_process(scenario="lost-interrupt") as client:
        standing = client.session().get_scenario()

        assert (standing.scenario, standing.verdict) == ("lost-interrupt", "passed")
        assert [vm.vm_id for vm in client.list_vms()] == ["default-1"]


def test_a_file_will_do_and_one_that_fails_does_not_end_the_service(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(STRAY.replace("dst", "src"))

    with Client.in_process(scenario=str(file)) as client:
        assert client.session().get_scenario().verdict == "failed"


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        (
            BAD,
            [
                "{file}:4: /vms/0/cpus: must be an integer of 1..512",
                "{file}:6: /steps/0/action/slot: must be an integer of 0..32766",
            ],
        ),
        (OVERLAP, ["{file}:6: /vms/0/memslots/1/guest_phys_addr: "]),
        (STRAY, ["{file}:7: /steps/1/vm: the scenario must have a VM of this key"]),
        (HUGE, [f"{{file}}:6: {1 << 70} is an integer beyond 64 bits"]),
        ("scenario: [", ["{file}:1: cannot be read: "]),
    ],
    ids=["schema", "core", "scenario", "huge", "syntax"],
)
def test_an_error_in_the_file_ends_the_service_and_reports_its_lines(
    text: str, reported: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)

    with pytest.raises(ScenarioNotStartedError) as refused:
        Client.in_process(scenario=str(file))

    lines = str(refused.value).splitlines()
    assert len(lines) == len(reported)
    for line, part in zip(lines, reported, strict=True):
        assert line.startswith(part.format(file=file))


def test_a_refusal_without_a_place_is_reported_with_its_detail(tmp_path: Path) -> None:
    file = tmp_path / "many.yaml"
    file.write_text("{scenario: many, vms: [{key: a}, {key: b}]}")

    with pytest.raises(ScenarioNotStartedError, match="HACDBS_MAX_VMS allows 1"):
        Client.in_process(scenario=str(file), max_vms=1)


def test_an_unknown_file_and_name_end_the_service() -> None:
    with pytest.raises(ScenarioNotStartedError, match="no builtin scenario has this name"):
        Client.in_process(scenario="none")


def test_the_service_exits_with_3_and_prints_no_traceback(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(BAD)

    served = subprocess.run(  # noqa: S603 - this program itself
        [sys.executable, "-m", "hacdbs_sim.cli", "serve", "--port", "0", "--scenario", str(file)],
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG_SECONDS,
    )

    assert served.returncode == 3
    assert f"{file}:4: /vms/0/cpus" in served.stderr
    assert "Traceback" not in served.stderr
    assert "Application startup failed" not in served.stderr
