"""Sellers' offers and their sealed keys. Every function is part of the caller's transaction."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from sqlalchemy import Connection, delete, func, insert, select, update

from ledger.engine import is_postgres
from ledger.errors import IdempotencyConflict, TooMany
from ledger.market_keys import lock_owner
from ledger.tables import MarketOffer, MarketOfferKey, table_of

_offer = table_of(MarketOffer)
_offer_key = table_of(MarketOfferKey)

OFFERS_MAX: Final = 1_000
"""Offers of one seller that are not deleted."""


@dataclass(frozen=True, slots=True)
class NewOffer:
    """An offer to be stored. Prices in 1e-6 USDC per 1e6 tokens, the multiplier in 1e-6.

    With a ``unit`` the input price is for a million of the unit's base, the output price 0.
    """

    offer_id: str
    seller: str
    model: str
    upstream_model: str
    provider: str
    seller_base_url: str
    price_input_usdc_per_mtok: int | None
    price_output_usdc_per_mtok: int | None
    cost_multiplier_ppm: int | None
    cap_daily_usdc: int | None
    quota_total_usdc: int | None
    rate_limit_rpm: int | None
    payout_address: str
    idempotency_key: str | None
    request_digest: str | None
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class SealedKey:
    """A provider key, encrypted under a data key that is itself wrapped by a KMS key."""

    ciphertext: bytes
    wrapped_key: bytes
    kms_key_id: str


def save_offer(connection: Connection, offer: NewOffer, sealed: SealedKey, *, now_s: int) -> str:
    """Store an offer with its sealed key; return its id, or the one that was made before.

    The same idempotency key with the same digest finds the first offer. Raises
    ``IdempotencyConflict`` where the digest differs, ``TooMany`` above ``OFFERS_MAX``.
    """
    lock_owner(connection, "seller", offer.seller)
    if offer.idempotency_key is not None:
        stored = connection.execute(
            select(_offer.c.offer_id, _offer.c.request_digest).where(
                _offer.c.seller == offer.seller,
                _offer.c.idempotency_key == offer.idempotency_key,
            )
        ).one_or_none()
        if stored is not None:
            if stored.request_digest != offer.request_digest:
                raise IdempotencyConflict("the idempotency key was used for another offer")
            return str(stored.offer_id)
    listed = connection.execute(
        select(func.count()).where(_offer.c.seller == offer.seller, _offer.c.status != "deleted")
    ).scalar_one()
    if listed >= OFFERS_MAX:
        raise TooMany(f"{OFFERS_MAX} offers are listed")
    values = {
        **asdict(offer),
        "status": "active",
        "version": 0,
        "day": 0,
        "day_used_usdc": 0,
        "total_used_usdc": 0,
        "created_at_s": now_s,
        "changed_at_s": now_s,
    }
    connection.execute(insert(_offer).values(values))
    connection.execute(insert(_offer_key).values(offer_id=offer.offer_id, **asdict(sealed)))
    return offer.offer_id


def change_offer(
    connection: Connection,
    *,
    offer_id: str,
    seller: str,
    changes: Mapping[str, Any],
    sealed: SealedKey | None,
    now_s: int,
) -> bool:
    """Change an offer of a seller's, and its sealed key; tell whether there is one.

    Sales from now on are at the new terms, those in flight at the old ones.
    """
    changed = connection.execute(
        update(_offer)
        .where(
            _offer.c.offer_id == offer_id,
            _offer.c.seller == seller,
            _offer.c.status != "deleted",
        )
        .values(**changes, version=_offer.c.version + 1, changed_at_s=now_s)
    )
    if changed.rowcount != 1:
        return False
    if sealed is not None:
        connection.execute(
            update(_offer_key).where(_offer_key.c.offer_id == offer_id).values(**asdict(sealed))
        )
    return True


def delete_offer(connection: Connection, *, offer_id: str, seller: str, now_s: int) -> bool:
    """Take an offer down and erase its key; tell whether there is one. Again is harmless.

    On SQLite the erased bytes are overwritten with zeros; ``scrub`` empties the log of writes.
    """
    if not is_postgres(connection):
        connection.exec_driver_sql("PRAGMA secure_delete = ON")
    changed = connection.execute(
        update(_offer)
        .where(_offer.c.offer_id == offer_id, _offer.c.seller == seller)
        .values(status="deleted", version=_offer.c.version + 1, changed_at_s=now_s)
    )
    if changed.rowcount != 1:
        return False
    connection.execute(delete(_offer_key).where(_offer_key.c.offer_id == offer_id))
    return True


def replace_sealed_key(
    connection: Connection, *, offer_id: str, before: SealedKey, after: SealedKey
) -> bool:
    """Put a key that was wrapped anew in place of ``before``; tell whether that was still there."""
    changed = connection.execute(
        update(_offer_key)
        .where(
            _offer_key.c.offer_id == offer_id,
            _offer_key.c.wrapped_key == before.wrapped_key,
            _offer_key.c.ciphertext == before.ciphertext,
        )
        .values(**asdict(after))
    )
    return changed.rowcount == 1
