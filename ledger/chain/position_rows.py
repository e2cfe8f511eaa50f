"""The chain's columns of positions, read and written."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, delete, func, insert, select, update

from ledger.chain.drawn import promised_usdc
from ledger.chain.placing import least_placing_usdc
from ledger.chain.positions import STATE_FIELDS, PositionState, build_state
from ledger.database.locks import lock_positions
from ledger.database.statements import LOOKUP_SIZE, chunks
from ledger.tables import Event, Position, Usage, table_of

_event = table_of(Event)
_position = table_of(Position)
_usage = table_of(Usage)


def load_states(connection: Connection, token_ids: Iterable[int]) -> dict[int, PositionState]:
    """Return the chain's numbers for those of ``token_ids`` that exist."""
    states: dict[int, PositionState] = {}
    for chunk in chunks(sorted(set(token_ids)), LOOKUP_SIZE):
        rows = connection.execute(
            select(_position).where(_position.c.token_id.in_(chunk))
        ).mappings()
        states.update((row["token_id"], load_state_from_row(row)) for row in rows)
    return states


def load_states_after(connection: Connection, *, token_id: int, count: int) -> list[PositionState]:
    """Return the ``count`` positions that come after ``token_id``, by their ids."""
    rows = connection.execute(
        select(_position)
        .where(_position.c.token_id > token_id)
        .order_by(_position.c.token_id)
        .limit(count)
    ).mappings()
    return [load_state_from_row(row) for row in rows]


def load_unfolded_tokens(connection: Connection) -> list[int]:
    """Return the positions that have events and no row."""
    minted = select(_event.c.token_id).where(_event.c.name == "PositionMinted")
    rows = connection.execute(minted.where(_event.c.token_id.not_in(select(_position.c.token_id))))
    return [int(token_id) for token_id in rows.scalars()]


def load_state_from_row(row: RowMapping) -> PositionState:
    """Build the chain's numbers from a ``position`` row."""
    return build_state(row)


def save_states(
    connection: Connection, states: Iterable[PositionState], *, confirmed: bool = False
) -> None:
    """Write the chain's columns of positions; ``drawn_usdc`` is left alone.

    With ``confirmed`` their holds count at once, without ``confirm_holds``. A row that is new gets
    the ``drawn_usdc`` that its usage adds up to (L1), and the placements that are on their way:
    rows are rebuilt while usage and intents stand.
    """
    rows = [{name: getattr(state, name) for name in STATE_FIELDS} for state in states]
    lock_positions(connection, [row["token_id"] for row in rows])
    if confirmed:
        for row in rows:
            row |= {
                "hold_unconfirmed_usdc": 0,
                "hold_confirmed_expires_at_s": row["hold_expires_at_s"],
            }
    known: set[int] = set()
    for chunk in chunks([row["token_id"] for row in rows], LOOKUP_SIZE):
        known.update(
            connection.execute(
                select(_position.c.token_id).where(_position.c.token_id.in_(chunk))
            ).scalars()
        )
    changed = [{"of_token": row["token_id"], **row} for row in rows if row["token_id"] in known]
    minted = [{"of_token": row["token_id"], **row} for row in rows if row["token_id"] not in known]
    values: dict[str, Any] = {name: bindparam(name) for row in rows[:1] for name in row}
    if changed:
        of_token = _position.c.token_id == bindparam("of_token")
        connection.execute(update(_position).where(of_token).values(values), changed)
    if minted:
        drawn_usdc = select(func.coalesce(func.sum(promised_usdc()), 0)).where(
            _usage.c.token_id == bindparam("of_token")
        )
        values["drawn_usdc"] = drawn_usdc.scalar_subquery()
        values["hold_placing_usdc"] = least_placing_usdc()
        connection.execute(insert(_position).values(values), minted)


def delete_position(connection: Connection, token_id: int) -> None:
    """Delete a position whose mint is not, or not yet again, on the chain."""
    connection.execute(delete(_position).where(_position.c.token_id == token_id))
