import pytest
from pydantic import ValidationError

from app.settings import LogFormat, Settings, UnknownSettingError


def test_the_service_listens_on_loopback_and_asks_no_token_by_default() -> None:
    settings = Settings.from_environment()

    assert settings.host == "127.0.0.1"
    assert settings.port == 8000
    assert settings.token is None
    assert settings.allowed_hosts == ("localhost", "127.0.0.1", "[::1]")


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HACDBS_ALLOWED_HOSTS", "Sim.example, localhost")
    monkeypatch.setenv("HACDBS_LOG_FORMAT", "JSON")
    monkeypatch.setenv("HACDBS_MAX_VMS", "3")
    monkeypatch.setenv("HACDBS_TOKEN", "s3cret")

    settings = Settings.from_environment()

    assert settings.allowed_hosts == ("sim.example", "localhost")
    assert settings.log_format is LogFormat.JSON
    assert settings.max_vms == 3
    assert settings.token is not None
    assert settings.token.get_secret_value() == "s3cret"
    assert "s3cret" not in repr(settings)


def test_an_unknown_setting_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HACDBS_MAX_VM", "3")

    with pytest.raises(UnknownSettingError, match="HACDBS_MAX_VM;"):
        Settings.from_environment()


@pytest.mark.parametrize(
    ("name", "value"),
    [("HACDBS_MAX_VMS", "0"), ("HACDBS_PORT", "65536"), ("HACDBS_LOG_LEVEL", "loud"),
     ("HACDBS_ALLOWED_HOSTS", ",")],
)  # fmt: skip
def test_a_senseless_value_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(ValidationError):
        Settings.from_environment()


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]
