"""Sellers' offers and their sealed keys. Every function is part of the caller's transaction."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from sqlalchemy import Connection, func, insert, select, update

from ledger.errors import ChangedMeanwhile, IdempotencyConflict, TooMany
from ledger.selling.accounts import lock_owner
from ledger.selling.sealed_keys import SealedKey, SealedKeys
from ledger.tables import MarketOffer, MarketOfferKey, table_of

_offer = table_of(MarketOffer)
offer_keys: Final = SealedKeys(table_of(MarketOfferKey), "offer_id")

OFFERS_MAX: Final = 1_000
"""Offers of one seller that are not deleted."""
OFFERS_KEPT_MAX: Final = 5_000
"""Offers of one seller with deleted ones that never sold and are not purged yet."""


@dataclass(frozen=True, slots=True)
class NewOffer:
    """An offer to be stored. Prices in 1e-6 USDC per 1e6 tokens, the multiplier in 1e-6.

    With a ``unit`` the input price is for a million of the unit's base, the output price 0.
    """

    offer_id: str
    seller: str
    model: str
    upstream_model: str
    label: str
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
    price_cached_input_usdc_per_mtok: int | None = None
    """Price of cached tokens, at most the input price; None: the input price."""
    price_per_request_usdc: int | None = None
    """Fee of a request in 1e-6 USDC, beside its tokens; None: no fee."""
    price_tiers: str | None = None
    """The prices of longer prompts, as the market writes them; None: those of short ones."""
    quota_resets_at_s: int | None = None
    """When what is unsold of its quota expires; None: never."""
    falls_from_s: int | None = None
    floor_pct: int | None = None
    """What of its prices is left then, per cent, falling from ``falls_from_s`` on; None: all."""
    supply_offer_id: str | None = None
    """The supplier's offer that it is one model of: it waits for that offer's probe."""
    declares: str | None = None
    """What the seller declares of how requests are served, as JSON; None: nothing."""


def save_offer(
    connection: Connection,
    offer: NewOffer,
    sealed: SealedKey,
    *,
    now_s: int,
    same_digests: Collection[str] = (),
) -> str:
    """Store an offer with its sealed key; return its id, or the id of the same offer made before.

    The same idempotency key with the same digest finds the first offer; ``same_digests`` are those
    of the same request by older secrets. Raises ``IdempotencyConflict`` where the digest differs,
    ``TooMany`` above ``OFFERS_MAX``.
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
            if stored.request_digest not in (offer.request_digest, *same_digests):
                raise IdempotencyConflict("the idempotency key was used for another offer")
            return str(stored.offer_id)
    is_unsold = (_offer.c.status != "deleted") | (_offer.c.total_used_usdc == 0)
    listed, kept = connection.execute(
        select(
            func.count().filter(_offer.c.status != "deleted"), func.count().filter(is_unsold)
        ).where(_offer.c.seller == offer.seller)
    ).one()
    if listed >= OFFERS_MAX:
        raise TooMany(f"{OFFERS_MAX} offers are listed")
    if kept >= OFFERS_KEPT_MAX:
        raise TooMany(f"{OFFERS_KEPT_MAX} offers were made lately")
    values = {
        **asdict(offer),
        "status": "active" if offer.supply_offer_id is None else "paused",
        "version": 0,
        "day": 0,
        "day_used_usdc": 0,
        "total_used_usdc": 0,
        "created_at_s": now_s,
        "changed_at_s": now_s,
    }
    connection.execute(insert(_offer).values(values))
    offer_keys.save(connection, offer.offer_id, sealed)
    return offer.offer_id


def change_offer(
    connection: Connection,
    *,
    offer_id: str,
    seller: str,
    version: int,
    changes: Mapping[str, Any],
    sealed: SealedKey | None,
    now_s: int,
) -> bool:
    """Change an offer of a seller's, and its sealed key; tell whether there is one.

    Sales from now on are at the new terms, those in flight at the old ones. ``version`` is the
    offer's as the changes were checked against it: two changes that are each allowed may not be
    so together. Raises ``ChangedMeanwhile`` where it is another by now.
    """
    is_it = (
        (_offer.c.offer_id == offer_id)
        & (_offer.c.seller == seller)
        & (_offer.c.status != "deleted")
    )
    changed = connection.execute(
        update(_offer)
        .where(is_it, _offer.c.version == version)
        .values(**changes, version=_offer.c.version + 1, changed_at_s=now_s)
    )
    if changed.rowcount != 1:
        if connection.execute(select(_offer.c.offer_id).where(is_it)).one_or_none() is not None:
            raise ChangedMeanwhile(f"offer {offer_id} is not at version {version}")
        return False
    if sealed is not None:
        offer_keys.change(connection, offer_id, sealed)
    return True


def suspend_offer(
    connection: Connection,
    *,
    offer_id: str,
    evidence: str,
    now_s: int,
    version: int | None = None,
) -> bool:
    """Take an offer out of the order until the operator lets it back; tell whether it was in.

    ``version`` is the one that the evidence is of, where an offer that was changed since is
    another, of which it proves nothing; None: whatever its version. Sales at its old version are
    refused from now on, whichever process reserves them.
    """
    is_it = (_offer.c.offer_id == offer_id) & (_offer.c.status != "deleted")
    if version is not None:
        is_it &= _offer.c.version == version
    changed = connection.execute(
        update(_offer)
        .where(is_it, _offer.c.suspended_for.is_(None))
        .values(suspended_for=evidence, version=_offer.c.version + 1, changed_at_s=now_s)
    )
    return changed.rowcount == 1


def resume_offer(connection: Connection, *, offer_id: str, now_s: int) -> bool:
    """Let an offer that was suspended or doubted back into the order; tell whether it was.

    Evidence from before now counts no more.
    """
    is_kept_back = _offer.c.suspended_for.is_not(None) | _offer.c.doubted_at_s.is_not(None)
    query = select(_offer.c.offer_id).where(_offer.c.offer_id == offer_id, is_kept_back)
    if connection.execute(query.with_for_update()).one_or_none() is None:
        return False
    let_back(connection, offer_id=offer_id, now_s=now_s)
    return True


def let_back(connection: Connection, *, offer_id: str, now_s: int) -> None:
    """Have an offer serve as any other, whatever kept it back, and its tests begin anew."""
    connection.execute(
        update(_offer)
        .where(_offer.c.offer_id == offer_id)
        .values(
            suspended_for=None,
            doubted_at_s=None,
            tested_from_s=now_s,
            version=_offer.c.version + 1,
            changed_at_s=now_s,
        )
    )


def delete_offer(connection: Connection, *, offer_id: str, seller: str, now_s: int) -> bool:
    """Take an offer down and erase its key; tell whether there is one. Idempotent."""
    is_theirs = _offer.c.seller == seller
    return offer_keys.take_down(connection, _offer, offer_id, is_theirs, now_s=now_s)
