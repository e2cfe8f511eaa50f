"""Suppliers' offers: listed, probed, changed, paused, taken down.

::

    pending_probe ──probe ok──► active ⇄ paused      exhausted ──more quota──► active, or
         │ ▲                      │                       pending_probe if its last probe was not ok
         │ └── probe again, resume, another key or address
         └──probe failed──► probe_failed ◄── a probe by hand

An offer of a supplier who is not approved serves nothing, whatever its status: it is shown as
``suspended``. Each model has a row of ``market_offer``, which is active exactly while the offer is.
Every function is part of the caller's transaction. Prices in 1e-6 USD per 1e6 tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, func, insert, select, update

from ledger.database.engine import is_postgres
from ledger.database.statements import insert_or_ignore
from ledger.errors import ChangedMeanwhile, OfferRepeated, TooMany
from ledger.selling.accounts import save_seller
from ledger.selling.ceilings import lock_listings, set_listings
from ledger.selling.offers import NewOffer, offer_keys, save_offer
from ledger.selling.sealed_keys import SealedKey
from ledger.suppliers.accounts import lock_supplier
from ledger.tables import MarketOffer, SupplyAccount, SupplyOffer, table_of

_account = table_of(SupplyAccount)
_listing = table_of(MarketOffer)
_offer = table_of(SupplyOffer)

SUPPLY_OFFERS_MAX: Final = 500
"""Offers of one supplier that are not deleted."""
SUPPLY_OFFERS_KEPT_MAX: Final = 20_000
"""The same with deleted ones, which are kept: their sales name them."""


@dataclass(frozen=True, slots=True)
class NewSupplyOffer:
    """An offer to be stored."""

    supply_offer_id: str
    supplier_id: str
    provider_type: str
    model_list: str
    models_digest: str
    bid_usdc_per_mtok: int
    base_url: str
    rate_limit_rpm: int | None
    quota_tokens: int | None
    legal_basis: str | None


@dataclass(frozen=True, slots=True)
class Listing:
    """One model of an offer, with the provider key sealed for it."""

    offer_id: str
    model: str
    sealed: SealedKey


def save_supply_offer(
    connection: Connection, offer: NewSupplyOffer, listings: Sequence[Listing], *, now_s: int
) -> None:
    """Store an offer, which waits for its probe.

    Raises ``OfferRepeated``, and ``TooMany`` above ``SUPPLY_OFFERS_MAX``.
    """
    lock_supplier(connection, offer.supplier_id)
    is_live = _offer.c.status != "deleted"
    live, kept = connection.execute(
        select(func.count().filter(is_live), func.count()).where(
            _offer.c.supplier_id == offer.supplier_id
        )
    ).one()
    if live >= SUPPLY_OFFERS_MAX or kept >= SUPPLY_OFFERS_KEPT_MAX:
        raise TooMany(f"{live} offers are listed, {kept} were made")
    _check_new(connection, asdict(offer), but=None)
    account = {"supplier_id": offer.supplier_id, "carried_usdc": 0, "settled_day": -1}
    insert_or_ignore(connection, _account, account)
    save_seller(connection, address=offer.supplier_id, now_s=now_s)
    row = {
        **asdict(offer),
        "status": "pending_probe",
        "version": 0,
        "key_version": 0,
        "recent": "",
        "used_tokens": 0,
        "reserved_tokens": 0,
        "probe_due_s": now_s,
        "created_at_s": now_s,
        "changed_at_s": now_s,
    }
    connection.execute(insert(_offer).values(row))
    for listing in listings:
        save_offer(connection, _build_listing(offer, listing), listing.sealed, now_s=now_s)


def _build_listing(offer: NewSupplyOffer, listing: Listing) -> NewOffer:
    return NewOffer(
        offer_id=listing.offer_id,
        seller=offer.supplier_id,
        model=listing.model,
        upstream_model=listing.model,
        label="",
        seller_base_url=offer.base_url,
        price_input_usdc_per_mtok=offer.bid_usdc_per_mtok,
        price_output_usdc_per_mtok=offer.bid_usdc_per_mtok,
        cost_multiplier_ppm=None,
        cap_daily_usdc=None,
        quota_total_usdc=None,
        rate_limit_rpm=offer.rate_limit_rpm,
        payout_address="",
        idempotency_key=None,
        request_digest=None,
        supply_offer_id=offer.supply_offer_id,
    )


def _check_new(connection: Connection, facts: Mapping[str, Any], *, but: str | None) -> None:
    names = ("supplier_id", "provider_type", "models_digest", "bid_usdc_per_mtok")
    query = select(_offer.c.supply_offer_id).where(
        *(_offer.c[name] == facts[name] for name in names), _offer.c.status != "deleted"
    )
    if but is not None:
        query = query.where(_offer.c.supply_offer_id != but)
    found = connection.execute(query).scalar()
    if found is not None:
        raise OfferRepeated(str(found))


def load_supply_offer(
    connection: Connection, *, supplier_id: str, supply_offer_id: str
) -> RowMapping | None:
    """Return one offer of a supplier's that is not deleted, or None."""
    return connection.execute(_select_one(supplier_id, supply_offer_id)).mappings().one_or_none()


def _select_one(supplier_id: str, supply_offer_id: str) -> Any:
    return select(_offer).where(
        _offer.c.supplier_id == supplier_id,
        _offer.c.supply_offer_id == supply_offer_id,
        _offer.c.status != "deleted",
    )


def load_supply_offers(
    connection: Connection, *, supplier_id: str, after: str, limit: int
) -> list[RowMapping]:
    """Return a supplier's offers that are not deleted, after the id ``after``, oldest first."""
    query = select(_offer).where(
        _offer.c.supplier_id == supplier_id,
        _offer.c.status != "deleted",
        _offer.c.supply_offer_id > after,
    )
    return list(
        connection.execute(query.order_by(_offer.c.supply_offer_id).limit(limit)).mappings()
    )


def load_listings(connection: Connection, supply_offer_id: str) -> list[RowMapping]:
    """Return an offer's models as the market lists them, by model."""
    query = select(
        _listing.c.offer_id, _listing.c.model, _listing.c.status, _listing.c.suspended_for
    ).where(_listing.c.supply_offer_id == supply_offer_id, _listing.c.status != "deleted")
    return list(connection.execute(query.order_by(_listing.c.model)).mappings())


def change_supply_offer(
    connection: Connection,
    *,
    supplier_id: str,
    supply_offer_id: str,
    version: int,
    changes: Mapping[str, Any],
    sealed: Mapping[str, SealedKey],
    now_s: int,
) -> bool:
    """Change an offer, and its listings with it; tell whether there is one.

    ``sealed``: another provider key, sealed for each listing; then the offer is probed again. Sales
    from now on are at the new terms, those in flight at the old. Raises ``ChangedMeanwhile`` where
    the offer is not at ``version`` any more, ``OfferRepeated``, and ``ValueError`` for a quota that
    is below what is used.
    """
    row = _lock(connection, supplier_id, supply_offer_id)
    if row is None:
        return False
    # After the offer, as a reservation does.
    lock_supplier(connection, supplier_id)
    if int(row["version"]) != version:
        raise ChangedMeanwhile(f"offer {supply_offer_id} is not at version {version}")
    merged = {**row, **changes}
    _check_new(connection, merged, but=supply_offer_id)
    quota, taken = merged["quota_tokens"], int(row["used_tokens"]) + int(row["reserved_tokens"])
    if quota is not None and quota < taken:
        raise ValueError(f"{taken} tokens of the quota are used or reserved")
    status = merged["status"]
    values = dict(changes)
    if sealed:
        values |= {"key_version": row["key_version"] + 1, "probe_ok": None, "probe_due_s": None}
    has_room = quota is None or quota > taken
    if status != "paused" and (sealed or (status == "exhausted" and has_room)):
        # What no probe has found to serve with this key does not serve, whatever it was before.
        is_known = bool(row["probe_ok"]) and not sealed
        status = "active" if is_known else "pending_probe"
        values["probe_due_s"] = None if is_known else now_s
    _write(connection, supply_offer_id, {**values, "status": status}, now_s=now_s)
    for offer_id, key in sealed.items():
        offer_keys.change(connection, offer_id, key)
    columns = {
        "status": "active" if status == "active" else "paused",
        "price_input_usdc_per_mtok": merged["bid_usdc_per_mtok"],
        "price_output_usdc_per_mtok": merged["bid_usdc_per_mtok"],
        "rate_limit_rpm": merged["rate_limit_rpm"],
        "seller_base_url": merged["base_url"],
    }
    set_listings(connection, supply_offer_id, columns, now_s=now_s)
    return True


def pause_supply_offer(
    connection: Connection, *, supplier_id: str, supply_offer_id: str, now_s: int
) -> bool:
    """Take an offer out of the order; tell whether there is one. Idempotent."""
    row = _lock(connection, supplier_id, supply_offer_id)
    if row is None:
        return False
    if row["status"] != "paused":
        move_supply_offer(connection, supply_offer_id, "paused", probe_due_s=None, now_s=now_s)
    return True


def resume_supply_offer(
    connection: Connection,
    *,
    supplier_id: str,
    supply_offer_id: str,
    has_failed: bool,
    now_s: int,
) -> str | None:
    """Let an offer serve again, after a probe where its last one or its last requests failed.

    Return its status, None where there is no such offer. An offer whose quota is spent stays so.
    """
    row = _lock(connection, supplier_id, supply_offer_id)
    if row is None:
        return None
    status = str(row["status"])
    if status not in ("paused", "probe_failed"):
        return status
    quota = row["quota_tokens"]
    if quota is not None and quota <= row["used_tokens"]:
        status, due_s = "exhausted", None
    elif row["probe_ok"] and not has_failed:
        status, due_s = "active", None
    else:
        status, due_s = "pending_probe", now_s
    move_supply_offer(connection, supply_offer_id, status, probe_due_s=due_s, now_s=now_s)
    return status


def ask_probe(
    connection: Connection, *, supplier_id: str, supply_offer_id: str, now_s: int
) -> bool:
    """Have an offer probed as soon as can be; tell whether there is one. It goes on serving if it
    does."""
    row = _lock(connection, supplier_id, supply_offer_id)
    if row is None:
        return False
    status = "pending_probe" if row["status"] == "probe_failed" else row["status"]
    values = {"status": status, "probe_due_s": now_s}
    connection.execute(
        update(_offer).where(_offer.c.supply_offer_id == supply_offer_id).values(values)
    )
    return True


def delete_supply_offer(
    connection: Connection, *, supplier_id: str, supply_offer_id: str, now_s: int
) -> list[str] | None:
    """Take an offer down and erase its keys; return its listings, None where there is none.

    What it sold is settled all the same.
    """
    row = _lock(connection, supplier_id, supply_offer_id)
    if row is None:
        return None
    listings = [str(one["offer_id"]) for one in load_listings(connection, supply_offer_id)]
    set_listings(connection, supply_offer_id, {"status": "deleted"}, now_s=now_s)
    for offer_id in listings:
        offer_keys.erase(connection, offer_id)
    _write(connection, supply_offer_id, {"status": "deleted", "probe_due_s": None}, now_s=now_s)
    return listings


def move_supply_offer(
    connection: Connection, supply_offer_id: str, status: str, *, now_s: int, **values: Any
) -> None:
    """Move an offer to a status, and its listings with it."""
    _write(connection, supply_offer_id, {"status": status, **values}, now_s=now_s)
    listed = "active" if status == "active" else "paused"
    set_listings(connection, supply_offer_id, {"status": listed}, now_s=now_s)


def _write(
    connection: Connection, supply_offer_id: str, values: Mapping[str, Any], *, now_s: int
) -> None:
    connection.execute(
        update(_offer)
        .where(_offer.c.supply_offer_id == supply_offer_id)
        .values(**values, version=_offer.c.version + 1, changed_at_s=now_s)
    )


def _lock(connection: Connection, supplier_id: str, supply_offer_id: str) -> RowMapping | None:
    """Return an offer that nobody else changes before the transaction's end.

    Its listings are locked first, as a reservation does.
    """
    lock_listings(connection, supply_offer_id)
    query = _select_one(supplier_id, supply_offer_id)
    if is_postgres(connection):
        query = query.with_for_update(key_share=True)
    return connection.execute(query).mappings().one_or_none()
