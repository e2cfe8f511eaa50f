"""How a deployment stands, as its ledger has it: for the operator's page and for `current status`.

Amounts are in 1e-6 USDC, times in Unix seconds or seconds, as the names say.
"""

from typing import Any, Final

from sqlalchemy import Connection, Table, func, select

from ledger.chain.mirror import MirrorState
from ledger.database.engine import is_postgres
from ledger.intents.days import load_gas
from ledger.intents.queries import load_open_intents
from ledger.intents.rests import WHOLE_KIND, load_rests
from ledger.spending.debts import load_posted
from ledger.tables import (
    ApiConnection,
    LeaseHolder,
    MarketAccount,
    MarketOffer,
    MarketPayout,
    MarketSale,
    Position,
    SupplierPayout,
    Usage,
    X402Payment,
    table_of,
)

DAY_S: Final = 86_400

_account = table_of(MarketAccount)
_connection = table_of(ApiConnection)
_holder = table_of(LeaseHolder)
_offer = table_of(MarketOffer)
_payment = table_of(X402Payment)
_payout = table_of(MarketPayout)
_position = table_of(Position)
_sale = table_of(MarketSale)
_supplier_payout = table_of(SupplierPayout)
_usage = table_of(Usage)

Facts = dict[str, Any]


def gather_chain(mirror: MirrorState | None, now_s: int) -> Facts:
    """Return how far the mirror is."""
    return {
        "mirrored_block": None if mirror is None else mirror.block_number,
        "age_s": None if mirror is None else mirror.age_s(now_s=now_s),
        "lag_blocks": None if mirror is None else max(0, mirror.head_number - mirror.block_number),
    }


def gather_positions(connection: Connection, now_s: int) -> Facts:
    """Return the sums of all positions."""
    columns = ("principal_usdc", "credited_usdc", "spent_usdc", "withdrawn_usdc", "drawn_usdc")
    sums = [func.coalesce(func.sum(_position.c[name]), 0).label(name) for name in columns]
    row = connection.execute(select(func.count().label("count"), *sums)).mappings().one()
    is_held = (_position.c.hold_usdc > 0) & (_position.c.hold_expires_at_s > now_s)
    held = connection.execute(
        select(func.count(), func.coalesce(func.sum(_position.c.hold_usdc), 0)).where(is_held)
    ).one()
    return {name: int(value) for name, value in row.items()} | {
        "with_hold": int(held[0]),
        "held_usdc": int(held[1]),
    }


def gather_usage(connection: Connection, now_s: int) -> Facts:
    """Return what was asked, and what waits for a settlement."""
    by_state = _count(connection, _usage, _usage.c.state)
    posted = load_posted(connection)
    today = connection.execute(
        select(func.count(), func.coalesce(func.sum(_usage.c.cost_usdc), 0)).where(
            _usage.c.resolved_at_s >= now_s - DAY_S
        )
    ).one()
    oldest_s = min((one.since_s for one in posted.values()), default=None)
    return {
        "in_flight": by_state.get("reserved", 0),
        "by_state": by_state,
        "posted_usdc": sum(one.amount_usdc for one in posted.values()),
        "posted_oldest_s": None if oldest_s is None else now_s - oldest_s,
        "day_requests": int(today[0]),
        "day_usdc": int(today[1]),
    }


def gather_keeper(connection: Connection, now_s: int) -> Facts:
    """Return what the keeper has begun, spent on gas today, and stopped."""
    intents = load_open_intents(connection)
    gas = load_gas(connection, now_s=now_s)
    rests = load_rests(connection)
    return {
        "intents": [
            {
                "intent_id": one.intent_id,
                "kind": one.kind,
                "state": str(one.state),
                "nonce": one.nonce,
                "tx_hash": one.tx_hash,
                "age_s": now_s - one.created_at_s,
            }
            for one in intents
        ],
        "gas_day_usdc": {kind: usdc for (kind, of), usdc in gas.items() if of == WHOLE_KIND},
        "stopped_kinds": sorted(
            kind
            for (kind, subject), rest in rests.items()
            if subject == WHOLE_KIND and rest.until_s > now_s
        ),
        "items_at_rest": sum(subject != WHOLE_KIND for _, subject in rests),
    }


def gather_market(connection: Connection, now_s: int) -> Facts:
    """Return the market of the last 24 hours, and what it owes."""
    day = _sale.c.reserved_at_s >= now_s - DAY_S
    sold = connection.execute(
        select(
            _sale.c.state,
            func.count(),
            func.coalesce(func.sum(_sale.c.cost_usdc), 0),
            func.coalesce(func.sum(_sale.c.earning_usdc), 0),
        )
        .where(day)
        .group_by(_sale.c.state)
    ).all()
    failing = connection.execute(
        select(_sale.c.seller, func.count())
        .where(day, _sale.c.is_seller_failure.is_(True))
        .group_by(_sale.c.seller)
        .order_by(func.count().desc())
        .limit(5)
    ).all()
    credit = connection.execute(
        select(
            func.coalesce(func.sum(_account.c.credited_usdc), 0),
            func.coalesce(func.sum(_account.c.spent_usdc), 0),
            func.coalesce(func.sum(_account.c.reserved_usdc), 0),
        ).where(_account.c.kind == "prepaid")
    ).one()
    waits = connection.execute(
        select(
            func.count(),
            func.coalesce(func.sum(_payout.c.amount_usdc), 0),
            func.min(_payout.c.planned_at_s),
        ).where(_payout.c.batch_id.is_(None))
    ).one()
    return {
        "offers": _count(connection, _offer, _offer.c.status),
        "connections": _count(connection, _connection, _connection.c.status),
        "day_sales": {str(state): int(count) for state, count, _, _ in sold},
        "day_cost_usdc": sum(int(cost) for _, _, cost, _ in sold),
        "day_earning_usdc": sum(int(earning) for _, _, _, earning in sold),
        "failing_sellers": {str(seller): int(count) for seller, count in failing},
        "prepaid_usdc": {
            "credited": int(credit[0]),
            "spent": int(credit[1]),
            "reserved": int(credit[2]),
        },
        "payouts_waiting": int(waits[0]),
        "payouts_waiting_usdc": int(waits[1]),
        "payouts_oldest_s": None if waits[2] is None else now_s - int(waits[2]),
        "supplier_payouts": _count(connection, _supplier_payout, _supplier_payout.c.status),
        "payments": _count(connection, _payment, _payment.c.state),
    }


def gather_processes(connection: Connection, now_s: int) -> list[Facts]:
    """Return the servers that hold leases, and for how long each was silent: None on SQLite, where
    no count moves and the kernel's lock alone tells that a process lives."""
    counts = is_postgres(connection)
    rows = connection.execute(select(_holder).order_by(_holder.c.role)).mappings()
    return [
        {
            "role": row["role"],
            "up_s": now_s - row["started_at_s"],
            "silent_s": max(0, now_s - row["beat_at_s"]) if counts else None,
        }
        for row in rows
    ]


def _count(connection: Connection, table: Table, column: Any) -> dict[str, int]:
    rows = connection.execute(select(column, func.count()).select_from(table).group_by(column))
    return {str(name): int(count) for name, count in rows}
