"""What the market only reads from the ledger. Each function takes a read snapshot."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, RowMapping, case, func, or_, select

from ledger.suppliers.accounts import APPROVED
from ledger.tables import (
    MarketAccount,
    MarketKey,
    MarketOffer,
    MarketOfferKey,
    MarketSale,
    MarketSeller,
    Supplier,
    table_of,
)

_account = table_of(MarketAccount)
_key = table_of(MarketKey)
_offer = table_of(MarketOffer)
_offer_key = table_of(MarketOfferKey)
_sale = table_of(MarketSale)
_seller = table_of(MarketSeller)
_supplier = table_of(Supplier)

BUYER_COLUMNS: Final = (
    "attempt",
    "state",
    "model",
    "endpoint",
    "offer_id",
    "prompt_tokens",
    "completion_tokens",
    "cost_usdc",
)
"""The columns of a sale that its buyer sees."""


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """The key's owner: a seller's address or a buyer's account id."""

    key_id: str
    owner: str
    flat_fee_usdc: int = 0
    """What each request costs beside its seller's price (1e-6 USDC)."""
    trusted_only: bool | None = None
    """Whether the key's requests go to approved sellers only; None: as the market has it."""
    is_proven: bool = False
    """Whether money ever came into the account; of a seller: whether it ever sold."""
    wallet: str | None = None
    """A buyer's wallet, lower case."""


@dataclass(frozen=True, slots=True)
class StoredOffer:
    """An offer with what was agreed with its seller."""

    row: RowMapping
    fee_bps: int | None
    is_trusted: bool


def load_key_holder(
    connection: Connection, *, key_hash: str, kind: str, now_s: int
) -> KeyHolder | None:
    """Return the holder of a live key, or None."""
    has_sold = (_sale.c.seller == _key.c.owner) & (_sale.c.state == "posted")
    is_proven = case(
        (_key.c.kind == "buyer", func.coalesce(_account.c.credited_usdc, 0) > 0),
        else_=select(_sale.c.sale_id).where(has_sold).exists(),
    )
    row = connection.execute(
        select(_key.c.key_id, _key.c.owner, _key.c.trusted_only, is_proven, _account.c.wallet)
        .outerjoin(_account, (_key.c.kind == "buyer") & (_account.c.account_id == _key.c.owner))
        .where(
            _key.c.key_hash == key_hash,
            _key.c.kind == kind,
            _key.c.revoked_at_s.is_(None),
            or_(_key.c.expires_at_s.is_(None), _key.c.expires_at_s > now_s),
        )
    ).one_or_none()
    if row is None:
        return None
    return KeyHolder(
        str(row[0]), str(row[1]), trusted_only=row[2], is_proven=bool(row[3]), wallet=row[4]
    )


def is_key_live(connection: Connection, key_id: str, *, now_s: int) -> bool:
    """Tell whether a key is neither revoked nor expired."""
    query = select(_key.c.key_id).where(
        _key.c.key_id == key_id,
        _key.c.revoked_at_s.is_(None),
        or_(_key.c.expires_at_s.is_(None), _key.c.expires_at_s > now_s),
    )
    return connection.execute(query).one_or_none() is not None


def load_keys(connection: Connection, *, kind: str, owner: str) -> list[RowMapping]:
    """Return an owner's keys, oldest first; never their hashes."""
    columns = (
        *("key_id", "label", "trusted_only", "created_at_s", "expires_at_s", "revoked_at_s"),
    )
    return list(
        connection.execute(
            select(*(_key.c[name] for name in columns))
            .where(_key.c.kind == kind, _key.c.owner == owner)
            .order_by(_key.c.key_id)
        ).mappings()
    )


def load_account(connection: Connection, account_id: str) -> RowMapping | None:
    """Return a buyer's account, or None."""
    query = select(_account).where(_account.c.account_id == account_id)
    return connection.execute(query).mappings().one_or_none()


def load_buyer_sales(
    connection: Connection, account_id: str, *, request_id: str
) -> list[RowMapping]:
    """Return the attempts at one request of an account, in no order."""
    query = select(*(_sale.c[name] for name in BUYER_COLUMNS)).where(
        _sale.c.request_id == request_id, _sale.c.account_id == account_id
    )
    return list(connection.execute(query).mappings())


def load_seller(connection: Connection, address: str) -> RowMapping | None:
    """Return a seller and what was agreed with it, or None."""
    query = select(_seller).where(_seller.c.address == address)
    return connection.execute(query).mappings().one_or_none()


def is_seller_trusted(connection: Connection, address: str) -> bool:
    """Tell whether the operator has approved a seller."""
    query = select(_seller.c.is_trusted).where(_seller.c.address == address)
    return bool(connection.execute(query).scalar_one_or_none())


def load_offers(
    connection: Connection,
    *,
    changed_since_s: int | None = None,
    offer_ids: Iterable[str] | None = None,
) -> list[StoredOffer]:
    """Return offers with their sellers' terms: all, the changed ones, or those named.

    An offer has changed too where its supplier has. A supplier is trusted while it is approved.
    """
    is_supplied = _offer.c.supply_offer_id.is_not(None)
    query = (
        select(
            _offer,
            case((is_supplied, _supplier.c.fee_bps), else_=_seller.c.fee_bps).label(
                "agreed_fee_bps"
            ),
            case(
                (is_supplied, _supplier.c.kyb_status == APPROVED), else_=_seller.c.is_trusted
            ).label("trusted"),
        )
        .join(_seller, _seller.c.address == _offer.c.seller)
        .outerjoin(_supplier, is_supplied & (_supplier.c.supplier_id == _offer.c.seller))
    )
    if changed_since_s is not None:
        changed = select(_supplier.c.supplier_id).where(_supplier.c.changed_at_s >= changed_since_s)
        suppliers = connection.execute(changed).scalars().all()
        is_changed = _offer.c.changed_at_s >= changed_since_s
        if suppliers:
            is_changed = or_(is_changed, _offer.c.seller.in_(suppliers))
        query = query.where(is_changed)
    else:
        query = query.where(_offer.c.status != "deleted")
    if offer_ids is not None:
        query = query.where(_offer.c.offer_id.in_(list(offer_ids)))
    return [
        StoredOffer(row, row["agreed_fee_bps"], bool(row["trusted"]))
        for row in connection.execute(query).mappings()
    ]


def load_seller_offers(connection: Connection, *, seller: str) -> list[RowMapping]:
    """Return a seller's offers that are not deleted, oldest first."""
    query = select(_offer).where(_offer.c.seller == seller, _offer.c.status != "deleted")
    return list(connection.execute(query.order_by(_offer.c.offer_id)).mappings())


def load_seller_offer(connection: Connection, *, seller: str, offer_id: str) -> RowMapping | None:
    """Return one offer of a seller's that is not deleted, or None."""
    query = select(_offer).where(
        _offer.c.seller == seller, _offer.c.offer_id == offer_id, _offer.c.status != "deleted"
    )
    return connection.execute(query).mappings().one_or_none()


def load_failures(
    connection: Connection, *, seller: str, from_s: int, until_s: int, after: str, limit: int
) -> list[RowMapping]:
    """Return the requests that a seller's offers failed, after the id ``after``, oldest first."""
    return list(
        connection.execute(
            select(
                _sale.c.sale_id,
                _sale.c.resolved_at_s,
                _sale.c.offer_id,
                _sale.c.model,
                _sale.c.endpoint,
                _sale.c.void_reason.label("cause"),
            )
            .where(
                _sale.c.seller == seller,
                _sale.c.is_seller_failure.is_(True),
                _sale.c.reserved_at_s >= from_s,
                _sale.c.reserved_at_s < until_s,
                _sale.c.sale_id > after,
            )
            .order_by(_sale.c.sale_id)
            .limit(limit)
        ).mappings()
    )
