"""What of the market's settings concerns suppliers, all ``MARKET_SUPPLIER_…`` or named alike."""

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from market.suppliers.virus_scanner import open_scanner
from serving.http.settings import ServerSettings
from serving.process.settings import is_url


def _check_smtp(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if text and not is_url(text, ("smtp", "smtps")):
        raise ValueError("must be smtp://[user:password@]host[:port], or smtps://…")
    return value


def _check_scanner(text: str) -> str:
    open_scanner(text)
    return text


def _check_sender(text: str) -> str:
    _, at, domain = text.strip("<> ").rpartition("@")
    if not at or not domain or not text.isascii() or not text.isprintable():
        raise ValueError("must be an address such as Current <no-reply@company.example>")
    return text


class SupplierSettings(ServerSettings):
    """How suppliers sign in, and how mail goes out."""

    identity_keys: str = Field(
        default="",
        description="digests identity numbers: file:<path of a key file> or aws:<id of an HMAC"
        " key>, older ones after it with commas; without it: the kms's own keys, if that is a file",
    )
    virus_scanner: Annotated[str, AfterValidator(_check_scanner)] = Field(
        default="off",
        description="looks at suppliers' documents: off or clamd:<path of its socket>; one that"
        " does not answer lets nothing in",
    )
    review_four_eyes: bool = Field(
        default=False, description="whether two reviewers have to approve a supplier"
    )
    document_days: int = Field(
        default=5 * 365,
        ge=1,
        le=36_500,
        description="how long suppliers' documents are kept, from the upload or the approval on,"
        " days",
    )
    rejected_document_days: int = Field(
        default=90,
        ge=1,
        le=36_500,
        description="how long documents are kept of suppliers that were rejected, days",
    )
    smtp_url: Annotated[SecretStr, AfterValidator(_check_smtp)] = Field(
        default=SecretStr(""),
        description="mail server: smtp://[user:password@]host[:port] or smtps://…; without it mail"
        " waits",
    )
    mail_from: Annotated[str, AfterValidator(_check_sender)] = Field(
        default="Current <no-reply@localhost>", description="who mail is from"
    )
    mail_interval_s: float = Field(
        default=2.0, gt=0, description="pause between two looks for mail to be sent, seconds"
    )

    supplier_session_idle_s: int = Field(
        default=12 * 3_600,
        ge=300,
        le=30 * 86_400,
        description="how long a supplier's session may go unused, seconds",
    )
    supplier_session_s: int = Field(
        default=14 * 86_400,
        ge=300,
        le=90 * 86_400,
        description="how long a supplier's session lives however much it is used, seconds",
    )
