"""`trace import | record | info`, which speak to no service."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from hacdbs_sim.cli.commands import trace
from hacdbs_sim.cli.exit_codes import ExitCode
from hacdbs_sim.cli.root import cli
from hacdbs_sim.traces.recording import SHIPPED, Recording, recording_of

LACKEY = Path(__file__).parents[2] / "traces" / "true.lackey"


def run(*arguments: str | Path, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(
        cli, ["trace", *map(str, arguments)], input=stdin, catch_exceptions=False
    )


def test_import_makes_a_recording_and_shows_it(tmp_path: Path) -> None:
    output = tmp_path / "true.npz"

    result = run("import", LACKEY, "-o", output, "--interval-instructions", "100")

    assert result.exit_code == 0
    assert "100 instructions" in result.stdout
    assert "other lines passed over" in result.stderr
    assert Recording.load(output).instructions_per_interval == 100


def test_import_reads_stdin(tmp_path: Path) -> None:
    output = tmp_path / "true.npz"

    result = run("import", "-", "-o", output, "--json", stdin=LACKEY.read_bytes())

    printed = json.loads(result.stdout)
    assert printed["name"] == "true"
    assert printed["intervals"] == 1
    assert printed["distinct_pages"] == len(Recording.load(output).vpage)


@pytest.mark.parametrize("name", SHIPPED)
def test_info_shows_builtin_recordings(name: str) -> None:
    result = run("info", name)

    assert result.exit_code == 0
    assert "distinct pages" in result.stdout
    assert "█" in result.stdout


def test_info_draws_into_a_file(tmp_path: Path) -> None:
    drawn = tmp_path / "cc1.svg"

    result = run("info", "cc1", "--plot", drawn, "--json")

    assert json.loads(result.stdout)["intervals"] == 61
    assert drawn.read_text().startswith("<svg ")


def test_info_shows_a_recording_by_time_that_wrote_nothing(tmp_path: Path) -> None:
    file = tmp_path / "quiet.npz"
    nothing = np.zeros(0, np.uint64)
    with file.open("wb") as opened:
        recording_of([nothing, nothing], page_size=4096, interval_ns=1_500_000).save(opened)

    result = run("info", file)

    assert "1.5 ms" in result.stdout


def test_info_shows_a_recording_that_does_not_say_how_long_an_interval_is(tmp_path: Path) -> None:
    file = tmp_path / "some.npz"
    with file.open("wb") as opened:
        recording_of([np.array([7], np.uint64)], page_size=4096).save(opened)

    result = run("info", file)

    assert result.exit_code == 0
    assert "│ an interval " not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (
            ("info", "missing"),
            "missing: No such file or directory; the builtin traces are xz, sqlite, cc1\n",
        ),
        (("info", LACKEY), "it is no .npz file"),
        (("import", "missing.lackey", "-o", "x.npz"), "No such file"),
        (("import", "cc1.npz", "-o", "x.npz"), "no instruction of lackey's"),
        (("import", LACKEY, "-o", "no/such/folder.npz"), "no/such/folder.npz: [Errno 2]"),
        (("import", LACKEY, "-o", "x.npz", "--interval-instructions", "0"), "x>=1"),
        (("info", "cc1", "--plot", "no/such/folder.svg"), "no/such/folder.svg: [Errno 2]"),
        (("record", "-o", "x.npz", "--pid", "0"), "x>=1"),
    ],
)
def test_what_cannot_be_used_is_named(
    arguments: tuple[str | Path, ...],
    printed: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cc1.npz").write_bytes(b"==1== nothing here\n")

    result = run(*arguments)

    assert result.exit_code == ExitCode.USAGE
    assert printed in result.stderr
    assert not (tmp_path / "x.npz").exists()


def test_record_says_plainly_where_the_kernel_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "has_soft_dirty", lambda: False)

    result = run("record", "-o", tmp_path / "x.npz", "--pid", "1")

    assert result.exit_code == ExitCode.NEGATIVE
    assert "this kernel keeps no soft-dirty bits" in result.stderr
    assert "trace import" in result.stderr


def test_record_names_a_process_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where the kernel cannot, the command would end before it looks for the process.
    monkeypatch.setattr(trace, "has_soft_dirty", lambda: True)

    result = run("record", "-o", tmp_path / "x.npz", "--pid", str(2**22 + 1))

    assert result.exit_code == ExitCode.USAGE
    assert "there is no process 4194305" in result.stderr


def test_record_saves_what_it_saw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Also where the kernel sets no bit: the process is real, and then no page of it counts.
    monkeypatch.setattr(trace, "has_soft_dirty", lambda: True)
    output = tmp_path / "self.npz"

    result = run(
        *("record", "-o", output, "--intervals", "2", "--interval-ms", "1", "--json"),
        *("--pid", str(os.getpid())),
    )

    assert json.loads(result.stdout)["intervals"] == 2
    assert Recording.load(io.BytesIO(output.read_bytes())).interval_ns == 1_000_000
