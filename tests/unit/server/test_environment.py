"""Settings on the command line: what is refused, and with which message."""

import os
import socket
from collections.abc import Generator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.server.runner import listen, write_port
from app.settings import PREFIX, BadSettingsError, override_settings, read_settings
from hacdbs_sim.cli.root import cli


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    yield
    # What options put there is the command's own doing, unknown to monkeypatch
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]


def test_options_come_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HACDBS_PORT", "8001")

    override_settings(port=0, host=None, log_format="json")

    assert os.environ["HACDBS_PORT"] == "0"
    assert os.environ["HACDBS_LOG_FORMAT"] == "json"
    assert "HACDBS_HOST" not in os.environ


HOSTS = "must be names or addresses without scheme and port, as localhost or [::1]"


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("HACDBS_PORT", "99999", 'must be at most 65535 (got "99999")'),
        ("HACDBS_PORT", "x", 'must be an integer (got "x")'),
        ("HACDBS_MAX_VMS", "0", 'must be at least 1 (got "0")'),
        ("HACDBS_HOST_KVM", "x", 'must be true or false (got "x")'),
        ("HACDBS_LOG_LEVEL", "loud", 'must be one of debug, info, warning, error (got "loud")'),
        ("HACDBS_ALLOWED_HOSTS", ",", "must name at least one host"),
        ("HACDBS_ALLOWED_HOSTS", "x,http://x", f'{HOSTS} (got "http://x")'),
        ("HACDBS_ALLOWED_HOSTS", "x:8000", f'{HOSTS} (got "x:8000")'),
        ("HACDBS_ALLOWED_HOSTS", "*.example", f'{HOSTS} (got "*.example")'),
    ],
)
def test_a_bad_setting_is_named_with_its_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, line: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(BadSettingsError) as refused:
        read_settings()

    assert str(refused.value) == f"{name}: {line}"


@pytest.mark.parametrize("hosts", ["*", "localhost,127.0.0.1,[::1]", "Sim.example,a_b.default.svc"])
def test_names_and_addresses_may_be_allowed(monkeypatch: pytest.MonkeyPatch, hosts: str) -> None:
    monkeypatch.setenv("HACDBS_ALLOWED_HOSTS", hosts)

    assert read_settings().allowed_hosts == tuple(hosts.lower().split(","))


@pytest.mark.parametrize(
    ("command", "status"), [("serve", 2), ("healthcheck", 1)], ids=["serve", "healthcheck"]
)
@pytest.mark.parametrize(("name", "value"), [("HACDBS_PROT", "8000"), ("HACDBS_LOG_LEVEL", "loud")])
def test_bad_settings_end_a_command_with_a_message(
    command: str, status: int, name: str, value: str
) -> None:
    result = CliRunner().invoke(cli, [command], env={name: value})

    assert result.exit_code == status
    assert name in result.stderr


@pytest.mark.parametrize("given", ["2", "0", "x", " 4 "])
def test_serve_refuses_a_variable_that_asks_for_more(given: str) -> None:
    ended = CliRunner().invoke(cli, ["serve", "--port", "0"], env={"WEB_CONCURRENCY": given})

    assert ended.exit_code == 2
    assert f"hacdbs-sim is one process, not WEB_CONCURRENCY={given}" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "token", ["", " ", " padded", "padded ", "two parts", "tab\t", "caf\u00e9"]
)
def test_an_unusable_token_ends_the_start_with_one_line_that_does_not_show_it(token: str) -> None:
    by_serve = CliRunner().invoke(cli, ["serve", "--port", "0"], env={"HACDBS_TOKEN": token})

    assert by_serve.exit_code == 2
    line = "HACDBS_TOKEN: must be visible ASCII characters, at least one, and no space\n"
    assert by_serve.stderr == line


def test_a_port_in_use_is_reported() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]

        result = CliRunner().invoke(cli, ["serve", "--port", str(port)])

    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert f"cannot listen on 127.0.0.1:{port}: [Errno " in line
    assert line.endswith("] Address already in use; choose another with --port")


def test_the_address_decides_the_family() -> None:
    with listen("127.0.0.1", 0) as listener:
        assert listener.family is socket.AF_INET
    if socket.has_ipv6:
        with listen("::1", 0) as listener:
            assert listener.family is socket.AF_INET6


def test_the_port_file_replaces_an_old_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "port"
    path.write_text("old and longer\n")

    write_port(path, 4711)

    assert path.read_text() == "4711\n"
    assert list(tmp_path.iterdir()) == [path]


def test_no_response_is_not_healthy() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]

    result = CliRunner().invoke(cli, ["healthcheck", "--port", str(port)])

    assert result.exit_code == 1
    assert "no response" in result.stderr
