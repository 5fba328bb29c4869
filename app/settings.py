"""Settings: the HACDBS_* environment, read once at start; an unknown HACDBS_* name is refused."""

import json
import os
import re
from collections.abc import Iterable
from enum import StrEnum
from importlib.util import find_spec
from typing import Annotated, Final, Self

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from hacdbs_sim.launcher import MissingExtraError

PREFIX: Final = "HACDBS_"
URL_VARIABLE: Final = "HACDBS_URL"
"""The URL of the service for clients: not a setting of the service, but allowed beside them."""

_TOKEN_VARIABLE: Final = f"{PREFIX}TOKEN"
_OTEL_PACKAGES: Final = (
    "opentelemetry.sdk",
    "opentelemetry.exporter.otlp.proto.http",
    "opentelemetry.instrumentation.asgi",
)
_TOKEN: Final = re.compile(r"[!-~]+\Z")

ANY_HOST: Final = "*"
HOST_PATTERN: Final = r"\[[0-9a-f:.]{2,45}\]|[a-z0-9_](?:[a-z0-9._-]{0,252}[a-z0-9_.])?"
"""A name or an address, in lowercase (RFC 9110, 7.2)."""

_HOST: Final = re.compile(rf"(?:{HOST_PATTERN})\Z", re.ASCII)


class LogFormat(StrEnum):
    """The format of log lines."""

    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    """The lowest severity that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class UnknownSettingError(ValueError):
    """The environment holds a HACDBS_* name that is not a setting: most likely a typing error."""


class Settings(BaseSettings):
    """The service's settings; each is the environment variable HACDBS_{NAME}."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True
    )

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0: any.")
    token: SecretStr | None = Field(
        default=None, description="Bearer token that calls must carry; none: no token asked."
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("localhost", "127.0.0.1", "[::1]"),
        description="Names the Host header may hold, comma separated; `*`: any.",
    )
    log_format: LogFormat = LogFormat.CONSOLE
    log_level: LogLevel = LogLevel.INFO
    scenario: str | None = Field(
        default=None,
        min_length=1,
        description="Scenario that `default` is at the start: a file, or the name of one that ships.",
    )
    max_vms: int = Field(default=10_000, ge=1, description="VMs at a time, over all sessions.")
    max_pages_per_vm: int = Field(
        default=1 << 29,
        ge=1,
        description="Guest pages in all slots of one VM; 2^29 is 2 TiB of 4 KiB pages.",
    )
    max_state_bytes: int = Field(
        default=4 << 30, ge=1, description="Bytes of planes and bitmaps, over all VMs."
    )
    max_body_bytes: int = Field(default=64 << 20, ge=1, description="Bytes of one request body.")
    max_batch_bytes: int = Field(
        default=16 << 20, ge=1, description="Bytes of the body of one batch."
    )
    max_traffic_bytes: int = Field(
        default=2 << 30,
        ge=16 << 20,
        description="Bytes that requests in flight hold: bodies, what is made of them, answers.",
    )
    max_idempotency_bytes: int = Field(
        default=512 << 20,
        ge=1 << 16,
        description="Bytes of answers kept for retries, over all sessions; one may hold an eighth.",
    )
    idempotency_seconds: int = Field(
        default=3600, ge=1, description="How long an answer is kept for retries."
    )

    host_kvm: bool = Field(
        default=False, description="Whether VMs of this machine's /dev/kvm may be made."
    )
    otel: bool = Field(
        default=False,
        description="Whether requests are traced with OpenTelemetry; OTEL_* say where to.",
    )

    @field_validator("token")
    @classmethod
    def _check_token(cls, value: SecretStr | None) -> SecretStr | None:
        # No header carries another one, so with it every call would be refused
        if value is not None and _TOKEN.match(value.get_secret_value()) is None:
            raise ValueError("must be visible ASCII characters, at least one, and no space")
        return value

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(host.strip().lower() for host in value.split(",") if host.strip())
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _check_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("must name at least one host")
        for host in value:
            if host != ANY_HOST and _HOST.match(host) is None:
                raise ValueError(
                    "must be names or addresses without scheme and port, as localhost or [::1]"
                    f" (got {json.dumps(host)})"
                )
        return value

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @classmethod
    def from_environment(cls, **given: object) -> Self:
        """Read the settings that are not given; refuse unknown names, of both."""
        if unknown := given.keys() - cls.model_fields.keys():
            raise _unknown(unknown, cls.model_fields)
        known = {PREFIX + name.upper() for name in cls.model_fields}
        present = (name for name in os.environ if name.upper().startswith(PREFIX))
        if unknown := {name for name in present if name.upper() not in {*known, URL_VARIABLE}}:
            raise _unknown(unknown, known)
        empty = (name for name, value in os.environ.items() if not value)
        if "token" not in given and any(name.upper() == _TOKEN_VARIABLE for name in empty):
            given["token"] = ""  # not ignored as other empty ones: the service would ask for none
        return cls(**given)  # type: ignore[arg-type]  # pydantic judges them


def _unknown(names: Iterable[str], known: Iterable[str]) -> UnknownSettingError:
    there_are = ", ".join(sorted(known))
    return UnknownSettingError(
        f"unknown setting {', '.join(sorted(names))}; the settings are {there_are}"
    )


class BadSettingsError(ValueError):
    """The environment has invalid settings; the message has a line for each variable."""


def read_settings(**given: object) -> Settings:
    """Read HACDBS_* from the environment, but for the settings that are given by name.

    Raises:
        BadSettingsError: An invalid one, an unknown name, or one that needs what is not installed.
    """
    try:
        settings = Settings.from_environment(**given)
    except UnknownSettingError as error:
        raise BadSettingsError(str(error)) from error
    except ValidationError as error:
        raise BadSettingsError("\n".join(map(_line, error.errors()))) from None
    missing = next(filter(_is_missing, _OTEL_PACKAGES), None) if settings.otel else None
    if missing is not None:
        raise BadSettingsError(f"{PREFIX}OTEL: {MissingExtraError('otel', missing)}")
    return settings


def _is_missing(package: str) -> bool:
    """Return whether a package is not installed; a parent of it may be missing too."""
    try:
        return find_spec(package) is None
    except ModuleNotFoundError:
        return True


def _line(error: ErrorDetails) -> str:
    """Return the line of a bad setting; our own checks show the value, but for the token's."""
    # Only here, for it takes as long as all else of a health check
    from hacdbs_sim.wire.errors import detail_of  # noqa: PLC0415

    line = f"{PREFIX}{str(error['loc'][0]).upper()}: {detail_of(error)}"
    return line if error["type"] == "value_error" else f"{line} (got {json.dumps(error['input'])})"


def override_settings(**values: object) -> None:
    """Set given options in the environment; child processes of this process inherit them."""
    for name, value in values.items():
        if value is not None:
            os.environ[PREFIX + name.upper()] = str(value)
