"""How commands end: exit codes, and messages on stderr."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Generator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from typer.testing import CliRunner
from typing_extensions import override

from hacdbs_sim.cli.exit_codes import ExitCode
from hacdbs_sim.cli.root import cli
from hacdbs_sim.client import Vm, serve_in_thread
from tests.unit.cli.commands.conftest import Run


@pytest.fixture
def nobody() -> Generator[str]:
    """A URL at which nobody listens: the port is bound, so nobody else takes it."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture
def stranger() -> Generator[str]:
    """The URL of a server that is not this service."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"hello")

        @override
        def log_message(self, *_: object) -> None:
            """Be silent."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_refusal_ends_in_3_with_the_problem_printed(run: Run) -> None:
    result = run("inspect", "default-9")

    assert result.exit_code == ExitCode.REFUSED
    assert result.stdout == ""
    assert "404 no_such_vm" in result.stderr


def test_a_refusal_prints_the_problem_document_as_json(run: Run) -> None:
    result = run("inspect", "default-9", "--json")

    assert result.exit_code == ExitCode.REFUSED
    assert json.loads(result.stdout)["code"] == "no_such_vm"


def test_a_refusal_by_the_schema_names_field_bound_and_value(run: Run) -> None:
    result = run("create", "--cpus", "0")

    assert result.exit_code == ExitCode.REFUSED
    assert "/cpus" in result.stderr
    assert "must be an integer of 1..4096" in result.stderr or "1.." in result.stderr


def test_nobody_there_ends_in_4(nobody: str) -> None:
    result = CliRunner().invoke(cli, ["list", "--url", nobody])

    assert result.exit_code == ExitCode.UNREACHABLE
    assert "no service" in result.stderr


def test_another_service_there_ends_in_4(stranger: str) -> None:
    result = CliRunner().invoke(cli, ["list", "--url", stranger])

    assert result.exit_code == ExitCode.UNREACHABLE
    assert "no service" in result.stderr


def test_a_url_that_is_none_ends_in_4() -> None:
    result = CliRunner().invoke(cli, ["list", "--url", "http://[::1"])

    assert result.exit_code == ExitCode.UNREACHABLE


def test_waiting_in_vain_ends_in_5(nobody: str) -> None:
    result = CliRunner().invoke(cli, ["wait", "--url", nobody, "--timeout", "0.05"])

    assert result.exit_code == ExitCode.NOT_IN_TIME
    assert "within 0.05 s" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["inspect"], "Missing argument 'VM'"),
        (["lst"], "Did you mean 'list'?"),
        (["dirty", "take"], "No such command 'take'"),
        (["write", "default-1", "0x40000:3"], "FIRST-LAST or FIRST+COUNT"),
        (["write", "default-1", "9-3"], "names -5"),
        (["write", "default-1", "9+0"], "names 0"),
        (["dirty", "get", "default-1", "zero"], "must be an integer such as 262144"),
        (["create", "--slot", "0:0x0"], "NUMBER:BASE:SIZE"),
        (["create", "--slot", "0:0x0:4096:dirty"], "not 'dirty'"),
        (["inspect", ".."], "a name in a path must not be '..'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_invalid_command_line_ends_in_2(arguments: list[str], printed: str, run: Run) -> None:
    result = run(*arguments)

    assert result.exit_code == ExitCode.USAGE
    assert printed in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("name: a\nmemslots: [\n", ":3: cannot be read"),
        ('{"name": "a",\n "cpus": ]', ":2: cannot be read"),
        ("- 1", ":1: must be an object"),
        ("name: a\nname: b", ":2: the field 'name' is there twice"),
        ("x: &a [1]\ny: *a", ":2: an alias"),
        ("a: 1\n7: 8", ":2: a field's name must be text, not '7'"),
        ("a: !!python/name:os.system x", ":1: the tag"),
        ("a: !!binary aGVsbG8=", ":1: the tag"),
        ("a: .inf", ":1: .inf is no number of JSON"),
        ('{"a": 1,\n "a": 2}', ":2: the field 'a' is there twice"),
        ('{"a": 1,\n "b": NaN, "a": 2}', ":2: the field 'a' is there twice"),
        (
            '{"a":\n 123456789012345678901234567890}',
            ":2: 123456789012345678901234567890 is an integer",
        ),
        ('{"a": 1e400}', ":1: 1e400 is beyond the numbers of JSON"),
        ("a: 1.0e+400", ":1: 1.0e+400 is beyond the numbers of JSON"),
        ("a:\n - 010", ":2: '010' is read in two ways"),
        ("a: yes", ":1: 'yes' is read in two ways"),
        ("a: b\n--- \na: c", ":2: must be one document"),
        ("? [1]\n: 2", ":1: a field's name must be text"),
        ("<<: {a: 1}", ":1: a field's name must be text, not '<<'"),
        ("a: " + "[" * 70 + "]" * 70, ":1: is nested deeper than 64"),
        ("a: " + "[" * 9000 + "]" * 9000, ":1: is nested deeper than 64"),
        ("a: \x07", ":1: cannot be read"),
    ],
    ids=lambda value: f"{value[:12]}{len(value)}",
)
def test_a_bad_file_is_reported_with_its_line(
    text: str, printed: str, tmp_path: Path, run: Run
) -> None:
    file = tmp_path / "vm.yaml"
    file.write_text(text)

    result = run("create", "--file", str(file))

    assert result.exit_code == ExitCode.USAGE
    assert f"{file}{printed}" in result.stderr


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "absent": (lambda _: None, "No such file or directory"),
    "UTF-16": (lambda path: path.write_text("name: a", encoding="utf-16"), "is not UTF-8 at byte 0"),
    "cut": (lambda path: path.write_bytes("name: \u00e9".encode()[:-1]), "is not UTF-8 at byte 6"),
    "directory": (Path.mkdir, "is a directory, not a regular file"),
    "FIFO": (os.mkfifo, "is a FIFO, not a regular file"),
    "zeros": (lambda path: path.symlink_to("/dev/zero"), "is a character device, not a regular file"),
    "long": (lambda path: path.write_bytes(bytes((8 << 20) + 1)), "has more than 8388608 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "command",
    [
        ("create", "--file"),
        ("migrate", "default-1", "--file"),
        ("compare", "--file"),
        ("scenario", "run"),
    ],
    ids=lambda command: command[0],
)
def test_a_file_that_cannot_be_read_is_reported(
    name: str, command: tuple[str, ...], tmp_path: Path, run: Run
) -> None:
    make, message = FILES[name]
    file = tmp_path / "given.yaml"
    make(file)

    result = run(*command, str(file))

    assert (result.exit_code, result.stderr) == (ExitCode.USAGE, f"{file}: {message}\n")


def test_standard_input_is_bounded_as_files_are(run: Run) -> None:
    result = run("create", "--file", "-", stdin=" " * ((8 << 20) + 1))

    assert (result.exit_code, result.stderr) == (
        ExitCode.USAGE,
        "stdin: has more than 8388608 bytes\n",
    )


def test_the_token_comes_from_the_environment_or_the_option() -> None:
    with serve_in_thread(token="secret") as service:  # noqa: S106 - a test's
        to = ["list", "--url", service.url]

        refused = CliRunner().invoke(cli, to)
        by_option = CliRunner().invoke(cli, [*to, "--token", "secret"])
        by_environment = CliRunner().invoke(cli, to, env={"HACDBS_TOKEN": "secret"})

    assert (refused.exit_code, "401 unauthorized" in refused.stderr) == (ExitCode.REFUSED, True)
    assert (by_option.exit_code, by_environment.exit_code) == (ExitCode.GOOD, ExitCode.GOOD)


def complete(words: str) -> list[str]:
    """Complete a line as bash asks for it."""
    environment = {
        "_HACDBS_SIM_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    result = CliRunner().invoke(cli, [], prog_name="hacdbs-sim", env=environment)
    return result.stdout.split()


def test_the_shell_completes_commands() -> None:
    assert complete("hacdbs-sim dir") == ["dirty", "dirty-rate"]
    assert complete("hacdbs-sim dirty p") == ["peek"]


def test_the_shell_completes_ids_of_vms(vm: Vm, run: Run) -> None:
    assert run("list").exit_code == 0

    assert complete("hacdbs-sim inspect def") == [vm.vm_id]


def test_the_shell_completes_no_ids_without_a_service(
    nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HACDBS_URL", nobody)

    assert complete("hacdbs-sim inspect def") == []


def test_help_lists_every_command() -> None:
    printed = CliRunner().invoke(cli, ["--help"]).stdout

    for name in ("list", "dirty", "fault", "cpu", "serve", "demo"):
        assert f" {name} " in printed


def test_serving_and_health_checks_load_no_client() -> None:
    asked = (
        "import sys, hacdbs_sim.cli; print(*[m for m in ('httpx', 'numpy') if m in sys.modules])"
    )

    printed = subprocess.run([sys.executable, "-c", asked], capture_output=True, check=True)  # noqa: S603 - this interpreter

    assert printed.stdout == b"\n"
