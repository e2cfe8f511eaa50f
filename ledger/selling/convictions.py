"""Convicted offers: what buyers get back, from what their sellers have earned and not been paid.

::

    posted ──vested──► part of a payout
       └──convicted before that──► held back for its buyer ──refund──► the buyer's credit
                                       ▲  └───────────overturned───────────┘ (the market bears it)

The one column ``market_sale.payout_id`` says who gets a sale's earning: a payout, or the conviction
that held it back (``refund-…``). Both are written only where the other is not, so an earning is
never paid and refunded. A refund and its buyer's credit are one transaction, and a refund is once
for each sale: a process may die at any moment, and two may work at once.

A buyer gets back all that the sale had cost: the seller's earning, and the market's own fee and
margin with it. What had vested is the seller's: a sale older than that is not refunded, unless its
buyer had disputed it in time and still waited for an answer when the offer was convicted.

Lock order: ``market_conviction``, ``market_sale``, ``market_offer``; beside that as in
``ledger.selling.sales``. Amounts are in 1e-6 USDC.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    and_,
    exists,
    func,
    insert,
    or_,
    select,
    text,
    update,
)

from ledger.database.statements import insert_or_ignore
from ledger.selling.accounts import add_credit
from ledger.selling.earnings import is_disputed
from ledger.selling.offers import let_back
from ledger.tables import (
    SALE_RESERVED,
    SALE_UNPAID,
    MarketConviction,
    MarketOffer,
    MarketRefund,
    MarketSale,
    table_of,
)

_conviction = table_of(MarketConviction)
_offer = table_of(MarketOffer)
_refund = table_of(MarketRefund)
_sale = table_of(MarketSale)

REFUND_PREFIX: Final = "refund-"
"""Begins what a sale has for a payout where its earning is held back for its buyer."""
SOURCE: Final = "refund"
"""Of the buyer's credit."""


@dataclass(frozen=True, slots=True)
class Conviction:
    """An offer that is convicted, and since when what it sold is refunded."""

    conviction_id: str
    offer_id: str
    seller: str
    model: str
    evidence: str
    counts_from_s: int
    refunds_from_s: int


@dataclass(frozen=True, slots=True)
class Overturned:
    """What a conviction that was wrong had done, in 1e-6 USDC."""

    offer_id: str
    released_usdc: int
    """Earnings that were held back, and are the seller's again."""
    borne_usdc: int
    """Earnings that buyers keep and the seller gets all the same: the market pays them."""


@dataclass(frozen=True, slots=True)
class OpenConviction:
    """A conviction whose refunds are not all made, in 1e-6 USDC."""

    conviction_id: str
    offer_id: str
    seller: str
    held_usdc: int
    """The seller's earnings that it holds back, with those that buyers have back by now."""


def build_hold_id(conviction_id: str) -> str:
    """Return what the sales that a conviction holds back have for a payout."""
    return REFUND_PREFIX + conviction_id


def convict(connection: Connection, conviction: Conviction, *, now_s: int) -> bool:
    """Write a conviction down, and hold back what the offer earned since and is not vested, and
    what was disputed and not answered, however old.

    Once for each start of the offer's evidence. Again, it is for what was sold meanwhile too: it is
    open again until that is refunded; one that was overturned stays so. Tells whether it was new.
    """
    is_same = (_conviction.c.offer_id == conviction.offer_id) & (
        _conviction.c.counts_from_s == conviction.counts_from_s
    )
    values = {
        "conviction_id": conviction.conviction_id,
        "offer_id": conviction.offer_id,
        "seller": conviction.seller,
        "model": conviction.model,
        "state": "open",
        "evidence": conviction.evidence,
        "counts_from_s": conviction.counts_from_s,
        "refunds_from_s": conviction.refunds_from_s,
        "convicted_at_s": now_s,
    }
    query = select(_conviction).where(is_same).with_for_update()
    known = connection.execute(query).mappings().one_or_none()
    if known is None:
        if insert_or_ignore(connection, _conviction, values):
            _hold_back(connection, values, now_s=now_s)
            return True
        known = connection.execute(query).mappings().one()  # another process was faster
    if known["state"] != "overturned":
        until_s = max(now_s, int(known["convicted_at_s"]))
        connection.execute(
            update(_conviction)
            .where(_conviction.c.conviction_id == known["conviction_id"])
            .values(state="open", ended_at_s=None, convicted_at_s=until_s)
        )
        _hold_back(connection, {**known, "convicted_at_s": until_s}, now_s=now_s)
    return False


def _hold_back(connection: Connection, conviction: dict[str, object], *, now_s: int) -> None:
    # What had not vested when the offer was doubted has not vested since: it was in no payout.
    doubted_at_s = connection.execute(
        select(_offer.c.doubted_at_s).where(_offer.c.offer_id == conviction["offer_id"])
    ).scalar_one()
    convicted_at_s = int(str(conviction["convicted_at_s"]))
    vested_by_s = now_s if doubted_at_s is None else min(now_s, int(doubted_at_s))
    connection.execute(
        update(_sale)
        .where(
            text(SALE_UNPAID),
            _sale.c.offer_id == conviction["offer_id"],
            _sale.c.reserved_at_s <= conviction["convicted_at_s"],
            _sale.c.cost_usdc > 0,
            or_(
                and_(
                    _sale.c.reserved_at_s >= conviction["refunds_from_s"],
                    _sale.c.resolved_at_s + _sale.c.vesting_s > vested_by_s,
                ),
                # What convicts is no answer yet: the buyer gets his sale back, however old it is.
                is_disputed(convicted_at_s, answered_by_s=convicted_at_s),
            ),
        )
        .values(payout_id=build_hold_id(str(conviction["conviction_id"])))
    )


def refund_held_back(
    connection: Connection, *, make_id: Callable[[], str], now_s: int, limit: int = 500
) -> int:
    """Credit buyers with at most ``limit`` sales of one open conviction; return how many.

    Sales that were in flight when their offer was convicted are held back here, once they are
    posted. The conviction ends as ``refunded`` when nothing of it is left.
    """
    open_ones = connection.execute(
        select(_conviction)
        .where(_conviction.c.state == "open")
        .order_by(_conviction.c.conviction_id)
        .with_for_update()
    ).mappings()
    for conviction in open_ones.all():
        # Asked first: a sale that is posted after this is seen below, or in the next round.
        is_whole = not _has_open_sale(connection, conviction)
        _hold_back(connection, dict(conviction), now_s=now_s)
        found = _load_unrefunded(connection, conviction, limit)
        if found:
            _credit_buyers(connection, conviction, found, make_id=make_id, now_s=now_s)
            return len(found)
        if is_whole:
            _end(connection, conviction["conviction_id"], "refunded", now_s=now_s)
    return 0


def load_open_convictions(connection: Connection) -> list[OpenConviction]:
    """Return the convictions that are open, the oldest first."""
    names = ("conviction_id", "offer_id", "seller")
    held_usdc = (
        select(func.coalesce(func.sum(_sale.c.earning_usdc), 0))
        .where(_sale.c.payout_id == REFUND_PREFIX + _conviction.c.conviction_id)
        .scalar_subquery()
    )
    rows = connection.execute(
        select(*(_conviction.c[name] for name in names), held_usdc)
        .where(_conviction.c.state == "open")
        .order_by(_conviction.c.conviction_id)
    )
    return [OpenConviction(*row[:3], held_usdc=int(row[3])) for row in rows]


def _is_held_back(conviction: RowMapping) -> ColumnElement[bool]:
    return _sale.c.payout_id == build_hold_id(conviction["conviction_id"])


def _load_unrefunded(
    connection: Connection, conviction: RowMapping, limit: int
) -> list[RowMapping]:
    is_refunded = exists().where(_refund.c.sale_id == _sale.c.sale_id)
    query = (
        select(_sale.c.sale_id, _sale.c.account_id, _sale.c.cost_usdc, _sale.c.earning_usdc)
        .where(_is_held_back(conviction), ~is_refunded)
        .order_by(_sale.c.sale_id)
        .limit(limit)
    )
    return list(connection.execute(query).mappings())


def _credit_buyers(
    connection: Connection,
    conviction: RowMapping,
    sales: list[RowMapping],
    *,
    make_id: Callable[[], str],
    now_s: int,
) -> None:
    by_account: dict[str, list[RowMapping]] = defaultdict(list)
    for sale in sales:
        by_account[sale["account_id"]].append(sale)
    for account_id, bought in sorted(by_account.items()):
        credit_id = f"{SOURCE}:{make_id()}"
        add_credit(
            connection,
            credit_id=credit_id,
            account_id=account_id,
            amount_usdc=sum(int(sale["cost_usdc"]) for sale in bought),
            source=SOURCE,
            now_s=now_s,
        )
        rows = [
            {
                "sale_id": sale["sale_id"],
                "conviction_id": conviction["conviction_id"],
                "account_id": account_id,
                "credit_id": credit_id,
                "amount_usdc": sale["cost_usdc"],
                "earning_usdc": sale["earning_usdc"],
                "is_borne": False,
                "refunded_at_s": now_s,
            }
            for sale in bought
        ]
        connection.execute(insert(_refund), rows)


def _has_open_sale(connection: Connection, conviction: RowMapping) -> bool:
    is_open = and_(
        text(SALE_RESERVED),
        _sale.c.offer_id == conviction["offer_id"],
        _sale.c.reserved_at_s <= conviction["convicted_at_s"],
    )
    return connection.execute(select(_sale.c.sale_id).where(is_open).limit(1)).first() is not None


def _end(connection: Connection, conviction_id: str, state: str, *, now_s: int) -> None:
    connection.execute(
        update(_conviction)
        .where(_conviction.c.conviction_id == conviction_id)
        .values(state=state, ended_at_s=now_s)
    )


def overturn(connection: Connection, conviction_id: str, *, now_s: int) -> Overturned | None:
    """Take a conviction back; say what it had done, None where there is none to take back.

    What was held back is the seller's again. What buyers were refunded they keep, and the seller
    gets its part of it all the same: the market bears that. The offer serves as any other, and
    evidence from before counts no more. Again is harmless.
    """
    conviction = (
        connection.execute(
            select(_conviction)
            .where(_conviction.c.conviction_id == conviction_id)
            .with_for_update()
        )
        .mappings()
        .one_or_none()
    )
    if conviction is None or conviction["state"] == "overturned":
        return None
    is_its = _refund.c.conviction_id == conviction_id
    borne_usdc = connection.execute(
        select(func.coalesce(func.sum(_refund.c.earning_usdc), 0)).where(is_its)
    ).scalar_one()
    held_usdc = connection.execute(
        select(func.coalesce(func.sum(_sale.c.earning_usdc), 0)).where(_is_held_back(conviction))
    ).scalar_one()
    connection.execute(update(_refund).where(is_its).values(is_borne=True))
    connection.execute(update(_sale).where(_is_held_back(conviction)).values(payout_id=None))
    _end(connection, conviction_id, "overturned", now_s=now_s)
    let_back(connection, offer_id=conviction["offer_id"], now_s=now_s)
    return Overturned(
        conviction["offer_id"],
        released_usdc=int(held_usdc) - int(borne_usdc),
        borne_usdc=int(borne_usdc),
    )
