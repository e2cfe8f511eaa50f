"""What every process's settings share: where the node, the ledger and the contracts are."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from contracts.errors import Fatal

FILE_SUFFIX = "_FILE"
HTTP: Final = ("http", "https")


class SettingsInvalid(Fatal):
    """The environment does not configure this process; the message says what is wrong."""


class ProcessSettings(BaseSettings):
    """One process's settings, from the environment only, built once by its ``main``.

    Every secret ``X`` may be given as ``X_FILE``, the path of a file that holds it; an empty file
    gives none. A name with the process's prefix that no field knows is refused: it is a typo that
    would go unnoticed.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    takes_several_endpoints: ClassVar[bool] = False
    """Whether ``rpc_url`` may hold several endpoints, separated by white space."""

    rpc_url: SecretStr = Field(description="JSON-RPC endpoint of the chain; may hold a token")
    ledger_url: SecretStr = Field(
        description="SQLAlchemy URL of the ledger, e.g. sqlite:///ledger.sqlite3"
    )
    deployment_file: Path = Field(description="record that the deploy script wrote")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic-settings names them
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what the constructor is given: ``from_environment`` has read everything."""
        return (init_settings,)

    @field_validator("rpc_url")
    @classmethod
    def _refuse_odd_endpoints(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        urls = text.split() if cls.takes_several_endpoints else [text]
        if not urls or not all(is_url(url) for url in urls):
            several = "http or https URLs, separated by spaces"
            raise ValueError(
                f"must be {several if cls.takes_several_endpoints else 'an http or https URL'}"
            )
        return value

    def rpc_urls(self) -> list[str]:
        """Return the endpoints, the first to be asked first.

        The endpoints may hold tokens: for connecting, never for a log.
        """
        return self.rpc_url.get_secret_value().split()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Build the settings from ``environment``. Raises ``SettingsInvalid``; shows no value."""
        prefix = str(cls.model_config["env_prefix"])
        values: dict[str, Any] = {}
        for name, value in environment.items():
            if not name.startswith(prefix):
                continue
            field = name.removeprefix(prefix).lower()
            if field not in cls.model_fields and name.endswith(FILE_SUFFIX):
                field = field.removesuffix(FILE_SUFFIX.lower())
                value = _read_secret(name, value)
                if not value and field in cls.model_fields:
                    continue
            if field not in cls.model_fields:
                raise SettingsInvalid(f"{name} is not a setting of this process")
            if field in values:
                raise SettingsInvalid(f"{prefix}{field.upper()} is given twice")
            values[field] = value
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            problems = error.errors(include_input=False, include_url=False)
            missing = [problem["loc"] for problem in problems if problem["type"] == "missing"]
            texts = [
                _describe_problem(prefix, problem["loc"], problem["msg"])
                for problem in problems
                if problem["type"] != "missing"
            ]
            if missing:
                names = ", ".join(f"{prefix}{str(where[0]).upper()}" for where in missing)
                texts.insert(0, f"not set: {names}; docs/settings.md says what they are")
            raise SettingsInvalid("; ".join(texts)) from None


def is_url(text: str, schemes: tuple[str, ...] = HTTP) -> bool:
    """Tell whether a client can be given ``text``: a scheme of ``schemes``, a host, a port if any.

    ``urlsplit`` drops white space inside a URL, and clients do not: such a URL is refused.
    """
    if any(character.isspace() for character in text):
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _describe_problem(prefix: str, location: tuple[int | str, ...], message: str) -> str:
    message = message.removeprefix("Value error, ")
    # A check of several fields together has no location of its own.
    return f"{prefix}{str(location[0]).upper()}: {message}" if location else message


def _read_secret(name: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsInvalid(f"{name}: cannot read {path}: {type(error).__name__}") from None
