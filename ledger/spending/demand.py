"""What positions ask the keeper for: a hold of at least so much."""

from sqlalchemy import Connection, case, delete, update
from sqlalchemy.dialects import postgresql, sqlite

from ledger.database.engine import is_postgres
from ledger.tables import Demand, table_of

_demand = table_of(Demand)


def answer_demand(connection: Connection, *, token_id: int, required_usdc: int) -> None:
    """Lower a demand to nothing required, unless it grew since the keeper read ``required_usdc``.

    Belongs in the transaction that plans the hold: what is still missing is asked for again.
    """
    connection.execute(
        update(_demand)
        .where(_demand.c.token_id == token_id, _demand.c.required_usdc == required_usdc)
        .values(required_usdc=0)
    )


def drop_demand(connection: Connection, *, wanted_before_s: int) -> int:
    """Delete demands that were not repeated since ``wanted_before_s``; return how many."""
    return connection.execute(
        delete(_demand).where(_demand.c.wanted_at_s < wanted_before_s)
    ).rowcount


def note_demand(connection: Connection, *, token_id: int, required_usdc: int, now_s: int) -> None:
    """Tell the keeper that a position wants a hold of at least ``required_usdc`` (1e-6 USDC)."""
    dialect = postgresql if is_postgres(connection) else sqlite
    statement = dialect.insert(_demand).values(
        token_id=token_id, required_usdc=required_usdc, wanted_at_s=now_s
    )
    # In one statement, so that a demand that is dropped meanwhile is noted again.
    larger_usdc = case(
        (_demand.c.required_usdc < required_usdc, required_usdc), else_=_demand.c.required_usdc
    )
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[_demand.c.token_id],
            set_={"required_usdc": larger_usdc, "wanted_at_s": now_s},
        )
    )
