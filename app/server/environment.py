"""The settings as the command line reads them, with messages that a person can act on."""

import os

from pydantic import ValidationError

from ..settings import PREFIX, Settings, UnknownSettingError


class BadSettingsError(Exception):
    """The environment has invalid settings; the message has a line for each variable."""


def read_settings() -> Settings:
    """Read HACDBS_* from the environment."""
    try:
        return Settings.from_environment()
    except UnknownSettingError as error:
        raise BadSettingsError(str(error)) from error
    except ValidationError as error:
        lines = [
            f"{PREFIX}{str(each['loc'][0]).upper()}: {each['msg']}, not {each['input']!r}"
            for each in error.errors()
        ]
        raise BadSettingsError("\n".join(lines)) from error


def override_settings(**values: object) -> None:
    """Set given options in the environment; child processes of this process inherit them."""
    for name, value in values.items():
        if value is not None:
            os.environ[PREFIX + name.upper()] = str(value)
