"""The part of a hold that counts while a smaller hold is being placed.

A placement that was sent may land at any time, and land again after a reorganisation, whatever the
chain says meanwhile. A request that was served against the larger hold before would then be left
unpaid. So from the moment that a placement is written down until its intent has ended, no more of
the hold counts than the placement asks for.

Only a reduction is counted so: a placement of less than is held, or than another one on its way
asks for. A sender's placements land in their order, so that one which asks for no less than those
before it takes nothing back, however often it lands.
"""

from collections.abc import Iterable, Mapping, Sequence

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
    """The least that an open reduction asks to hold of the position bound as ``of_token``."""
    query: Select[tuple[int]] = (
        select(func.min(_placement.c.amount_usdc))
        .select_from(_placement.join(_intent, _intent.c.intent_id == _placement.c.intent_id))
        .where(
            _placement.c.token_id == bindparam("of_token", type_=BigInteger),
            _placement.c.is_reduction,
            text(INTENT_OPEN),
        )
    )
    return query.scalar_subquery()


def note_placements(
    connection: Connection, intent_id: str, amounts_usdc: Mapping[int, int], *, now_s: int
) -> None:
    """Write down what an intent asks to hold, by token id (1e-6 USDC; 0 frees).

    ``now_s`` tells which holds live still.
    """
    tokens = sorted(amounts_usdc)
    if not tokens:
        return
    lock_positions(connection, tokens)
    held_usdc = _load_held(connection, tokens, now_s=now_s)
    connection.execute(
        insert(_placement),
        [
            {
                "intent_id": intent_id,
                "token_id": token_id,
                "amount_usdc": amounts_usdc[token_id],
                "is_reduction": amounts_usdc[token_id] < held_usdc.get(token_id, 0),
            }
            for token_id in tokens
        ],
    )
    _refresh(connection, tokens)


def find_misplaced(connection: Connection) -> list[tuple[int, int | None, int | None]]:
    """Return the positions whose ``hold_placing_usdc`` differs from their open reductions.

    Each as token id, the column's value, the least amount of the open reductions.
    """
    least_usdc = (
        select(_placement.c.token_id, func.min(_placement.c.amount_usdc).label("least_usdc"))
        .select_from(_placement.join(_intent, _intent.c.intent_id == _placement.c.intent_id))
        .where(_placement.c.is_reduction, text(INTENT_OPEN))
        .group_by(_placement.c.token_id)
        .subquery()
    )
    placing_usdc = _position.c.hold_placing_usdc
    rows = connection.execute(
        select(_position.c.token_id, placing_usdc, least_usdc.c.least_usdc)
        .select_from(_position.outerjoin(least_usdc, least_usdc.c.token_id == _position.c.token_id))
        .where(placing_usdc.is_distinct_from(least_usdc.c.least_usdc))
        .order_by(_position.c.token_id)
    ).all()
    return [(token_id, stored, least) for token_id, stored, least in rows]


def _load_held(connection: Connection, tokens: Sequence[int], *, now_s: int) -> dict[int, int]:
    """Return the most that a chain which is still possible may hold of each position."""
    live = connection.execute(
        select(_position.c.token_id, _position.c.hold_usdc).where(
            _position.c.token_id.in_(tokens), _position.c.hold_expires_at_s > now_s
        )
    ).all()
    on_their_way = connection.execute(
        select(_placement.c.token_id, _placement.c.amount_usdc)
        .select_from(_placement.join(_intent, _intent.c.intent_id == _placement.c.intent_id))
        .where(_placement.c.token_id.in_(tokens), text(INTENT_OPEN))
    ).all()
    held_usdc: dict[int, int] = {}
    for token_id, amount_usdc in (*live, *on_their_way):
        held_usdc[token_id] = max(amount_usdc, held_usdc.get(token_id, 0))
    return held_usdc


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
