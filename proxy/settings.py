"""The proxy's settings, all ``PROXY_…``."""

from pathlib import Path
from typing import Final

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from ledger.spending.admission import AdmissionRules
from proxy.http.limits import parse_networks
from serving.process.settings import ProcessSettings

KEY_SECRET_BYTES_MIN: Final = 32
KEY_SECRET_SYMBOLS_MIN: Final = 8
_PLACEHOLDERS: Final = ("changeme", "change-me", "change_me", "secret", "password", "example")

RESOLVE_MARGIN_S: Final = 30
"""Time to write a post after upstream's last byte, before the lease may lapse."""


class ProxySettings(ProcessSettings):
    """How keys are made, where upstream is, and what must hold for a request to be admitted."""

    model_config = SettingsConfigDict(env_prefix="PROXY_", frozen=True, extra="forbid")

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8402, ge=0, le=65_535, description="port to listen on; 0 = any free")
    log_level: str = Field(
        default="info",
        pattern="^(debug|info|warning|error)$",
        description="least level that is logged",
    )

    key_secret: SecretStr = Field(description="signs new API keys; 32 random bytes or more")
    key_secrets_previous: SecretStr = Field(
        default=SecretStr(""),
        description="older key secrets that still verify, separated by white space or commas",
    )

    domain: str = Field(
        default="",
        pattern=r"^[^\s/?#@]*$",
        description="what sign-in messages are bound to, as browsers show it; empty = host:port",
    )
    legacy_key_message: bool = Field(
        default=True,
        description="whether keys are also issued for the reference's plain text with a timestamp",
    )

    upstream_url: SecretStr = Field(description="OpenAI-compatible base URL, up to and with /v1")
    upstream_key: SecretStr = Field(default=SecretStr(""), description="bearer token for upstream")
    upstream_name: str = Field(
        default="upstream",
        pattern="^[A-Za-z0-9._-]{1,64}$",
        description="what x-current-served-by says",
    )
    upstream_connect_timeout_s: float = Field(
        default=5.0, gt=0, le=60, description="longest wait for a connection, seconds"
    )
    upstream_timeout_s: float = Field(
        default=180.0, gt=0, le=3_600, description="longest wait for a whole completion, seconds"
    )
    stream_timeout_s: float = Field(
        default=600.0, gt=0, le=3_600, description="longest that a stream may take, seconds"
    )
    stream_drain_s: float = Field(
        default=15.0,
        gt=0,
        le=600,
        description="how long a stream is read on after its client has left, seconds",
    )
    upstream_connections_max: int = Field(
        default=512, ge=1, le=65_536, description="most connections to upstream at a time"
    )
    upstream_body_bytes_max: int = Field(
        default=16 * 1024**2, ge=1_024, description="longest answer taken from upstream, bytes"
    )
    catalogue_interval_s: float = Field(
        default=15.0, gt=0, le=3_600, description="pause between two looks at upstream's models"
    )
    prices_file: Path | None = Field(default=None, description="the operator's prices, TOML")
    upstream_prices: bool = Field(
        default=True, description="whether upstream's own /v1/prices come before all others"
    )
    upstream_prices_age_s_max: int = Field(
        default=86_400, ge=1, description="oldest price of upstream's that still counts, seconds"
    )

    body_bytes_max: int = Field(
        default=4 * 1024**2, ge=1_024, description="longest request body, bytes"
    )
    body_timeout_s: float = Field(
        default=30.0, gt=0, description="longest wait for a body, seconds"
    )
    headers_bytes_max: int = Field(
        default=32 * 1024, ge=1_024, description="longest request line and headers, bytes"
    )
    key_requests_per_minute_max: int = Field(
        default=0, ge=0, description="requests of one key a minute, in this process; 0 = no limit"
    )
    address_requests_per_minute_max: int = Field(
        default=0, ge=0, description="requests of one address a minute, likewise; 0 = no limit"
    )
    address_keys_per_minute_max: int = Field(
        default=60,
        ge=0,
        description="wishes for a root key from one address a minute, likewise; 0 = no limit",
    )
    trusted_proxies: str = Field(
        default="",
        description="addresses or networks whose X-Forwarded-For is believed, with commas between",
    )
    otel_endpoint: str = Field(
        default="",
        description="OTLP endpoint for spans, up to and with /v1/traces; empty = none are made",
    )
    requests_in_flight_max: int = Field(
        default=1_000, ge=1, description="most completions at a time; more are told to come again"
    )
    ledger_timeout_s: float = Field(
        default=15.0, gt=0, description="longest wait for one write, seconds"
    )
    drain_timeout_s: int = Field(
        default=30, ge=1, description="how long SIGTERM lets open requests finish, seconds"
    )

    max_staleness_s: int = Field(
        default=60, ge=1, description="oldest mirror that still admits requests, seconds"
    )
    lease_s: int = Field(
        default=300,
        ge=1,
        validate_default=True,
        description="how long a reservation stands if its process dies, seconds",
    )
    hold_margin_s: int = Field(
        default=900,
        ge=1,
        validate_default=True,
        description="how long a hold must outlive a reservation, seconds",
    )
    sweep_interval_s: float = Field(
        default=15.0, gt=0, description="pause between two looks for dead reservations, seconds"
    )

    @field_validator("key_secret")
    @classmethod
    def _refuse_weak_secret(cls, secret: SecretStr) -> SecretStr:
        validate_secret(secret.get_secret_value())
        return secret

    @field_validator("key_secrets_previous")
    @classmethod
    def _refuse_weak_secrets(cls, secrets: SecretStr) -> SecretStr:
        for secret in _split(secrets):
            validate_secret(secret)
        return secrets

    @field_validator("upstream_url")
    @classmethod
    def _refuse_odd_url(cls, url: SecretStr) -> SecretStr:
        text = url.get_secret_value()
        if not text.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return SecretStr(text.rstrip("/"))

    @field_validator("trusted_proxies")
    @classmethod
    def _refuse_odd_networks(cls, text: str) -> str:
        parse_networks(text)
        return text

    @field_validator("lease_s")
    @classmethod
    def _outlive_upstream(cls, lease_s: int, info: ValidationInfo) -> int:
        # A lease that ran out while upstream still worked would give the reservation away.
        waits = (info.data.get(name, 0.0) for name in ("upstream_timeout_s", "ledger_timeout_s"))
        least_s = sum(waits) + RESOLVE_MARGIN_S
        if lease_s < least_s:
            raise ValueError(
                f"must be at least {least_s}: upstream_timeout_s + ledger_timeout_s"
                f" + {RESOLVE_MARGIN_S}"
            )
        return lease_s

    @field_validator("hold_margin_s")
    @classmethod
    def _outlive_lease(cls, hold_margin_s: int, info: ValidationInfo) -> int:
        # What is admitted must end, and be settled, while the hold lives.
        stream_s = info.data.get("stream_timeout_s", 0.0) + RESOLVE_MARGIN_S
        if hold_margin_s < max(info.data.get("lease_s", 0), stream_s):
            raise ValueError(f"must be at least lease_s, and stream_timeout_s + {RESOLVE_MARGIN_S}")
        return hold_margin_s

    def get_domain(self) -> str:
        """Return what sign-in messages are bound to."""
        return self.domain or f"{self.host}:{self.port}"

    def key_secrets(self) -> tuple[bytes, ...]:
        """Return every live key secret, the one that signs first."""
        return tuple(
            secret.encode()
            for secret in (*_split(self.key_secret), *_split(self.key_secrets_previous))
        )

    def admission_rules(self) -> AdmissionRules:
        """Return the part that the ledger needs to admit a reservation."""
        return AdmissionRules(
            hold_margin_s=self.hold_margin_s,
            max_staleness_s=self.max_staleness_s,
            lease_s=self.lease_s,
        )


def validate_secret(secret: str) -> None:
    """Raise ``ValueError`` for a key secret that is short, a placeholder or hardly random."""
    if len(secret.encode()) < KEY_SECRET_BYTES_MIN:
        raise ValueError(f"must have at least {KEY_SECRET_BYTES_MIN} bytes")
    if any(character.isspace() or character == "," for character in secret):
        raise ValueError("must not contain white space or commas")
    if len(set(secret)) < KEY_SECRET_SYMBOLS_MIN:
        raise ValueError("is not random: too few different characters")
    if any(word in secret.lower() for word in _PLACEHOLDERS):
        raise ValueError("is a placeholder; make one with: openssl rand -hex 32")


def _split(secrets: SecretStr) -> list[str]:
    return secrets.get_secret_value().replace(",", " ").split()
