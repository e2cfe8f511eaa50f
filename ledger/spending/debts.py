"""Usage that was served and that no credit pays any more, and giving it up.

A live hold keeps the owner from withdrawing what is drawn on it. Usage outlives its hold only where
the keeper was away for longer than the hold lived, or a reorg took the credit or the position away.
"""

from collections import defaultdict
from dataclasses import dataclass

from sqlalchemy import Connection, func, select, update

from ledger.chain.drawn import change_drawn
from ledger.chain.position_rows import load_states
from ledger.chain.positions import PositionState, get_allowance
from ledger.database.locks import lock_positions
from ledger.tables import Usage, table_of

_usage = table_of(Usage)

CHUNK = 500


@dataclass(frozen=True, slots=True)
class PostedUsage:
    """A position's usage that waits for a settlement (1e-6 USDC), and since when the oldest does
    (Unix seconds)."""

    amount_usdc: int
    since_s: int


@dataclass(frozen=True, slots=True)
class Debt:
    """A position's posted usage, and how much of it its credit still pays (1e-6 USDC)."""

    token_id: int
    posted_usdc: int
    payable_usdc: int

    @property
    def debt_usdc(self) -> int:
        return max(0, self.posted_usdc - self.payable_usdc)


@dataclass(frozen=True, slots=True)
class WrittenOff:
    """The usage of a position that the operator has written off (1e-6 USDC)."""

    token_id: int
    requests: int
    amount_usdc: int


def get_payable_usdc(
    state: PositionState | None, *, settling_usdc: int, current_usdc: int, now_s: int
) -> int:
    """Return how much of a position's posted usage its credit can still pay (1e-6 USDC).

    ``current_usdc`` is what is drawn under the current key epoch: without a live hold only that
    usage may open a new hold, which then pays for older usage too. Settling usage is paid first.
    """
    if state is None:
        return 0
    held_usdc = get_allowance(state, now_s=now_s).held_usdc
    if held_usdc == 0 and current_usdc == 0:
        return 0
    return max(0, state.unspent_usdc - settling_usdc)


def load_posted(connection: Connection) -> dict[int, PostedUsage]:
    """Return what waits for a settlement, by position. What cost nothing waits for none."""
    rows = connection.execute(
        select(_usage.c.token_id, func.sum(_usage.c.cost_usdc), func.min(_usage.c.resolved_at_s))
        .where(_usage.c.state == "posted", _usage.c.cost_usdc > 0)
        .group_by(_usage.c.token_id)
    )
    return {
        int(token_id): PostedUsage(int(amount_usdc), int(since_s))
        for token_id, amount_usdc, since_s in rows
    }


def load_debts(connection: Connection, *, now_s: int, token_id: int | None = None) -> list[Debt]:
    """Return every position, or the one asked for, whose posted usage its credit cannot pay."""
    totals = select(
        _usage.c.token_id, _usage.c.key_epoch, _usage.c.state, func.sum(_usage.c.cost_usdc)
    ).where(_usage.c.state.in_(("posted", "settling")))
    if token_id is not None:
        totals = totals.where(_usage.c.token_id == token_id)
    amounts: dict[int, dict[tuple[int, str], int]] = defaultdict(dict)
    rows = connection.execute(
        totals.group_by(_usage.c.token_id, _usage.c.key_epoch, _usage.c.state)
    ).all()
    for token, epoch, usage_state, amount_usdc in rows:
        amounts[int(token)][int(epoch), str(usage_state)] = int(amount_usdc)
    states = load_states(connection, amounts)
    debts = [
        _build_debt(token, states.get(token), by_part, now_s=now_s)
        for token, by_part in sorted(amounts.items())
    ]
    return [debt for debt in debts if debt.debt_usdc > 0]


def _build_debt(
    token_id: int,
    state: PositionState | None,
    amounts_usdc: dict[tuple[int, str], int],
    *,
    now_s: int,
) -> Debt:
    current_usdc = sum(
        amount
        for (epoch, _), amount in amounts_usdc.items()
        if state is not None and epoch == state.key_epoch
    )
    settling_usdc = sum(a for (_, part), a in amounts_usdc.items() if part == "settling")
    payable_usdc = get_payable_usdc(
        state, settling_usdc=settling_usdc, current_usdc=current_usdc, now_s=now_s
    )
    posted_usdc = sum(a for (_, part), a in amounts_usdc.items() if part == "posted")
    return Debt(token_id, posted_usdc, payable_usdc)


def write_off(connection: Connection, *, token_id: int, now_s: int) -> WrittenOff:
    """Give up a position's posted usage that no credit pays; what is payable stays, oldest first.

    One transaction: the usage becomes ``written_off`` for good and no longer counts as drawn. Again
    gives up nothing more. Nothing is charged and nothing refunded: the operator bears it.
    """
    lock_positions(connection, [token_id])
    debts = load_debts(connection, now_s=now_s, token_id=token_id)
    if not debts:
        return WrittenOff(token_id, 0, 0)
    (debt,) = debts
    rows = connection.execute(
        select(_usage.c.request_id, _usage.c.cost_usdc)
        .where(_usage.c.state == "posted", _usage.c.token_id == token_id)
        .order_by(_usage.c.resolved_at_s, _usage.c.request_id)
        # A batch that is being planned has it.
        .with_for_update(skip_locked=True)
    ).all()
    left_usdc = debt.payable_usdc
    given_up: list[str] = []
    amount_usdc = 0
    for request_id, cost_usdc in rows:
        if cost_usdc <= left_usdc:
            left_usdc -= cost_usdc
            continue
        given_up.append(str(request_id))
        amount_usdc += int(cost_usdc)
    for start in range(0, len(given_up), CHUNK):
        connection.execute(
            update(_usage)
            .where(
                _usage.c.request_id.in_(given_up[start : start + CHUNK]),
                _usage.c.state == "posted",
            )
            .values(state="written_off")
        )
    change_drawn(connection, {token_id: -amount_usdc})
    return WrittenOff(token_id, len(given_up), amount_usdc)


def load_written_off(connection: Connection) -> list[WrittenOff]:
    """Return what was given up, by position."""
    rows = connection.execute(
        select(_usage.c.token_id, func.count(), func.sum(_usage.c.cost_usdc))
        .where(_usage.c.state == "written_off")
        .group_by(_usage.c.token_id)
        .order_by(_usage.c.token_id)
    ).all()
    return [WrittenOff(int(token), int(count), int(usdc)) for token, count, usdc in rows]
