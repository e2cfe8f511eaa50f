"""Disputes: what buyers doubt, what sellers want tested again, and whether evidence has answered.

A dispute has no state of its own: it is answered once the offer has been probed by ``METHODS`` of
the lab since it was filed. The verdict is the lab's, never the words of either side.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, func, insert, select

from contracts.errors import Rejected
from ledger.selling.accounts import lock_owner
from ledger.tables import (
    MarketDispute,
    MarketEvidence,
    MarketRefund,
    MarketSale,
    table_of,
)

_dispute = table_of(MarketDispute)
_evidence = table_of(MarketEvidence)
_refund = table_of(MarketRefund)
_sale = table_of(MarketSale)

METHODS: Final = 2
"""Methods of the lab that answer a dispute: as many as a conviction takes."""
PROBED: Final = ("first_token", "border", "tool_calls")
"""Those methods: what live traffic says is there anyway, and answers nobody."""
DAY_S: Final = 86_400
DISPUTES_DAY_MAX: Final = 5
"""Disputes of one buyer in 24 hours."""
DISPUTED_MAX_S: Final = 7 * DAY_S
"""How old a sale may be that is disputed."""
RETEST_INTERVAL_S: Final = 30 * DAY_S
"""Between two re-tests of one offer that its seller asks for."""
WAITS_MAX_S: Final = 30 * DAY_S
"""How long a dispute that nothing answers is kept ahead of others."""


class DisputeRefused(Rejected):
    """It cannot be disputed, or not now. ``code`` says why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class DisputeRecord:
    """A dispute, and what the lab has found since it was filed."""

    dispute_id: str
    offer_id: str
    model: str
    request_id: str | None
    filed_at_s: int
    evidence: tuple[tuple[str, str, str, int], ...]
    """(id, method, transcript's hash, when) of each probe since, the oldest first."""
    refunded_usdc: int
    """What the buyer got back of the sale, 1e-6 USDC."""

    @property
    def is_answered(self) -> bool:
        """Whether enough methods have looked at the offer since."""
        return len({method for _, method, _, _ in self.evidence}) >= METHODS


def file_dispute(
    connection: Connection,
    *,
    dispute_id: str,
    account_id: str,
    request_id: str,
    reason: str,
    now_s: int,
) -> str:
    """File a buyer's dispute of a request; return its id. The same request again is the same one.

    Raises ``DisputeRefused``: ``not_found`` where the account has bought nothing by that request,
    ``not_disputable`` where it is too old or was sold by a supplier, ``too_many_disputes``.
    """
    lock_owner(connection, "buyer", account_id)
    sale = (
        connection.execute(
            select(
                *(_sale.c[name] for name in ("sale_id", "offer_id", "model", "resolved_at_s")),
                _sale.c.supply_offer_id,
            ).where(
                _sale.c.request_id == request_id,
                _sale.c.account_id == account_id,
                _sale.c.state == "posted",
            )
        )
        .mappings()
        .one_or_none()
    )
    if sale is None:
        raise DisputeRefused("not_found", "There is no such request that was paid for.")
    known = connection.execute(
        select(_dispute.c.dispute_id).where(_dispute.c.sale_id == sale["sale_id"])
    ).scalar_one_or_none()
    if known is not None:
        return str(known)
    if sale["supply_offer_id"] is not None:
        # Suppliers are known companies, paid by contract: the lab does not probe them.
        raise DisputeRefused(
            "not_disputable", "A supplier served this request: only sellers' sales can be disputed."
        )
    if now_s - int(sale["resolved_at_s"]) > DISPUTED_MAX_S:
        raise DisputeRefused("not_disputable", "A request can be disputed for 7 days.")
    filed = connection.execute(
        select(func.count()).where(
            _dispute.c.asked_by == account_id, _dispute.c.filed_at_s > now_s - DAY_S
        )
    ).scalar_one()
    if filed >= DISPUTES_DAY_MAX:
        raise DisputeRefused(
            "too_many_disputes", f"An account can dispute {DISPUTES_DAY_MAX} requests in 24 hours."
        )
    connection.execute(
        insert(_dispute).values(
            dispute_id=dispute_id,
            offer_id=sale["offer_id"],
            model=sale["model"],
            asked_by=account_id,
            sale_id=sale["sale_id"],
            reason=reason,
            filed_at_s=now_s,
        )
    )
    return dispute_id


def ask_retest(
    connection: Connection,
    *,
    dispute_id: str,
    offer_id: str,
    model: str,
    seller: str,
    reason: str,
    now_s: int,
) -> str:
    """File a seller's wish to have an offer tested again; return its id.

    Raises ``DisputeRefused``: ``too_many_disputes`` within ``RETEST_INTERVAL_S`` of the last one.
    """
    lock_owner(connection, "seller", seller)
    last_s = connection.execute(
        select(func.max(_dispute.c.filed_at_s)).where(
            _dispute.c.asked_by == seller, _dispute.c.offer_id == offer_id
        )
    ).scalar_one()
    if last_s is not None and now_s - int(last_s) < RETEST_INTERVAL_S:
        raise DisputeRefused("too_many_disputes", "An offer can be tested again once in 30 days.")
    connection.execute(
        insert(_dispute).values(
            dispute_id=dispute_id,
            offer_id=offer_id,
            model=model,
            asked_by=seller,
            reason=reason,
            filed_at_s=now_s,
        )
    )
    return dispute_id


def load_disputes(
    connection: Connection, *, asked_by: str, dispute_id: str | None = None, limit: int = 100
) -> list[DisputeRecord]:
    """Return an account's or a seller's disputes, the newest first."""
    query = (
        select(_dispute, _sale.c.request_id, func.coalesce(_refund.c.amount_usdc, 0).label("usdc"))
        .outerjoin(_sale, _sale.c.sale_id == _dispute.c.sale_id)
        .outerjoin(_refund, _refund.c.sale_id == _dispute.c.sale_id)
        .where(_dispute.c.asked_by == asked_by)
        .order_by(_dispute.c.filed_at_s.desc(), _dispute.c.dispute_id.desc())
        .limit(limit)
    )
    if dispute_id is not None:
        query = query.where(_dispute.c.dispute_id == dispute_id)
    return [
        DisputeRecord(
            row["dispute_id"],
            row["offer_id"],
            row["model"],
            row["request_id"],
            int(row["filed_at_s"]),
            _load_evidence(connection, row["offer_id"], int(row["filed_at_s"])),
            int(row["usdc"]),
        )
        for row in connection.execute(query).mappings().all()
    ]


def _load_evidence(
    connection: Connection, offer_id: str, since_s: int
) -> tuple[tuple[str, str, str, int], ...]:
    names = ("evidence_id", "method", "transcript_hash", "made_at_s")
    query = (
        select(*(_evidence.c[name] for name in names))
        .where(
            _evidence.c.offer_id == offer_id,
            _evidence.c.made_at_s >= since_s,
            _evidence.c.method.in_(PROBED),
        )
        .order_by(_evidence.c.evidence_id)
        .limit(100)
    )
    return tuple((str(a), str(b), str(c), int(d)) for a, b, c, d in connection.execute(query))


@dataclass(frozen=True, slots=True)
class WaitingOffer:
    """An offer that disputes or re-tests wait for."""

    since_s: int
    """When the oldest of them was filed."""
    is_doubted: bool
    """Whether a buyer filed one. What a seller asks for brings an offer forward and pays nothing.
    """


def load_waiting(connection: Connection, *, now_s: int) -> dict[str, WaitingOffer]:
    """Return the offers that wait for an answer to a dispute or for a re-test, by id."""
    since = _evidence.c.made_at_s >= _dispute.c.filed_at_s
    methods = (
        select(func.count(_evidence.c.method.distinct()))
        .where(_evidence.c.offer_id == _dispute.c.offer_id, since, _evidence.c.method.in_(PROBED))
        .scalar_subquery()
    )
    rows = connection.execute(
        select(
            _dispute.c.offer_id,
            func.min(_dispute.c.filed_at_s),
            func.count(_dispute.c.sale_id),
        )
        .where(_dispute.c.filed_at_s > now_s - WAITS_MAX_S, methods < METHODS)
        .group_by(_dispute.c.offer_id)
    ).all()
    return {
        str(offer_id): WaitingOffer(int(filed_s), is_doubted=bool(by_buyers))
        for offer_id, filed_s, by_buyers in rows
    }
