"""What every server's settings share: where it listens, and what it bounds."""

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator

from serving.http.cors import ANY, Cors, CorsRules, parse_origins
from serving.http.limits import Limits, is_among, parse_networks
from serving.http.repeated import RepeatRules
from serving.http.security_text import CONTACT_PATTERN
from serving.http.silence import SilentConnections
from serving.process.settings import ProcessSettings


def _check_networks(text: str) -> str:
    parse_networks(text)
    return text


def _check_origins(text: str) -> str:
    parse_origins(text)
    return text


def _is_sqlite(ledger_url: SecretStr | None) -> bool:
    return ledger_url is not None and ledger_url.get_secret_value().startswith("sqlite")


class ServerSettings(ProcessSettings):
    """Where a server listens, how much and how often clients may ask, and how it stops."""

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(ge=0, le=65_535, description="port to listen on; 0 = any free")
    log_level: str = Field(
        default="info",
        pattern="^(debug|info|warning|error)$",
        description="least level that is logged",
    )
    processes: int = Field(
        default=1,
        ge=1,
        le=64,
        description="how many processes serve on the port together; several need PostgreSQL",
    )
    headers_bytes_max: int = Field(
        default=32 * 1024, ge=1_024, description="longest request line and headers, bytes"
    )
    headers_timeout_s: float = Field(
        default=30.0, gt=0, description="longest wait for a request's line and headers, seconds"
    )
    keep_alive_s: int = Field(
        default=75,
        ge=5,
        le=3_600,
        description=(
            "how long a connection without a request is kept, seconds; a reverse proxy must give"
            " its own up earlier, or requests meet one that is being closed"
        ),
    )
    body_bytes_max: int = Field(
        default=4 * 1024**2, ge=1_024, description="longest request body, bytes"
    )
    body_timeout_s: float = Field(
        default=30.0, gt=0, description="longest wait for a body, seconds"
    )
    silent_connections_max: int = Field(
        default=4_096,
        ge=4,
        description=(
            "most connections that have not said what they ask, and as many that are kept after an"
            " answer; one address, a quarter"
        ),
    )
    open_body_bytes_max: int = Field(
        default=128 * 1024**2,
        ge=64 * 1024,
        description=("most that is kept of bodies being read, bytes; a quarter for one client"),
    )
    metrics_token: SecretStr = Field(
        default=SecretStr(""),
        description="bearer token for /metrics; without it: for nobody",
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
        description=(
            "sign-ins for a key, and nonces for them, from one address a minute, likewise;"
            " 0 = no limit"
        ),
    )
    trusted_proxies: Annotated[str, AfterValidator(_check_networks)] = Field(
        default="",
        description="addresses or networks whose X-Forwarded-For is believed, with commas between",
    )
    requests_in_flight_max: int = Field(
        default=1_000,
        ge=1,
        description="most inference requests at a time; more are told to come again",
    )
    ledger_timeout_s: float = Field(
        default=15.0, gt=0, description="longest wait for one write, seconds"
    )
    drain_timeout_s: int = Field(
        default=30, ge=1, description="how long SIGTERM lets open requests finish, seconds"
    )
    sweep_interval_s: float = Field(
        default=15.0, gt=0, description="pause between two looks for dead reservations, seconds"
    )

    nonce_lifetime_s: int = Field(
        default=300,
        ge=30,
        le=86_400,
        description="how long a sign-in may be signed, seconds; a Safe's owners may need hours",
    )

    idempotency_answer_bytes_max: int = Field(
        default=1024**2,
        ge=0,
        le=64 * 1024**2,
        description="longest answer that is kept for a repeated Idempotency-Key, bytes",
    )
    idempotency_bytes_max: int = Field(
        default=4 * 1024**3,
        ge=0,
        description="most that is kept of all answers together, bytes; further ones are not kept",
    )
    idempotency_wait_s: float = Field(
        default=60.0,
        ge=0,
        le=600,
        description="how long a repeated request waits for the first one, seconds",
    )

    security_contact: str = Field(
        default="",
        pattern=CONTACT_PATTERN,
        description="where weaknesses are to be reported, an https or mailto URL: security.txt",
    )

    cors_origins: Annotated[str, AfterValidator(_check_origins)] = Field(
        default="",
        description="origins whose web pages may ask from a browser, with commas between; * = any",
    )
    cors_credentials: bool = Field(
        default=False,
        validate_default=True,
        description="whether such pages may send cookies and client certificates; not with *",
    )

    @field_validator("processes")
    @classmethod
    def _refuse_several_on_sqlite(cls, processes: int, info: ValidationInfo) -> int:
        ledger_url = info.data.get("ledger_url")
        if processes > 1 and _is_sqlite(ledger_url):
            raise ValueError("several processes need PostgreSQL: SQLite has one writer")
        return processes

    @field_validator("cors_credentials")
    @classmethod
    def _refuse_any_with_credentials(cls, has_credentials: bool, info: ValidationInfo) -> bool:
        if has_credentials and ANY in parse_origins(info.data.get("cors_origins", "")):
            raise ValueError("not together with any origin ('*'): list the origins")
        return has_credentials

    def build_cors(self) -> Cors | None:
        """Return who may ask from a browser, None where no other origin may."""
        origins = parse_origins(self.cors_origins)
        return Cors(CorsRules(origins, self.cors_credentials)) if origins else None

    def repeat_rules(self) -> RepeatRules:
        """Return what is kept of answers for requests that come again."""
        return RepeatRules(
            self.idempotency_answer_bytes_max,
            self.idempotency_wait_s,
            self.idempotency_bytes_max,
        )

    def build_limits(self) -> Limits:
        """Return the limits of one process, all unused."""
        return Limits(
            headers_bytes_max=self.headers_bytes_max,
            key_per_minute=self.key_requests_per_minute_max,
            address_per_minute=self.address_requests_per_minute_max,
            sign_in_per_minute=self.address_keys_per_minute_max,
            trusted=parse_networks(self.trusted_proxies),
            open_body_bytes_max=self.open_body_bytes_max,
            metrics_token=self.metrics_token.get_secret_value(),
        )

    def build_silent_connections(self) -> SilentConnections:
        """Return what bounds the connections that have not said what they ask."""
        trusted = parse_networks(self.trusted_proxies)
        return SilentConnections(
            self.silent_connections_max, is_exempt=lambda address: is_among(address, trusted)
        )
