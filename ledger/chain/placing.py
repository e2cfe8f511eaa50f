"""What of a hold counts while another one is being placed.

A placement that was sent may land at any time, and land again after a reorganisation, whatever the
chain says meanwhile. A request that was served against the larger hold before would then be left
unpaid. So from the moment that a placement is written down until its intent has ended, no more of
the hold counts than the placement asks for.
"""

from collections.abc import Iterable, Mapping

from sqlalchemy import (
    BigInteger,
    ScalarSelect,
    Select,
    bindparam,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.engine import Connection

from ledger.database.locks import lock_positions
from ledger.tables import INTENT_OPEN, HoldPlacement, Intent, Position, table_of

_intent = table_of(Intent)
_placement = table_of(HoldPlacement)
_position = table_of(Position)


def least_placing_usdc() -> ScalarSelect[int]:
    """The least that an open placement asks to hold of the position bound as ``of_token``."""
    query: Select[tuple[int]] = (
        select(func.min(_placement.c.amount_usdc))
        .select_from(_placement.join(_intent, _intent.c.intent_id == _placement.c.intent_id))
        .where(
            _placement.c.token_id == bindparam("of_token", type_=BigInteger),
            text(INTENT_OPEN),
        )
    )
    return query.scalar_subquery()


def note_placements(
    connection: Connection, intent_id: str, amounts_usdc: Mapping[int, int]
) -> None:
    """Write down what an intent asks to hold, by token id (1e-6 USDC; 0 frees)."""
    if not amounts_usdc:
        return
    connection.execute(
        insert(_placement),
        [
            {"intent_id": intent_id, "token_id": token_id, "amount_usdc": amount_usdc}
            for token_id, amount_usdc in sorted(amounts_usdc.items())
        ],
    )
    _refresh(connection, amounts_usdc)


def refresh_placing(connection: Connection, intent_id: str) -> None:
    """Count the placements again that go with an intent, after its state has changed."""
    _refresh(
        connection,
        connection.execute(
            select(_placement.c.token_id).where(_placement.c.intent_id == intent_id)
        ).scalars(),
    )


def _refresh(connection: Connection, token_ids: Iterable[int]) -> None:
    tokens = sorted(token_ids)
    if not tokens:
        return
    lock_positions(connection, tokens)
    connection.execute(
        update(_position)
        .where(_position.c.token_id == bindparam("of_token"))
        .values(hold_placing_usdc=least_placing_usdc()),
        [{"of_token": token_id} for token_id in tokens],
    )
