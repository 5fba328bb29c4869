"""`hacdbs-sim demo` as a person or a pipeline runs it: a process and its exit code."""

import json
import os
import subprocess
import sys

import httpx
import numpy as np
import pytest

from hacdbs_sim.cli.exit_codes import ExitCode
from tests.e2e.flipping_proxy import Aim, flipping_proxy
from tests.support.wire import HANG_SECONDS

HARDWARE_FAULTS = {
    "structf",
    "ipaf",
    "ipahacf",
    "lost_interrupt",
    "entries_enomem",
    "unit_busy",
    "split_enomem",
}
# In the quick story the first 11 gets are copies under manual protect, and six more belong to live
# rounds. This one finds the vCPUs at rest since the last, so what it must report is known exactly.
A_GET_THAT_TAKES = 18


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - this program itself
        [sys.executable, "-m", "hacdbs_sim.cli", "demo", "--quick", *arguments],
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )


def test_starts_its_own_service_and_ends_with_nothing_lost() -> None:
    result = demo()

    assert result.returncode == 0, result.stderr
    assert "0 pages lost, 0 over-reported" in result.stdout
    assert "\x1b" not in result.stdout  # not a terminal: no colours, no cursor movements


@pytest.mark.slow
def test_a_terminal_sees_a_live_table(service_url: str) -> None:
    ours, theirs = os.openpty()
    with (
        subprocess.Popen(  # noqa: S603 - this program itself
            [sys.executable, "-m", "hacdbs_sim.cli", "demo", "--quick", "--url", service_url],
            stdout=theirs,
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"},
        ) as process,
        open(ours, "rb", buffering=0) as screen,  # noqa: PTH123 - a descriptor
    ):
        os.close(theirs)
        shown = bytearray()
        try:
            while chunk := screen.read(65_536):
                shown += chunk
        except OSError:  # as Linux reports that the other side of a terminal is closed
            pass
        status = process.wait(HANG_SECONDS)

    assert status == 0
    assert shown.count(b"pre-copy, get and clear") > 5  # drawn anew as it grows
    assert "━" in shown.decode()
    assert b"0 pages lost, 0 over-reported" in shown


@pytest.mark.slow
def test_every_fault_hits_and_the_counts_agree(service_url: str, http: httpx.Client) -> None:
    result = demo("--url", service_url, "--json", "--seed", "3")

    report = json.loads(result.stdout)
    pages = report["pages"]
    assert result.returncode == 0
    assert report["good"] is True
    assert report["unmet"] == []
    assert {fault["type"] for fault in report["faults"] if fault["hits"]} > HARDWARE_FAULTS
    assert (pages["lost"], pages["over_reported"]) == (0, 0)
    assert pages["written"] > 500_000
    assert pages["requeued"] > 0
    # What the client saw taken, by its bitmaps, is what the service says was cleaned
    assert pages["taken"] == pages["cleaned_by_hardware"] + pages["cleaned_by_software"]
    sessions = http.get("/v1/sessions").json()["sessions"]
    assert not [each for each in sessions if each["session_id"].startswith("demo-")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("aim", "wrong"),
    [
        (lambda bits: int(np.flatnonzero(bits)[0]), "lost"),
        (lambda bits: int(np.flatnonzero(bits == 0)[-1]), "over-reported"),
    ],
    ids=["a page that is not reported", "a page that was not written"],
)
def test_one_wrong_bit_in_one_response_is_exit_1(service_url: str, aim: Aim, wrong: str) -> None:
    with flipping_proxy(service_url, flip_at=A_GET_THAT_TAKES, aim=aim) as proxy:
        host, port = proxy.server_address[:2]
        result = demo("--url", f"http://{host!s}:{port}")

    assert result.returncode == 1
    assert f"pages {wrong}, the first: [{proxy.flipped}" in result.stdout
    assert "0 pages lost" not in result.stdout


def test_no_service_at_the_url_ends_as_for_any_command() -> None:
    result = demo("--url", "http://127.0.0.1:9")

    assert result.returncode == ExitCode.UNREACHABLE
    assert result.stdout == ""
    assert result.stderr.startswith("no service at http://127.0.0.1:9: ")
    assert "hacdbs-sim serve" in result.stderr
    assert result.stderr.count("\n") == 1
