"""What the operator does about suppliers' pay at the command line."""

import re
from typing import Final

from sqlalchemy import Connection, Engine

from contracts.units import format_usdc, utc_day
from ledger.database.clock import ask_now_s
from ledger.database.engine import read, write
from ledger.suppliers.settlement import SettlementTerms, find_oldest_open_day, settle_chunk
from ledger.suppliers.supplier_payouts import (
    find_payout,
    load_unsent,
    note_payout_sent,
    retry_failed,
)
from market.operator import ArgumentInvalid
from market.suppliers.payout_lines import PAYOUT_COLUMNS, build_payout_line
from market.suppliers.settling_days import show_day
from serving.http.tables import write_csv
from serving.process.ids import new_id

MANUAL: Final = "manual"
LISTED_MAX: Final = 10_000
_TX_HASH: Final = re.compile(r"(0x)?[0-9a-fA-F]{64}")


def settle_date(engine: Engine, terms: SettlementTerms, day: int) -> str:
    """Settle a day, and those before it that are not settled; say what was done.

    Raises ``ArgumentInvalid`` for a day that is not over, and ``LedgerUnavailable``.
    """
    now_s = ask_now_s(engine)
    if day >= utc_day(now_s):
        raise ArgumentInvalid(f"{show_day(day)} is not over yet in UTC")
    with read(engine) as connection:
        oldest = find_oldest_open_day(connection, through_day=day)
    payouts = carried = net_usdc = 0
    for one in range(day if oldest is None else oldest, day + 1):
        while True:
            with write(engine) as connection:
                chunk = settle_chunk(connection, day=one, terms=terms, now_s=now_s)
            if chunk.suppliers == 0:
                break
            payouts += chunk.payouts
            carried += chunk.carried
            net_usdc += chunk.net_usdc
    return (
        f"settled through {show_day(day)}: {payouts} suppliers' days, {carried} of them carried"
        f" over, {format_usdc(net_usdc)} to be paid"
    )


def export_manual(engine: Engine) -> bytes:
    """Return what waits to be paid by hand, as CSV. Raises ``LedgerUnavailable``."""

    def load(connection: Connection) -> list[dict[str, object]]:
        return [
            build_payout_line(
                row,
                legal_name=row["legal_name"],
                registration_number=row["registration_number"],
            )
            for row in load_unsent(connection, rail=MANUAL, limit=LISTED_MAX)
        ]

    with read(engine) as connection:
        return write_csv(load(connection), PAYOUT_COLUMNS)


def mark_sent(engine: Engine, payout_id: str, tx_hash: str) -> str:
    """Note that a payout was sent by hand, or that one that needed the operator was; say so.

    Raises ``ArgumentInvalid`` where it is none of these, and ``LedgerUnavailable``.
    """
    if _TX_HASH.fullmatch(tx_hash) is None:
        raise ArgumentInvalid(f"not a transaction's hash (64 hex digits): {tx_hash[:80]!r}")
    now_s = ask_now_s(engine)
    with write(engine) as connection:
        row = find_payout(connection, payout_id)
        by_hand = row is not None and row["rail"] == MANUAL
        before = ("pending", "needs_operator") if by_hand else ("needs_operator",)
        is_noted = row is not None and note_payout_sent(
            connection,
            payout_id,
            tx_hash=tx_hash.lower(),
            make_id=new_id,
            now_s=now_s,
            before=before,
        )
    if not is_noted:
        status = "unknown" if row is None else f"{row['status']}, by {row['rail']}"
        raise ArgumentInvalid(f"payout {payout_id!r} is {status}: it cannot be marked as sent")
    return f"payout {payout_id} was sent by {tx_hash.lower()}"


def send_again(engine: Engine, payout_id: str) -> str:
    """Let a payout be sent again that certainly was not; say so.

    Raises ``ArgumentInvalid`` for one that did not fail, and ``LedgerUnavailable``.
    """
    now_s = ask_now_s(engine)
    with write(engine) as connection:
        if not retry_failed(connection, payout_id, now_s=now_s):
            raise ArgumentInvalid(f"payout {payout_id!r} has not failed")
    return f"payout {payout_id} is sent again"
