"""How commands end: exit codes, and messages on stderr."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Generator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import IO

import pytest
from typer.testing import CliRunner
from typing_extensions import override

from hacdbs_sim.cli.exit_codes import ExitCode
from hacdbs_sim.cli.root import cli
from hacdbs_sim.client import Service, Vm, serve_in_thread
from tests.support.wire import HANG_SECONDS
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
    assert result.stderr == ""


def test_a_refusal_by_the_schema_names_field_bound_and_value(run: Run) -> None:
    result = run("create", "--cpus", "0")

    assert result.exit_code == ExitCode.REFUSED
    assert result.stderr == (
        "refused: POST /v1/vms: 422 invalid_request"
        " body /cpus: must be an integer of 1..512 (got 0)\n"
    )


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (["inspect", "default-9"], '"default-9"'),
        (["fault", "add", "default-1", "ipaf", "--probability", "7.5"], "7.5"),
        (["dirty", "clear", "default-1", "0", "5", "--first-page", "3"], "3"),
        (["dirty", "get", "default-1", "77"], "77"),
        (["cpu", "unplug", "default-1", "88"], "88"),
        (["migrate", "default-1", "--slot", "7"], "7"),
        (["session", "create", "default"], "default"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.usefixtures("vm")
def test_a_refusal_is_said_once_with_the_value(arguments: list[str], value: str, run: Run) -> None:
    result = run(*arguments)

    assert result.exit_code == ExitCode.REFUSED
    (line,) = result.stderr.splitlines()
    said = line.partition(" 4")[2]
    assert value in said
    phrases = re.findall(r"[a-z]{3,}(?: [a-zA-Z]+){2,}", said)
    assert all(said.count(phrase) == 1 for phrase in phrases), said


def test_nobody_there_ends_in_4(nobody: str) -> None:
    result = CliRunner().invoke(cli, ["list", "--url", nobody])

    assert result.exit_code == ExitCode.UNREACHABLE
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"no service at {nobody}: ")
    advice = "start one with `hacdbs-sim serve`, or give the URL of another (HACDBS_URL)"
    assert line.endswith(f"; {advice}")


def test_another_service_there_ends_in_4(stranger: str) -> None:
    result = CliRunner().invoke(cli, ["list", "--url", stranger])

    assert result.exit_code == ExitCode.UNREACHABLE
    assert "no service" in result.stderr


@pytest.mark.parametrize("command", [["list"], ["wait"], ["demo"], ["qmp", "--unix", "unused"]])
def test_a_url_that_is_none_ends_in_2_at_once(command: list[str]) -> None:
    result = CliRunner().invoke(cli, [*command, "--url", "foo"])

    line = '--url must begin with http:// or https:// (got "foo")\n'
    assert (result.exit_code, result.stderr) == (ExitCode.USAGE, line)


def test_a_token_that_no_header_carries_ends_in_2() -> None:
    result = CliRunner().invoke(cli, ["list", "--token", "s\u00e9cret"])

    line = "--token must be visible ASCII characters\n"
    assert (result.exit_code, result.stderr) == (ExitCode.USAGE, line)


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

    assert refused.exit_code == ExitCode.REFUSED
    assert "401 unauthorized" in refused.stderr
    assert refused.stderr.endswith(" (set HACDBS_TOKEN)\n")
    assert (by_option.exit_code, by_environment.exit_code) == (ExitCode.GOOD, ExitCode.GOOD)


def perform(command: str, stdout: int | IO[str]) -> tuple[int, str]:
    """Run a command as a process, and return its status and what it complains of."""
    ended = subprocess.run(  # noqa: S603 - this program itself
        [sys.executable, "-m", "hacdbs_sim.cli", *command.split()],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=HANG_SECONDS,
    )
    return ended.returncode, ended.stderr


PRINTING = [
    "list",
    "list --json",
    "--version",
    "--help",
    "trace info xz",
    "scenario show lost-interrupt",
]


@pytest.mark.parametrize("command", PRINTING)
def test_a_full_disk_is_reported_without_a_traceback(
    command: str, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HACDBS_URL", service.url)

    with Path("/dev/full").open("w") as full:
        status, complaint = perform(command, full)

    assert complaint == "cannot write the output: No space left on device\n"
    assert status == ExitCode.OUTPUT


@pytest.mark.parametrize("command", PRINTING)
def test_a_closed_pipe_is_no_traceback(
    command: str, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HACDBS_URL", service.url)
    reader, writer = os.pipe()
    os.close(reader)

    try:
        status, complaint = perform(command, writer)
    finally:
        os.close(writer)

    assert complaint == ""
    assert status == ExitCode.OUTPUT


def test_standard_error_that_is_full_is_no_hang(nobody: str) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(  # noqa: S603 - this program itself
            [sys.executable, "-m", "hacdbs_sim.cli", "list", "--url", nobody],
            stdout=subprocess.PIPE,
            stderr=full,
            check=False,
            timeout=HANG_SECONDS,
        )

    assert (ended.returncode, ended.stdout) == (ExitCode.OUTPUT, b"")


def test_a_closed_standard_output_is_no_traceback(service: Service) -> None:
    shell = f"{sys.executable} -m hacdbs_sim.cli list --url {service.url} >&-"
    ended = subprocess.run(  # noqa: S602 - this program itself
        shell, shell=True, stderr=subprocess.PIPE, text=True, check=False, timeout=HANG_SECONDS
    )

    assert "Traceback" not in ended.stderr


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


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("session delete def", ["default"]),
        ("list --session def", ["default"]),
        ("create --session def", ["default"]),
        ("dirty get default-1 ", ["0"]),
        ("dirty peek default-1 0 --format b", ["base64"]),
        ("cpu unplug default-1 ", ["0", "1"]),
        ("fault add default-1 lost", ["lost_interrupt"]),
        ("fault add default-1 ipaf --op c", ["clear"]),
        ("fault add default-1 ipaf --slot ", ["0"]),
        ("fault rm default-1 ", ["f1"]),
        ("workload add default-1 hot", ["hot_set"]),
        ("workload add default-1 replay --trace s", ["sqlite"]),
        ("workload delete default-1 ", ["w1"]),
        ("migration show ", ["default-m1"]),
        ("migration switch", ["switch-over"]),
        ("wait --migration ", ["default-m1"]),
        ("migrate default-1 --preset n", ["never_converges"]),
        ("migrate default-1 --timeout-strategy s", ["switch_over"]),
        ("compare --preset c", ["converges"]),
        ("scenario run lost", ["lost-interrupt"]),
        ("scenario run lost-interrupt --backend h", ["host_kvm"]),
        ("create --kernel v", ["v1"]),
        ("create --page-size 6", ["64KiB"]),
        ("dirty-rate default-1 --mode p", ["page_sampling"]),
        ("events --type fault", ["fault_hit"]),
        ("trace info x", ["xz"]),
    ],
)
def test_the_shell_completes_what_can_be_listed(
    line: str, offered: list[str], vm: Vm, run: Run
) -> None:
    vm.add_fault("ipaf", times=1)
    vm.add_workload("uniform", slot=0, writes_per_second=1)
    vm.start_migration(max_iterations=1, timeout_strategy="switch_over").wait()
    assert run("list").exit_code == 0

    assert complete(f"hacdbs-sim {line}") == offered


def test_completion_asks_the_service_that_the_line_names(
    vm: Vm, service: Service, nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HACDBS_URL", nobody)

    assert complete(f"hacdbs-sim inspect --url {service.url} def") == [vm.vm_id]


@pytest.mark.parametrize(
    "line",
    ["inspect def", "dirty get default-1 ", "scenario run l", "session delete ", "fault rm x "],
)
@pytest.mark.parametrize("url", ["nobody", "stranger", "http://[::1"])
def test_the_shell_completes_no_ids_without_a_service(
    line: str, url: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HACDBS_URL", url if "/" in url else request.getfixturevalue(url))

    assert complete(f"hacdbs-sim {line}") == []


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
