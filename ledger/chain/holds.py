"""Holds that rose in blocks which are not confirmed yet, and what of a hold counts meanwhile."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, delete, func, insert, select, update

from ledger.tables import HoldRaise, Position, table_of

_hold_raise = table_of(HoldRaise)
_position = table_of(Position)


@dataclass(frozen=True, slots=True)
class HoldRaised:
    """An unconfirmed event that raised or prolonged a hold. Amount in 1e-6 USDC."""

    token_id: int
    block_number: int
    log_index: int
    raised_usdc: int
    expires_before_s: int


def save_hold_raises(connection: Connection, raises: Sequence[HoldRaised]) -> None:
    """Note holds that rose in blocks that are not confirmed yet."""
    if raises:
        connection.execute(insert(_hold_raise), [asdict(raised) for raised in raises])


def confirm_holds(
    connection: Connection, *, confirmed_block: int, changed_tokens: Iterable[int]
) -> None:
    """Count holds raised up to ``confirmed_block`` as spendable; the younger ones not yet.

    A hold counts for its amount less every unconfirmed raise, until the earliest expiry that an
    unconfirmed event replaced: whatever a reorg takes back, that much was there before.
    """
    matured = _hold_raise.c.block_number <= confirmed_block
    tokens = set(connection.execute(select(_hold_raise.c.token_id).where(matured)).scalars())
    if tokens:
        connection.execute(delete(_hold_raise).where(matured))
    for token_id in tokens | set(changed_tokens):
        raised_usdc, expires_s = connection.execute(
            select(
                func.coalesce(func.sum(_hold_raise.c.raised_usdc), 0),
                func.min(_hold_raise.c.expires_before_s),
            ).where(_hold_raise.c.token_id == token_id)
        ).one()
        expiry = _position.c.hold_expires_at_s
        if expires_s is not None:
            hold_expires_s = connection.execute(
                select(expiry).where(_position.c.token_id == token_id)
            ).scalar_one_or_none()
            confirmed_s = min(int(expires_s), hold_expires_s or 0)
        connection.execute(
            update(_position)
            .where(_position.c.token_id == token_id)
            .values(
                hold_unconfirmed_usdc=int(raised_usdc),
                hold_confirmed_expires_at_s=expiry if expires_s is None else confirmed_s,
            )
        )
