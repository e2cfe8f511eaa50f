"""The proxy's settings, all ``PROXY_…``."""

from pathlib import Path
from typing import Annotated, Final

import orjson
from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from ledger.spending.admission import AdmissionRules
from proxy.chat.request import MAX_TOKENS_CAP
from proxy.model_aliases import ModelAliases, parse_aliases
from proxy.webhooks.signing import TIMEOUT_S
from serving.dialects.call import LimitRules
from serving.dialects.serving_facts import STRANGER, Facts, parse_declared
from serving.http.cors import parse_origins
from serving.http.errors import RequestRejected
from serving.http.limits import is_loopback
from serving.http.settings import ServerSettings
from serving.models.dialing import DialRules
from serving.models.grades import Grade
from serving.process.secrets import PreviousSecrets, SigningSecret, list_secrets
from serving.process.settings import is_url

RESOLVE_MARGIN_S: Final = 30
"""Time to write a post after upstream's last byte, before the lease may lapse."""


def _check_aliases(text: str) -> str:
    parse_aliases(text)
    return text


def _parse_declared(text: str) -> Facts:
    return parse_declared(orjson.loads(text)) if text else STRANGER


def _check_declared(text: str) -> str:
    try:
        _parse_declared(text)
    except (ValueError, RequestRejected) as error:
        raise ValueError(f"must be a declaration as JSON: {error}") from None
    return text


class ProxySettings(ServerSettings):
    """How keys are made, where upstream is, and what must hold for a request to be admitted."""

    model_config = SettingsConfigDict(env_prefix="PROXY_", frozen=True, extra="forbid")

    port: int = Field(default=8402, ge=0, le=65_535, description="port to listen on; 0 = any free")

    key_secret: SigningSecret = Field(description="signs new API keys; 32 random bytes or more")
    key_secrets_previous: PreviousSecrets = Field(
        default=SecretStr(""),
        description="older key secrets that still verify, separated by white space or commas",
    )

    domain: str = Field(
        default="",
        pattern=r"^[^\s/?#@]*$",
        validate_default=True,
        description="what sign-in messages are bound to, as browsers show it; empty = host:port,"
        " on this machine only",
    )
    legacy_key_message: bool = Field(
        default=True,
        description="whether keys are also issued for the reference's plain text with a timestamp",
    )

    session_lifetime_s: int = Field(
        default=7 * 86_400,
        ge=300,
        le=90 * 86_400,
        description="how long a wallet stays signed in in a browser, seconds",
    )

    upstream_url: SecretStr = Field(description="OpenAI-compatible base URL, up to and with /v1")
    upstream_key: SecretStr = Field(default=SecretStr(""), description="bearer token for upstream")
    upstream_name: str = Field(
        default="upstream",
        pattern="^[A-Za-z0-9._-]{1,64}$",
        description="what x-current-served-by says where upstream is no market that names sellers",
    )
    minimum_grade: Grade = Field(
        default=Grade.COMPANY,
        description="the lowest provenance of a market's seller that serves depositors: A the"
        " model's maker, B also known companies, D anybody; no other upstream takes notice",
    )
    upstream_responses: bool = Field(
        default=False,
        description="whether upstream speaks /responses itself, with everybody behind it: requests"
        " in that dialect then pass as they are",
    )
    upstream_messages: bool = Field(
        default=False,
        description="whether upstream speaks Anthropic's /messages itself, as a market does:"
        " requests in that dialect then pass untranslated",
    )
    upstream_declares: Annotated[str, AfterValidator(_check_declared)] = Field(
        default="",
        description="how an upstream that is no market serves, JSON: zdr, data_collection, region,"
        " quantization, parameters; empty: as a stranger, which meets no policy",
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
        default=17 * 1024**2, ge=1_024, description="longest answer taken from upstream, bytes"
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

    max_tokens_cap: int = Field(
        default=MAX_TOKENS_CAP,
        ge=1,
        le=1_000_000,
        description="most output tokens of one choice; coding agents need 32000",
    )
    model_aliases: Annotated[str, AfterValidator(_check_aliases)] = Field(
        default="",
        description="names that clients ask for, as name=model with commas between; * is any text",
    )

    idempotency_position_bytes_max: int = Field(
        default=16 * 1024**2,
        ge=0,
        description="most that is kept of one position's answers, bytes; further ones are not kept",
    )

    archive_folder: Path | None = Field(
        default=None,
        description="folder of `current ledger archive`, whose receipts are given too",
    )

    mcp: bool = Field(
        default=True, description="whether agents find the tools at POST /mcp of this server"
    )
    mcp_market_url: str = Field(
        default="", description="root URL of a market whose APIs agents may call; empty = none"
    )
    mcp_creates_keys: bool = Field(
        default=False, description="whether agents with a root key may make child keys"
    )

    webhooks: bool = Field(
        default=True, description="whether owners may have endpoints told of their positions"
    )
    webhooks_loopback: bool = Field(
        default=False, description="whether webhooks may be on this machine: for the devnet"
    )

    otel_endpoint: str = Field(
        default="",
        description="OTLP endpoint for spans, up to and with /v1/traces; empty = none are made",
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

    @field_validator("domain")
    @classmethod
    def _need_public_domain(cls, domain: str, info: ValidationInfo) -> str:
        # Bound to an address that no browser shows, a message would sign in anywhere behind it.
        host = info.data.get("host", "127.0.0.1")
        if not domain and not (host == "localhost" or is_loopback(host)):
            raise ValueError("must be set where the server listens on more than loopback")
        return domain

    @field_validator("upstream_url")
    @classmethod
    def _refuse_odd_url(cls, url: SecretStr) -> SecretStr:
        text = url.get_secret_value()
        if not is_url(text):
            raise ValueError("must be an http or https URL")
        return SecretStr(text.rstrip("/"))

    @field_validator("otel_endpoint", "mcp_market_url")
    @classmethod
    def _refuse_odd_endpoint(cls, url: str) -> str:
        if url and not is_url(url):
            raise ValueError("must be an http or https URL")
        return url

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
        # An admitted request must end, and be settled, while the hold lives.
        stream_s = info.data.get("stream_timeout_s", 0.0) + RESOLVE_MARGIN_S
        if hold_margin_s < max(info.data.get("lease_s", 0), stream_s):
            raise ValueError(f"must be at least lease_s, and stream_timeout_s + {RESOLVE_MARGIN_S}")
        return hold_margin_s

    def get_domain(self) -> str:
        """Return what sign-in messages are bound to."""
        return self.domain or f"{self.host}:{self.port}"

    def dial_rules(self) -> DialRules:
        """Return which endpoints of owners may be called."""
        return DialRules(
            allow_loopback=self.webhooks_loopback,
            read_timeout_s=TIMEOUT_S,
            connections_max=4,
            user_agent="current-webhooks",
        )

    def list_page_origins(self) -> frozenset[str]:
        """Return the origins whose pages may call the tools for agents: own and listed ones."""
        own = {f"{scheme}://{self.get_domain()}" for scheme in ("http", "https")}
        return parse_origins(self.cors_origins) | own

    def get_limits(self) -> LimitRules:
        """Return how many output tokens of one choice are let through."""
        return LimitRules(default=min(MAX_TOKENS_CAP, self.max_tokens_cap), cap=self.max_tokens_cap)

    def get_aliases(self) -> ModelAliases:
        """Return which models other names mean."""
        return parse_aliases(self.model_aliases)

    def list_native_dialects(self) -> frozenset[str]:
        """Return the names of the dialects in which requests pass to upstream as they are."""
        spoken = {"responses": self.upstream_responses, "messages": self.upstream_messages}
        return frozenset(name for name, is_spoken in spoken.items() if is_spoken)

    def get_upstream_facts(self) -> Facts:
        """Return how an upstream that is no market serves, by the operator's word."""
        return _parse_declared(self.upstream_declares)

    def key_secrets(self) -> tuple[bytes, ...]:
        """Return every live key secret; the first one signs."""
        return list_secrets(self.key_secret, self.key_secrets_previous)

    def admission_rules(self) -> AdmissionRules:
        """Return the part that the ledger needs to admit a reservation."""
        return AdmissionRules(
            hold_margin_s=self.hold_margin_s,
            max_staleness_s=self.max_staleness_s,
            lease_s=self.lease_s,
        )
