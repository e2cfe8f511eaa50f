"""The market's settings, all ``MARKET_…``."""

from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from contracts.units import SECONDS_PER_DAY
from market.endpoints.client import SellerRules
from market.evidence_settings import EvidenceSettings
from market.listing.model_names import ListingRules
from market.media.job_following import JobRules
from market.payments.paywall import PaymentRules
from market.payments.withdrawing import WithdrawalRules
from market.resale.api_client import ApiRules
from market.resale.call_charging import CallRules
from market.suppliers.callers import SessionRules
from market.suppliers.mailing import UNDO_MIN_S, MailRules
from market.suppliers.reviewing import ReviewRules
from market.text.serving import ServingRules
from serving.models.dialing import DialRules, Origin, read_origin
from serving.process.secrets import PreviousSecrets, SigningSecret, list_secrets
from serving.process.settings import is_url
from serving.stream.live import StreamRules

RESOLVE_MARGIN_S: Final = 30
"""Time to write a post after a seller's last byte, before the lease may lapse."""


def _parse_ports(text: str) -> frozenset[int] | None:
    """Return the listed ports, None for any. Raises ``ValueError``."""
    if text.strip() == "*":
        return None
    ports = frozenset(int(part) for part in text.replace(",", " ").split())
    if not ports or not all(1 <= port <= 65_535 for port in ports):
        raise ValueError("ports are numbers from 1 to 65535, or * for any")
    return ports


def _check_ports(text: str) -> str:
    _parse_ports(text)
    return text


def _check_urls(text: str) -> str:
    for url in text.replace(",", " ").split():
        if not is_url(url):
            raise ValueError("must be http or https URLs")
    return text


class MarketSettings(EvidenceSettings):
    """Who may sell and buy here, what it costs, and how sellers are called."""

    model_config = SettingsConfigDict(env_prefix="MARKET_", frozen=True, extra="forbid")

    port: int = Field(default=8403, ge=0, le=65_535, description="port to listen on; 0 = any free")
    public_url: str = Field(
        default="http://127.0.0.1:8403",
        description="how clients reach this service: what wallets sign in to",
    )
    secret: SigningSecret = Field(
        description=(
            "signs sign-in nonces, tokens of jobs and digests of requests; 32 random bytes or more"
        )
    )
    secrets_previous: PreviousSecrets = Field(
        default=SecretStr(""),
        description="older secrets that still verify, separated by white space or commas",
    )
    kms: str = Field(
        description="wraps sellers' keys: file:<path of a key file> or aws:<key id or ARN>"
    )
    fee_bps: int = Field(
        default=500, ge=0, le=10_000, description="part of a seller's price that is the market's"
    )
    prices_file: Path | None = Field(
        default=None, description="the operator's reference prices, TOML"
    )
    trusted_only: bool = Field(
        default=True,
        description="send requests only to sellers that the operator has approved, unless a request"
        " or its key says otherwise",
    )
    names_file: Path | None = Field(
        default=None,
        description="whose endpoints which hosts are, TOML; without it: market/names.toml",
    )
    provenance_file: Path | None = Field(
        default=None,
        description="which companies make and run which models, TOML; without it:"
        " market/provenance.toml",
    )
    allow_loopback: bool = Field(
        default=False, description="let sellers be on this machine, without TLS: devnet only"
    )
    connect_timeout_s: float = Field(
        default=5.0, gt=0, le=60, description="longest wait for a connection, seconds"
    )
    read_timeout_s: float = Field(
        default=60.0, gt=0, le=600, description="longest silence of a seller, seconds"
    )
    whole_timeout_s: float = Field(
        default=180.0,
        gt=0,
        le=3_600,
        description="longest wait for a whole answer, or for a stream's first event, seconds",
    )
    stream_timeout_s: float = Field(
        default=600.0,
        gt=0,
        le=3_600,
        description="longest that a stream, or fetching an artifact, may take, seconds",
    )
    stream_drain_s: float = Field(
        default=15.0,
        gt=0,
        le=600,
        description="how long a stream is read on after its client has left, seconds",
    )
    seller_ports: Annotated[str, AfterValidator(_check_ports)] = Field(
        default="443 80",
        description="ports of sellers and own providers that are called, with commas between;"
        " * = any",
    )
    own_urls: Annotated[str, AfterValidator(_check_urls)] = Field(
        default="",
        description="further base URLs of this deployment, such as its proxy's, with commas"
        " between: no seller and no own provider may be there",
    )
    seller_connections_max: int = Field(
        default=128, ge=1, le=65_536, description="most connections to one seller at a time"
    )
    seller_concurrency_max: int = Field(
        default=32, ge=1, le=65_536, description="most requests to one offer at a time"
    )
    offers_max: int = Field(
        default=50_000,
        ge=1,
        description="most offers of approved sellers that are listed at a time; all others"
        " together may list as many",
    )
    model_offers_max: int = Field(
        default=1_000,
        ge=1,
        description="most offers of one model that all sellers together list who are not approved",
    )
    new_models_max: int = Field(
        default=200,
        ge=0,
        description="most listed models of approved sellers that neither the prices file nor the"
        " data set names; others may list as many",
    )
    attempts_max: int = Field(
        default=4, ge=1, le=20, description="how many sellers are tried for one request"
    )
    session_premium_pct: int = Field(
        default=5,
        ge=0,
        le=100,
        description="how much dearer than the cheapest the seller may be that a conversation stays"
        " with, per cent; 0: it stays with nobody",
    )
    answer_bytes_max: int = Field(
        default=16 * 1024**2, ge=1_024, description="longest answer taken from a seller, bytes"
    )
    lease_s: int = Field(
        default=900,
        ge=1,
        validate_default=True,
        description="how long a reservation stands if its process dies, seconds",
    )
    idempotency_account_bytes_max: int = Field(
        default=16 * 1024**2,
        ge=0,
        description="most that is kept of one account's answers, bytes; further ones are not kept",
    )
    idempotency_free_bytes_max: int = Field(
        default=64 * 1024**2,
        ge=0,
        description="most that is kept of all answers of buyers' own providers, bytes; the oldest"
        " go first",
    )
    refresh_interval_s: float = Field(
        default=1.0, gt=0, description="pause between two looks for changed offers, seconds"
    )
    upload_bytes_max: int = Field(
        default=25 * 1024**2, ge=1_024, description="longest upload of a recording, bytes"
    )
    artifact_bytes_max: int = Field(
        default=512 * 1024**2, ge=1_024, description="longest artifact handed out, bytes"
    )
    artifact_lifetime_s: int = Field(
        default=86_400, ge=1, description="how long what sellers made is handed out, seconds"
    )
    job_deadline_s: int = Field(
        default=3_600, ge=1, le=86_400, description="longest that a job may take, seconds"
    )
    job_poll_interval_s: int = Field(
        default=5, ge=1, le=600, description="pause between two questions about a job, seconds"
    )
    job_look_interval_s: float = Field(
        default=1.0, gt=0, description="pause between two looks for jobs that are due, seconds"
    )
    purge_after_s: int = Field(
        default=30 * 86_400,
        ge=86_400,
        description="how long ended keys, deleted offers and providers, failed payments and empty"
        " accounts are kept, seconds",
    )
    payout_interval_s: float = Field(
        default=5.0, gt=0, description="pause between two gatherings of earnings, seconds"
    )
    payout_minimum_usdc: int = Field(
        default=10_000, ge=1, description="smallest payout, 1e-6 USDC; less waits"
    )

    @field_validator("public_url")
    @classmethod
    def _refuse_odd_url(cls, url: str) -> str:
        if not is_url(url) or "@" in urlsplit(url).netloc:
            raise ValueError("must be an http or https URL")
        return url.rstrip("/")

    @field_validator("lease_s")
    @classmethod
    def _outlive_sellers(cls, lease_s: int, info: ValidationInfo) -> int:
        # A lease that ran out while a seller still worked would give the reservation away. One that
        # fails at messages late is asked by chat in the same reservation.
        names = ("whole_timeout_s", "whole_timeout_s", "ledger_timeout_s")
        least_s = sum(info.data.get(name, 0.0) for name in names) + RESOLVE_MARGIN_S
        if lease_s < least_s:
            raise ValueError(
                f"must be at least {least_s}: 2 * whole_timeout_s + ledger_timeout_s"
                f" + {RESOLVE_MARGIN_S}"
            )
        return lease_s

    def payment_rules(self, *, payouts: str) -> PaymentRules:
        """Return what payments are asked for; ``payouts`` is who is paid unless it is set."""
        return PaymentRules(
            public_url=self.public_url,
            payee=payouts if self.x402_pay_to is None else self.x402_pay_to,
            fee_usdc=self.x402_fee_usdc,
            timeout_s=self.x402_timeout_s,
            wait_s=self.x402_wait_s,
            topup_usdc_max=self.x402_topup_usdc_max,
            claim_s=self.lease_s,
            open_max=self.x402_payments_open_max,
            serves_first=self.x402_serve_first,
        )

    def withdrawal_rules(self) -> WithdrawalRules:
        """Return what a withdrawal of unused credit costs, and how small it may be."""
        return WithdrawalRules(
            fee_usdc=self.withdrawal_fee_usdc, minimum_usdc=self.payout_minimum_usdc
        )

    def list_secrets(self) -> tuple[bytes, ...]:
        """Return every live secret; the first one signs."""
        return list_secrets(self.secret, self.secrets_previous)

    @property
    def domain(self) -> str:
        """What sign-in messages name."""
        return urlsplit(self.public_url).netloc

    def session_rules(self) -> SessionRules:
        """Return whose pages use suppliers' sessions, and how long these live."""
        parts = urlsplit(self.public_url)
        return SessionRules(
            origin=f"{parts.scheme}://{parts.netloc}",
            idle_s=self.supplier_session_idle_s,
            lifetime_s=self.supplier_session_s,
        )

    def mail_rules(self) -> MailRules:
        """Return where mail goes out and who it is from."""
        url = self.smtp_url.get_secret_value()
        return MailRules(
            smtp_url=url,
            sender=self.mail_from,
            public_url=self.public_url,
            undo_s=max(self.address_cooling_s, UNDO_MIN_S),
        )

    def review_rules(self) -> ReviewRules:
        """Return how suppliers are reviewed."""
        return ReviewRules(
            four_eyes=self.review_four_eyes,
            document_lives_s=self.document_days * SECONDS_PER_DAY,
            rejected_lives_s=self.rejected_document_days * SECONDS_PER_DAY,
        )

    def dial_rules(self) -> DialRules:
        """Return what may be called and how long to wait."""
        return DialRules(
            allow_loopback=self.allow_loopback,
            connect_timeout_s=self.connect_timeout_s,
            read_timeout_s=self.read_timeout_s,
            connections_max=self.seller_connections_max,
            ports=_parse_ports(self.seller_ports),
            own=self._list_own_origins(),
        )

    def _list_own_origins(self) -> frozenset[Origin]:
        """Return where this market listens and is reached, and what else the operator runs."""
        urls = [self.public_url, *self.own_urls.replace(",", " ").split()]
        urls += [f"http://{host}:{self.port}" for host in ("127.0.0.1", "localhost", "[::1]")]
        return frozenset(read_origin(url) for url in urls)

    def seller_rules(self) -> SellerRules:
        """Return how much and how long an answer may be."""
        return SellerRules(
            whole_timeout_s=self.whole_timeout_s,
            body_bytes_max=self.answer_bytes_max,
            artifact_bytes_max=self.artifact_bytes_max,
            artifact_timeout_s=self.stream_timeout_s,
            calls_max=self.requests_in_flight_max,
        )

    def listing_rules(self) -> ListingRules:
        """Return how much may be listed."""
        return ListingRules(
            new_models_max=self.new_models_max,
            offers_max=self.offers_max,
            model_offers_max=self.model_offers_max,
        )

    def api_rules(self) -> ApiRules:
        """Return how much and how long a resold API's answer may be."""
        return ApiRules(
            bytes_max=self.resale_bytes_max,
            # A lease outlives whole_timeout_s.
            timeout_s=min(self.resale_timeout_s, self.whole_timeout_s),
            calls_max=self.requests_in_flight_max,
        )

    def call_rules(self) -> CallRules:
        """Return how calls of resold APIs are served."""
        return CallRules(
            fee_bps=self.resale_fee_bps, attempts_max=self.attempts_max, lease_s=self.lease_s
        )

    def job_rules(self) -> JobRules:
        """Return how long jobs may take, and how often they are asked for."""
        return JobRules(
            deadline_s=self.job_deadline_s,
            poll_interval_s=self.job_poll_interval_s,
            lease_s=self.lease_s,
        )

    def serving_rules(self) -> ServingRules:
        """Return how often and how long a request is tried."""
        return ServingRules(
            attempts_max=self.attempts_max,
            lease_s=self.lease_s,
            in_flight_max=self.requests_in_flight_max,
            stream=StreamRules(self.stream_timeout_s, self.stream_drain_s),
            opening_s=self.whole_timeout_s,
            session_premium_pct=self.session_premium_pct,
            trusted_only=self.trusted_only,
            vesting_s=self.vesting_s,
        )
