"""Sales: reserving what a request may cost, posting what it did cost, or giving it back.

A sale is one attempt of one offer at one request: **reserve** the most that it can cost, then
**post** what it did cost or **void** it. Reserving counts against the buyer's credit and against
the offer's daily cap and total quota in the statements that check them, so that neither is passed
however many requests and processes there are. A sale's price, fee and payee are those of its
reservation: a seller cannot reprice a request in flight.

::

    reserved ──post──► posted ──planned──► part of a payout
        └──void / lease ran out──► voided

Locks are taken in this order: ``market_sale``, ``market_account``, ``market_offer``, each ascending
by id, then those of ``ledger.selling.ceilings``. Amounts are in 1e-6 USDC. Every function takes the
connection of an open write transaction; what raises has written nothing only where the caller rolls
back, as ``ledger.database.writer`` does. ``sale_calls`` decides the same for many sales at once.
"""

from collections import defaultdict
from dataclasses import asdict
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, select, text, update

from contracts.units import utc_day
from ledger.selling.ceilings import (
    build_day_id,
    consume,
    free_ceilings,
    lock_listings,
    use_ceilings,
)
from ledger.selling.leases import lock_lapsed
from ledger.selling.sale_records import (
    NewSale,
    SaleDenial,
    SaleFigures,
    SaleRefused,
    SaleResolved,
    Used,
)
from ledger.selling.sale_statements import (
    CHANGE_ACCOUNT,
    EXPLAIN_OFFER,
    FIGURES,
    FREE_OFFER,
    FREE_USDC,
    INSERT_SALE,
    KEY_IS_LIVE,
    MOVE_SALE,
    PAID_KEY_ID,
    POST_SALE,
    RESERVE_CREDIT,
    RESERVE_PAID,
    TERMS,
    USE_OFFER,
)
from ledger.tables import SALE_RESERVED, MarketAccount, MarketSale, table_of

_account = table_of(MarketAccount)
_sale = table_of(MarketSale)


def reserve_sale(
    connection: Connection,
    sale: NewSale,
    *,
    now_s: int,
    lease_expires_at_s: int,
    holder_id: str | None = None,
) -> Used:
    """Reserve a sale's ceiling against the buyer's credit and the offer's limits.

    ``holder_id`` is the process that reserves; None: nothing but time ends the lease.
    Raises ``SaleRefused`` with the first reason that applies; then nothing may be kept of it.
    """
    assert sale.ceiling_usdc >= 0
    available_usdc = _reserve_credit(connection, sale, now_s=now_s)
    day = utc_day(now_s)
    used = _use_offer(connection, sale, day=day)
    if sale.supply_offer_id is not None:
        use_ceilings(connection, sale, now_s=now_s)
    row = {
        **{name: getattr(sale, name) for name in TERMS},
        "supply_offer_id": sale.supply_offer_id,
        "bound_tokens": None if sale.supply_offer_id is None else sale.bound_tokens,
        "state": "reserved",
        "is_seller_failure": False,
        "day": day,
        "reserved_at_s": now_s,
        "lease_expires_at_s": lease_expires_at_s,
        "holder_id": holder_id,
    }
    connection.execute(INSERT_SALE, row)
    return Used(sale.offer_id, day, *used, available_usdc)


def _reserve_credit(connection: Connection, sale: NewSale, *, now_s: int) -> int:
    """Return the credit that is left."""
    values = {
        "account": sale.account_id,
        "key": sale.key_id,
        "ceiling": sale.ceiling_usdc,
        "now": now_s,
    }
    is_paid = sale.key_id == PAID_KEY_ID
    if is_paid:
        del values["key"], values["now"]
    left = connection.execute(
        RESERVE_PAID if is_paid else RESERVE_CREDIT, values
    ).scalar_one_or_none()
    if left is not None:
        return int(left)
    free = select(FREE_USDC).where(_account.c.account_id == sale.account_id)
    if not is_paid:
        free = free.where(KEY_IS_LIVE)
    available = connection.execute(free, values).scalar_one_or_none()
    if available is None:
        raise SaleRefused(SaleDenial.KEY_REVOKED)
    raise SaleRefused(SaleDenial.CREDIT_SPENT, int(available))


def _use_offer(connection: Connection, sale: NewSale, *, day: int) -> tuple[int, int]:
    """Return what is used of the day's cap and of the quota."""
    values = {
        "offer": sale.offer_id,
        "at_version": sale.offer_version,
        "today": day,
        "ceiling": sale.ceiling_usdc,
    }
    used = connection.execute(USE_OFFER, values).one_or_none()
    if used is not None:
        return int(used[0]), int(used[1])
    found = connection.execute(EXPLAIN_OFFER, values).one_or_none()
    if found is None:
        raise SaleRefused(SaleDenial.OFFER_CHANGED)
    raise SaleRefused(SaleDenial.QUOTA_SPENT if found[0] else SaleDenial.CAP_REACHED)


def post_sale(connection: Connection, sale_id: str, figures: SaleFigures, *, now_s: int) -> Used:
    """Turn a reservation into a sale. The same post again is harmless.

    Raises ``SaleResolved`` where it was voided, was posted otherwise or is unknown, and
    ``ValueError`` for figures that do not add up or pass the ceiling.
    """
    check_sum(figures)
    values = {f"new_{name}": getattr(figures, name) for name in FIGURES}
    day = utc_day(now_s)
    values |= {"sale": sale_id, "now": now_s, "day_mark": f":{day}"}
    row = connection.execute(POST_SALE, values).one_or_none()
    if row is not None:
        account_id, offer_id, ceiling_usdc, reserved_day, supply_offer_id, bound_tokens, ends = row
        available = _change_account(
            connection, account_id, freed_usdc=ceiling_usdc, spent_usdc=figures.cost_usdc
        )
        freed_usdc = ceiling_usdc - figures.cost_usdc
        if ends:
            lock_listings(connection, supply_offer_id)
        used = _free_offer(connection, offer_id, reserved_day, freed_usdc, available)
        if supply_offer_id is not None:
            counted = consume(
                connection,
                sale_id=sale_id,
                supply_offer_id=supply_offer_id,
                bound_tokens=bound_tokens,
                figures=figures,
                may_end=bool(ends),
                now_s=now_s,
            )
            if counted != day:
                moved = {"sale": sale_id, "new_payout_id": build_day_id(supply_offer_id, counted)}
                connection.execute(MOVE_SALE, moved)
        return used
    return _repeat_post(connection, sale_id, figures)


def check_sum(figures: SaleFigures) -> None:
    """Raise ``ValueError`` for figures that do not add up."""
    parts_usdc = figures.earning_usdc + figures.fee_usdc + figures.margin_usdc
    if figures.cost_usdc != parts_usdc:
        raise ValueError(f"a cost of {figures.cost_usdc} of parts that make {parts_usdc}")


def _repeat_post(connection: Connection, sale_id: str, figures: SaleFigures) -> Used:
    stored = (
        connection.execute(select(_sale).where(_sale.c.sale_id == sale_id)).mappings().one_or_none()
    )
    if stored is None:
        raise SaleResolved(f"no sale {sale_id}")
    if stored["state"] == "reserved":
        raise ValueError(f"cost {figures.cost_usdc} is above {stored['ceiling_usdc']}")
    is_same = all(stored[name] == value for name, value in asdict(figures).items())
    if stored["state"] != "posted" or not is_same:
        raise SaleResolved(f"sale {sale_id} is already {stored['state']}")
    available = _change_account(connection, stored["account_id"], freed_usdc=0, spent_usdc=0)
    return _free_offer(connection, stored["offer_id"], stored["day"], 0, available)


def void_sale(
    connection: Connection,
    sale_id: str,
    *,
    reason: str,
    is_seller_failure: bool,
    now_s: int,
) -> Used | None:
    """Give a whole reservation back; return what is used now, None where it had been given back.

    Raises ``SaleResolved`` where the sale was posted or is unknown.
    """
    voided = _void(
        connection,
        _sale.c.sale_id == sale_id,
        reason=reason,
        is_seller_failure=is_seller_failure,
        now_s=now_s,
    )
    if voided:
        return voided[0]
    state = connection.execute(
        select(_sale.c.state).where(_sale.c.sale_id == sale_id)
    ).scalar_one_or_none()
    if state != "voided":
        raise SaleResolved(f"sale {sale_id} is {state or 'unknown'}")
    return None


def renew_sale(connection: Connection, sale_id: str, *, lease_expires_at_s: int) -> None:
    """Extend a live reservation's lease. Raises ``SaleResolved`` where it is not live."""
    changed = connection.execute(
        update(_sale)
        .where(_sale.c.sale_id == sale_id, _sale.c.state == "reserved")
        .values(lease_expires_at_s=lease_expires_at_s)
    )
    if changed.rowcount != 1:
        raise SaleResolved(f"sale {sale_id} is not reserved")


def sweep_sales(connection: Connection, *, now_s: int, limit: int = 1_000) -> int:
    """Void at most ``limit`` reservations whose process is dead; return how many were found."""
    is_expired = and_(text(SALE_RESERVED), _sale.c.lease_expires_at_s <= now_s)
    return _void_found(connection, is_expired, "lease_expired", now_s=now_s, limit=limit)


def void_sales_of(connection: Connection, holder_id: str, *, now_s: int, limit: int) -> int:
    """Void at most ``limit`` reservations of a dead process; return how many were found."""
    is_its = and_(text(SALE_RESERVED), _sale.c.holder_id == holder_id)
    return _void_found(connection, is_its, "process_died", now_s=now_s, limit=limit)


def _void_found(
    connection: Connection, which: ColumnElement[bool], reason: str, *, now_s: int, limit: int
) -> int:
    found = lock_lapsed(connection, _sale, _sale.c.sale_id, which, limit)
    if not found:
        return 0
    _void(
        connection,
        _sale.c.sale_id.in_(found) & which,
        reason=reason,
        is_seller_failure=False,
        now_s=now_s,
    )
    return len(found)


def _void(
    connection: Connection, which: Any, *, reason: str, is_seller_failure: bool, now_s: int
) -> list[Used]:
    voided = connection.execute(
        update(_sale)
        .where(which, _sale.c.state == "reserved")
        .values(
            state="voided",
            void_reason=reason,
            is_seller_failure=is_seller_failure,
            resolved_at_s=now_s,
        )
        .returning(
            _sale.c.account_id,
            _sale.c.offer_id,
            _sale.c.ceiling_usdc,
            _sale.c.day,
            _sale.c.supply_offer_id,
            _sale.c.bound_tokens,
        )
    ).all()
    by_account: dict[str, int] = defaultdict(int)
    by_offer: dict[tuple[str, int], int] = defaultdict(int)
    by_supply: dict[str, int] = defaultdict(int)
    for account_id, offer_id, ceiling_usdc, day, supply_offer_id, bound_tokens in voided:
        by_account[account_id] += ceiling_usdc
        by_offer[offer_id, day] += ceiling_usdc
        if supply_offer_id is not None:
            by_supply[supply_offer_id] += bound_tokens
    available_usdc = 0
    for account_id, freed_usdc in sorted(by_account.items()):
        available_usdc = _change_account(
            connection, account_id, freed_usdc=freed_usdc, spent_usdc=0
        )
    used = [
        _free_offer(connection, offer_id, day, freed_usdc, available_usdc)
        for (offer_id, day), freed_usdc in sorted(by_offer.items())
    ]
    free_ceilings(connection, sorted(by_supply.items()))
    return used


def _change_account(
    connection: Connection, account_id: str, *, freed_usdc: int, spent_usdc: int
) -> int:
    """Return the account's free credit."""
    values = {"account": account_id, "freed": freed_usdc, "spent": spent_usdc}
    return int(connection.execute(CHANGE_ACCOUNT, values).scalar_one())


def _free_offer(
    connection: Connection, offer_id: str, day: int, freed_usdc: int, available_usdc: int
) -> Used:
    values = {"offer": offer_id, "today": day, "freed": freed_usdc}
    row = connection.execute(FREE_OFFER, values).one()
    return Used(offer_id, int(row[0]), int(row[1]), int(row[2]), available_usdc)
