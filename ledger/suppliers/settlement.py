"""Suppliers' days, settled: each once, whoever does it, however often, however late.

A settlement of a day takes all of a supplier's sums up to that day that are in none yet, and makes
the one payout of the supplier and the day, in one transaction. Its id is made of both. Amounts are
in 1e-6 USD.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from sqlalchemy import BigInteger, Connection, and_, bindparam, func, insert, select, text, update

from ledger.database.engine import is_postgres
from ledger.suppliers.accounts import APPROVED
from ledger.suppliers.saved_addresses import AddressNow, load_addresses_now
from ledger.suppliers.settling import Carry, DaySum, Payee, SettledDay, settle
from ledger.tables import (
    SUPPLY_DAY_OPEN,
    Supplier,
    SupplierPayout,
    SupplyAccount,
    SupplyDay,
    table_of,
)

_account = table_of(SupplyAccount)
_day = table_of(SupplyDay)
_payout = table_of(SupplierPayout)
_supplier = table_of(Supplier)

CHUNK: Final = 500
"""Suppliers that one transaction settles."""


@dataclass(frozen=True, slots=True)
class NetworkTerms:
    """How payouts travel on a network."""

    rail: str
    asset: str
    minimum_usdc: int


@dataclass(frozen=True, slots=True)
class SettlementTerms:
    """What settlement goes by."""

    fee_bps: int
    """Of suppliers with whom nothing else was agreed."""
    networks: Mapping[str, NetworkTerms]
    default_network: str
    """What is said of a supplier who has not chosen one yet."""
    usd_rate: str
    usd_rate_source: str


@dataclass(frozen=True, slots=True)
class SettledChunk:
    """What one transaction settled."""

    suppliers: int
    """How many were looked at; 0: the day is settled."""
    payouts: int
    net_usdc: int
    carried: int


def find_oldest_open_day(connection: Connection, *, through_day: int) -> int | None:
    """Return the oldest day, up to ``through_day``, that a supplier has sold in and that is in no
    settlement; None: there is none. A day's sums that came late are left for the next day."""
    query = (
        select(func.min(_day.c.day))
        .join(_account, _account.c.supplier_id == _day.c.supplier_id)
        .where(
            text(SUPPLY_DAY_OPEN),
            _day.c.day <= through_day,
            _account.c.settled_day < through_day,
        )
    )
    found = connection.execute(query).scalar()
    return None if found is None else int(found)


def settle_chunk(
    connection: Connection, *, day: int, terms: SettlementTerms, now_s: int, limit: int = CHUNK
) -> SettledChunk:
    """Settle a day for at most ``limit`` suppliers for whom it is not settled yet.

    To be called again until it looked at none. Days must be settled in their order: what is open of
    earlier days goes into this one.
    """
    accounts = _claim(connection, day=day, limit=limit)
    if not accounts:
        return SettledChunk(0, 0, 0, 0)
    ids = sorted(accounts)
    sums = _take_sums(connection, ids, day=day)
    suppliers = _load_suppliers(connection, ids)
    payees = _load_payees(connection, accounts, suppliers, terms, now_s=now_s)
    rows, carried = [], []
    for supplier_id in ids:
        account = accounts[supplier_id]
        agreed_bps = suppliers[supplier_id]["fee_bps"]
        settled = settle(
            sums.get(supplier_id, ()),
            day=day,
            fee_bps=terms.fee_bps if agreed_bps is None else int(agreed_bps),
            carried_in_usdc=int(account["carried_usdc"]),
            payee=payees[supplier_id],
        )
        if supplier_id not in sums and settled.carry is not None:
            continue  # nothing was sold, and what is carried stays so
        rows.append(
            _build_row(supplier_id, settled, payees[supplier_id], terms, day=day, now_s=now_s)
        )
        carried.append({"supplier": supplier_id, "carried": settled.carried_out_usdc})
    if rows:
        connection.execute(insert(_payout), rows)
        connection.execute(_SET_CARRIED, carried)
    return SettledChunk(
        suppliers=len(ids),
        payouts=len(rows),
        net_usdc=sum(row["net_usdc"] for row in rows),
        carried=sum(row["status"] == "carried" for row in rows),
    )


_SET_CARRIED: Final = (
    update(_account)
    .where(_account.c.supplier_id == bindparam("supplier"))
    .values(carried_usdc=bindparam("carried", type_=BigInteger))
)


def build_payout_id(supplier_id: str, day: int) -> str:
    """Return the id of the one payout of a supplier and a day; ids sort by day."""
    return f"{(date(1970, 1, 1) + timedelta(days=day)).isoformat()}-{supplier_id}"


def _claim(connection: Connection, *, day: int, limit: int) -> dict[str, Mapping[str, Any]]:
    """Return suppliers that have something to settle for a day, which nobody else settles now."""
    has_open = (
        select(_day.c.supplier_id)
        .where(
            text(SUPPLY_DAY_OPEN), _day.c.day <= day, _day.c.supplier_id == _account.c.supplier_id
        )
        .exists()
    )
    query = (
        select(_account.c.supplier_id, _account.c.network, _account.c.carried_usdc)
        .where(_account.c.settled_day < day, has_open | (_account.c.carried_usdc > 0))
        .order_by(_account.c.supplier_id)
        .limit(limit)
    )
    if is_postgres(connection):
        query = query.with_for_update(of=_account)
    found = {row["supplier_id"]: row for row in connection.execute(query).mappings()}
    if found:
        connection.execute(
            update(_account).where(_account.c.supplier_id.in_(list(found))).values(settled_day=day)
        )
    return {supplier_id: dict(row) for supplier_id, row in found.items()}


def _take_sums(connection: Connection, ids: Sequence[str], *, day: int) -> dict[str, list[DaySum]]:
    """Close the open sums of suppliers up to a day; return them. Sales that are being posted to one
    of them are waited for, or go to the next day."""
    prefix = build_payout_id("", day)
    are_theirs = and_(text(SUPPLY_DAY_OPEN), _day.c.supplier_id.in_(ids), _day.c.day <= day)
    if is_postgres(connection):
        # A set of posted sales locks several, in this order.
        locked = select(_day.c.day).where(are_theirs).order_by(*_day.primary_key)
        connection.execute(locked.with_for_update(key_share=True)).all()
    rows = connection.execute(
        update(_day)
        .where(are_theirs)
        .values(payout_id=prefix + _day.c.supplier_id)
        .returning(
            _day.c.supplier_id,
            _day.c.supply_offer_id,
            _day.c.day,
            _day.c.bid_usdc_per_mtok,
            _day.c.requests,
            _day.c.input_tokens,
            _day.c.output_tokens,
            _day.c.paid_tokens,
        )
    ).all()
    sums: dict[str, list[DaySum]] = defaultdict(list)
    for supplier_id, offer_id, *numbers in rows:
        sums[supplier_id].append(DaySum(offer_id, *map(int, numbers)))
    return sums


def _load_suppliers(connection: Connection, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    rows = connection.execute(
        select(_supplier.c.supplier_id, _supplier.c.fee_bps, _supplier.c.kyb_status).where(
            _supplier.c.supplier_id.in_(ids)
        )
    ).mappings()
    return {row["supplier_id"]: dict(row) for row in rows}


def _load_payees(
    connection: Connection,
    accounts: Mapping[str, Mapping[str, Any]],
    suppliers: Mapping[str, Mapping[str, Any]],
    terms: SettlementTerms,
    *,
    now_s: int,
) -> dict[str, Payee]:
    """Return where each is paid: the newest address of its network that counts by now."""
    saved = load_addresses_now(connection, list(accounts), now_s=now_s)
    payees = {}
    for supplier_id, account in accounts.items():
        network = account["network"] or terms.default_network
        travels = terms.networks[network]
        counts = saved.get((supplier_id, network), AddressNow(None, None))
        payees[supplier_id] = Payee(
            network=network,
            rail=travels.rail,
            asset=travels.asset,
            minimum_usdc=travels.minimum_usdc,
            address=counts.address,
            is_cooling=counts.later_from_s is not None,
            is_approved=suppliers[supplier_id]["kyb_status"] == APPROVED,
        )
    return payees


def _build_row(
    supplier_id: str,
    settled: SettledDay,
    payee: Payee,
    terms: SettlementTerms,
    *,
    day: int,
    now_s: int,
) -> dict[str, Any]:
    is_carried = settled.net_usdc == 0
    return {
        "payout_id": build_payout_id(supplier_id, day),
        "supplier_id": supplier_id,
        "day": day,
        "first_day": settled.first_day,
        "status": "carried" if is_carried else "pending",
        "reason": None if settled.carry is None else str(Carry(settled.carry)),
        "rail": payee.rail,
        "network": payee.network,
        "asset": payee.asset,
        "address": None if is_carried else payee.address,
        "gross_usdc": settled.gross_usdc,
        "fee_bps": settled.fee_bps,
        "fee_usdc": settled.fee_usdc,
        "network_fee_usdc": 0,
        "carried_in_usdc": settled.carried_in_usdc,
        "net_usdc": settled.net_usdc,
        "carried_out_usdc": settled.carried_out_usdc,
        "usd_rate": terms.usd_rate,
        "usd_rate_source": terms.usd_rate_source,
        "usd_rate_at_s": now_s,
        "requests": settled.requests,
        "input_tokens": settled.input_tokens,
        "output_tokens": settled.output_tokens,
        "is_verified": False,
        "tries": 0,
        "next_try_at_s": now_s,
        "created_at_s": now_s,
        "changed_at_s": now_s,
    }
