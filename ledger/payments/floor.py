"""The least that a payment must move to be worth sending: the keeper says it, markets ask it."""

from dataclasses import dataclass

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from ledger.database.engine import is_postgres
from ledger.tables import PaymentFloor, table_of

_floor = table_of(PaymentFloor)
_ONLY_ID = 1


@dataclass(frozen=True, slots=True)
class FloorRecord:
    """The least that a payment must move, in 1e-6 USDC; 0 where any is sent.

    ``before_usdc`` is the one before: payers may just have been asked for it.
    """

    floor_usdc: int = 0
    before_usdc: int = 0


def load_floor(connection: Connection) -> FloorRecord:
    """Return the floor as the keeper said it last; 0 where it never did."""
    columns = _floor.c.floor_usdc, _floor.c.before_usdc
    row = connection.execute(select(*columns).where(_floor.c.floor_id == _ONLY_ID)).one_or_none()
    return FloorRecord() if row is None else FloorRecord(*row)


def save_floor(connection: Connection, floor_usdc: int, *, now_s: int) -> None:
    """Put a floor in the place of another one, which becomes the one before."""
    before = load_floor(connection)
    if before.floor_usdc == floor_usdc:
        return
    dialect = postgresql if is_postgres(connection) else sqlite
    insert = dialect.insert(_floor).values(
        floor_id=_ONLY_ID,
        floor_usdc=floor_usdc,
        before_usdc=before.floor_usdc,
        changed_at_s=now_s,
    )
    changed = {
        name: insert.excluded[name] for name in ("floor_usdc", "before_usdc", "changed_at_s")
    }
    connection.execute(
        insert.on_conflict_do_update(index_elements=[_floor.c.floor_id], set_=changed)
    )
