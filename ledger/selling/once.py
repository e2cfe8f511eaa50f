"""Requests to the market that are charged once for their idempotency key.

A request has a sale for each seller that was tried; between two of them its key is free, and
another process may take it. Then the first process's next reservation is refused
(``RequestRepeated``), and it waits for the other one's answer.
"""

from typing import Final

from sqlalchemy import Connection

from ledger.kept_answers import (
    NamedRequest,
    Work,
    drop_oldest_of,
    drop_request,
    find_work_in,
    keep_answer,
    take_key,
)
from ledger.tables import MarketSale, table_of

_sale = table_of(MarketSale)

FREE: Final = "free"
"""The owners of answers that cost nothing: a group of their own, with bounds of its own."""

find_sold: Final = find_work_in(_sale)
"""Returns what has become of a request to the market; None where all its sales were given back."""


def take_request(
    connection: Connection,
    claim: NamedRequest,
    *,
    request_id: str,
    account_id: str,
    now_s: int,
    group: str = "account",
) -> None:
    """Let a key stand for a buyer's request, in the transaction that reserves a sale for it.

    Raises ``RequestRepeated`` where it stands for another one; then the sale must be taken back.
    """
    take_key(
        connection,
        claim,
        request_id=request_id,
        owner=f"{group} {account_id}",
        find_work=find_sold,
        now_s=now_s,
    )


def keep_free_answer(
    connection: Connection,
    claim: NamedRequest,
    *,
    request_id: str,
    account_id: str,
    sealed: bytes,
    bytes_max: int,
    total_bytes_max: int,
    now_s: int,
) -> None:
    """Keep the answer of a request that cost nothing here, and so has no sale.

    ``bytes_max`` bounds what is kept of this account's, ``total_bytes_max`` of everybody's: the
    oldest go first. What is not kept leaves no row: the request is served again, at no charge.
    Raises ``RequestRepeated`` where the key stands for another request.
    """
    take_request(
        connection,
        claim,
        request_id=request_id,
        account_id=account_id,
        now_s=now_s,
        group=FREE,
    )
    free = Work(is_running=False, charged_at_s=now_s, cost_usdc=0)
    keep_answer(
        connection,
        claim,
        request_id,
        sealed,
        find_work=lambda *_: free,
        bytes_max=bytes_max,
        now_s=now_s,
    )
    drop_request(connection, claim, request_id)
    drop_oldest_of(connection, FREE, bytes_max=total_bytes_max)
