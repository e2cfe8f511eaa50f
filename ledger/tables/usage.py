"""A usage row: what was reserved for one request, what it was charged, how far it has come.

Each column is declared here, once. ``reserve`` writes the fields of ``Reservation``, ``post`` the
fields of ``Charge``: the meter's statements for both databases follow from the two classes.
"""

from dataclasses import dataclass, fields
from typing import Any, Final, get_type_hints

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, String, Table
from sqlmodel import SQLModel


@dataclass(frozen=True, slots=True)
class Reservation:
    """What is reserved before upstream is called. Amounts in 1e-6 USDC, prices per 1e6 tokens."""

    request_id: str
    token_id: int
    key_epoch: int
    key_id: str
    model: str
    ceiling_usdc: int
    input_usdc_per_mtok: int
    output_usdc_per_mtok: int
    cached_input_usdc_per_mtok: int | None = None
    """The price of prompt tokens that the provider had cached; None = the price of any other. The
    ceiling is reserved before anybody knows how many are cached, and never counts on it."""
    per_request_usdc: int | None = None
    """What the request costs beside its tokens, in 1e-6 USDC; None or 0: nothing."""
    end_user: str | None = None
    """Whom the buyer's request is for, in the buyer's own words."""
    labels: str | None = None
    """What else the buyer says of the request, as a JSON object of texts."""


@dataclass(frozen=True, slots=True)
class Charge:
    """What a request is charged once it was served."""

    cost_usdc: int
    """The charge in 1e-6 USDC, at most the ceiling."""
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    """How many of ``prompt_tokens`` are charged at the price of cached ones."""
    served: str | None = None
    """Who served it, and what, as ``ledger.spending.receipts.ServedNote`` writes it; None: a row of
    before leaf version 2."""


@dataclass(frozen=True, slots=True)
class PriceUsed:
    """The price of the tokens that were used, in 1e-6 USDC per 1e6 tokens.

    A ceiling is reserved at a price that no prompt within the bound exceeds; the real prompt may be
    in a cheaper tier. The columns are the reservation's: a receipt states the price that was used.
    """

    input_usdc_per_mtok: int
    output_usdc_per_mtok: int
    cached_input_usdc_per_mtok: int | None = None
    per_request_usdc: int | None = None


RESERVATION_COLUMNS: Final = tuple(field.name for field in fields(Reservation))
CHARGE_COLUMNS: Final = tuple(field.name for field in fields(Charge))
PRICE_COLUMNS: Final = tuple(field.name for field in fields(PriceUsed))


def _build_columns(declared: type[Any], *, key: str | None = None) -> list[Column[Any]]:
    """Return a column for each field; without a ``key`` each column may be NULL at first."""
    columns: list[Column[Any]] = []
    for name, hint in get_type_hints(declared).items():
        is_text = hint in (str, str | None)
        is_nullable = key is None or hint in (int | None, str | None)
        kind = String() if is_text else BigInteger()
        columns.append(Column(name, kind, primary_key=name == key, nullable=is_nullable))
    return columns


class Usage(SQLModel, table=True):
    """One request: its reservation, its charge, its state. Proxy; batches by keeper and indexer."""

    __table__ = Table(
        "usage",
        SQLModel.metadata,
        *_build_columns(Reservation, key="request_id"),
        *_build_columns(Charge),
        Column("state", String, nullable=False),
        Column("reserved_at_s", BigInteger, nullable=False),
        Column("lease_expires_at_s", BigInteger, nullable=False),
        # The process that reserved it: see ``ledger.database.heartbeat``.
        Column("holder_id", String),
        # When it left ``reserved``.
        Column("resolved_at_s", BigInteger),
        Column("void_reason", String),
        Column("batch_id", String),
        CheckConstraint(
            "state IN ('reserved','posted','settling','settled','voided','written_off')",
            name="state_known",
        ),
        CheckConstraint("ceiling_usdc >= 0", name="ceiling_not_negative"),
        CheckConstraint("cost_usdc >= 0 AND cost_usdc <= ceiling_usdc", name="cost_fits"),
        CheckConstraint(
            "(state IN ('reserved','voided')) = (cost_usdc IS NULL)", name="cost_when_posted"
        ),
        CheckConstraint(
            "(state IN ('settling','settled')) = (batch_id IS NOT NULL)", name="batch_when_batched"
        ),
        Index("usage_open", "state", "token_id"),
        Index("usage_batch", "batch_id"),
        Index("usage_token", "token_id", "reserved_at_s"),
    )
