"""Who probes an offer at the moment, and what that may cost: booked before anything is asked.

A process that dies leaves its turn until it runs out, and leaves what it had booked: that may have
been paid. Booked amounts count like the cost of evidence for as long, from when they were booked.
Amounts are in 1e-6 USDC.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, func, select, update

from contracts.units import utc_day
from ledger.database.statements import insert_or_ignore
from ledger.tables import MarketAccount, MarketProbeTurn, MarketSale, table_of

_account = table_of(MarketAccount)
_sale = table_of(MarketSale)
_turn = table_of(MarketProbeTurn)


@dataclass(frozen=True, slots=True)
class ProbeTurn:
    """A turn that a process has."""

    offer_id: str
    until_s: int
    """Until when; with it the turn is known again."""
    booked_usdc: int = 0
    """What its probe may cost."""
    lost_usdc: int = 0
    """What earlier probes cost, or may have cost, that left no evidence."""
    lost_at_s: int = 0
    """When the last of them began."""


def take_turn(
    connection: Connection, *, offer_id: str, now_s: int, until_s: int
) -> ProbeTurn | None:
    """Take an offer's turn to be probed; None where somebody else has it."""
    row = {"offer_id": offer_id, "until_s": until_s}
    if insert_or_ignore(connection, _turn, row):
        return ProbeTurn(offer_id, until_s)
    changed = connection.execute(
        update(_turn)
        .where(_turn.c.offer_id == offer_id, _turn.c.until_s <= now_s)
        .values(until_s=until_s)
    )
    return ProbeTurn(offer_id, until_s) if changed.rowcount == 1 else None


def book_cost(
    connection: Connection,
    turn: ProbeTurn,
    *,
    cost_usdc: int,
    now_s: int,
    since_s: int,
    is_disputed: bool = False,
) -> ProbeTurn:
    """Book under a turn what its probe may cost; what was lost before ``since_s`` is forgotten.

    ``is_disputed`` tells that only a dispute pays for it: see ``sum_disputed``.
    """
    row = (
        connection.execute(select(_turn).where(_turn.c.offer_id == turn.offer_id)).mappings().one()
    )
    is_kept = row["booked_at_s"] >= since_s
    lost_usdc = int(row["booked_usdc"]) if is_kept else 0
    values = {"booked_usdc": lost_usdc + cost_usdc, "booked_at_s": now_s}
    if is_disputed:
        today = utc_day(now_s)
        before_usdc = int(row["disputed_usdc"]) if row["disputed_day"] == today else 0
        values |= {"disputed_usdc": before_usdc + cost_usdc, "disputed_day": today}
    connection.execute(update(_turn).where(_turn.c.offer_id == turn.offer_id).values(values))
    return ProbeTurn(turn.offer_id, turn.until_s, cost_usdc, lost_usdc, int(row["booked_at_s"]))


def end_turn(connection: Connection, turn: ProbeTurn, *, now_s: int, lost_usdc: int = 0) -> bool:
    """Give a turn back; tell whether it was still had, so that what follows is done once.

    ``lost_usdc`` is what was paid and left no evidence: it stays booked, the rest does not. A turn
    that has run out and was taken by another process leaves all booked.
    """
    values = {
        "until_s": min(now_s, turn.until_s - 1),
        "booked_usdc": turn.lost_usdc + lost_usdc,
    }
    if not lost_usdc:
        values["booked_at_s"] = turn.lost_at_s
    changed = connection.execute(
        update(_turn)
        .where(_turn.c.offer_id == turn.offer_id, _turn.c.until_s == turn.until_s)
        .values(values)
    )
    return changed.rowcount == 1


def give_back(connection: Connection, turn: ProbeTurn, *, now_s: int) -> None:
    """Give a turn back for which nothing was booked."""
    connection.execute(
        update(_turn)
        .where(_turn.c.offer_id == turn.offer_id, _turn.c.until_s == turn.until_s)
        .values(until_s=now_s)
    )


def sum_disputed(connection: Connection, *, day: int) -> int:
    """Return what has been booked on a UTC day for probes that only disputes pay for."""
    query = select(func.coalesce(func.sum(_turn.c.disputed_usdc), 0)).where(
        _turn.c.disputed_day == day
    )
    return int(connection.execute(query).scalar_one())


def sum_paid_by_others(connection: Connection, *, offer_id: str, since_s: int) -> int:
    """Return what an offer has sold since a time to other accounts than its seller's."""
    query = (
        select(func.coalesce(func.sum(_sale.c.cost_usdc), 0))
        .join(_account, _account.c.account_id == _sale.c.account_id)
        .where(
            _sale.c.offer_id == offer_id,
            _sale.c.state == "posted",
            _sale.c.reserved_at_s >= since_s,
            func.coalesce(_account.c.wallet, "") != _sale.c.seller,
        )
    )
    return int(connection.execute(query).scalar_one())
