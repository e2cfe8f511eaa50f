"""``drawn_usdc``, the one number of a position that the ledger owns, and the sum behind it (L1)."""

from collections.abc import Mapping

from sqlalchemy import ColumnElement, Connection, bindparam, case, func, select, update

from ledger.tables import Position, Usage, table_of

_position = table_of(Position)
_usage = table_of(Usage)


def promised_usdc() -> ColumnElement[int]:
    """What a usage row draws on its position's hold: the terms of the sum in L1."""
    return case(
        (_usage.c.state == "reserved", _usage.c.ceiling_usdc),
        ((_usage.c.state == "posted") | (_usage.c.state == "settling"), _usage.c.cost_usdc),
        else_=0,
    )


def load_drawn_mismatches(connection: Connection) -> list[tuple[int, int, int]]:
    """Return (token id, ``drawn_usdc``, what its usage adds up to) wherever L1 is broken."""
    promised = (
        select(_usage.c.token_id, func.sum(promised_usdc()).label("promised_usdc"))
        .group_by(_usage.c.token_id)
        .subquery()
    )
    rows = connection.execute(
        select(
            _position.c.token_id,
            _position.c.drawn_usdc,
            func.coalesce(promised.c.promised_usdc, 0),
        )
        .outerjoin(promised, promised.c.token_id == _position.c.token_id)
        .where(_position.c.drawn_usdc != func.coalesce(promised.c.promised_usdc, 0))
    ).all()
    return [(int(token), int(drawn), int(sum_)) for token, drawn, sum_ in rows]


def change_drawn(connection: Connection, changes_usdc: Mapping[int, int]) -> None:
    """Add to the ``drawn_usdc`` of positions that the caller has locked (1e-6 USDC)."""
    if not changes_usdc:
        return
    connection.execute(
        update(_position)
        .where(_position.c.token_id == bindparam("token"))
        .values(drawn_usdc=_position.c.drawn_usdc + bindparam("change")),
        [{"token": token, "change": change} for token, change in sorted(changes_usdc.items())],
    )
