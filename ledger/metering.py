"""The two-phase meter: reserve a ceiling, then post the cost or void it.

Every function takes the connection of an open write transaction and leaves it consistent, also
where it raises: a caller may run many of them in one transaction (``ledger.writer``).
"""

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, Table, exists, select, update
from sqlalchemy.dialects import postgresql, sqlite

from ledger.errors import (
    AllowanceFacts,
    RefusalReason,
    RequestIdConflict,
    ReserveRefused,
    UnknownUsage,
    UsageResolved,
)
from ledger.mirror import load_state_from_row
from ledger.positions import get_allowance, next_utc_day_s
from ledger.tables import Demand, Mirror, Position, Usage, table_of

_position = table_of(Position)
_usage = table_of(Usage)
_mirror = table_of(Mirror)
_demand = table_of(Demand)


@dataclass(frozen=True, slots=True)
class Reservation:
    """What is reserved before upstream is called. Amounts in 1e-6 USDC, prices per 1e6 tokens."""

    request_id: str
    token_id: int
    key_epoch: int
    key_id: str
    model: str
    ceiling_usdc: int
    input_usdc_per_mtok: int
    output_usdc_per_mtok: int


@dataclass(frozen=True, slots=True)
class AdmissionRules:
    """What else must hold for a reservation to be admitted. All in seconds."""

    hold_margin_s: int
    """The hold must outlive now by this much, so that the keeper can settle before it lapses."""
    max_staleness_s: int
    """The mirror must have been at the head within this time."""
    lease_s: int
    """How long the reservation stands without being renewed."""


@dataclass(frozen=True, slots=True)
class Posted:
    """What a post left behind, in 1e-6 USDC."""

    cost_usdc: int
    hold_left_usdc: int
    """The hold less everything drawn on it, after this post."""


def insert_or_ignore(connection: Connection, table: Table, values: dict[str, Any]) -> bool:
    """Insert one row unless its primary key is taken; tell whether it was inserted."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table).values(values).on_conflict_do_nothing()
    return connection.execute(statement).rowcount == 1


def reserve(
    connection: Connection, reservation: Reservation, rules: AdmissionRules, *, now_s: int
) -> int:
    """Reserve a ceiling against a position's hold; return what is left of the hold (1e-6 USDC).

    ``now_s`` is the wall clock. Calling it again with the same reservation is harmless. Raises
    ``ReserveRefused`` with the first reason that applies, ``RequestIdConflict`` where the request
    id stands for another request, ``UsageResolved`` where that request already ended.
    """
    row = {
        **asdict(reservation),
        "state": "reserved",
        "reserved_at_s": now_s,
        "lease_expires_at_s": now_s + rules.lease_s,
    }
    if not insert_or_ignore(connection, _usage, row):
        return _repeat_reserve(connection, reservation)
    free_usdc = _position.c.hold_usdc - _position.c.hold_unconfirmed_usdc - _position.c.drawn_usdc
    # The chain's own clock decides when a hold lapses; ours only where it is ahead.
    fresh = exists().where(
        _mirror.c.observed_at_s >= now_s - rules.max_staleness_s,
        _mirror.c.block_timestamp_s + rules.hold_margin_s < _position.c.hold_confirmed_expires_at_s,
    )
    admitted = connection.execute(
        update(_position)
        .where(
            _position.c.token_id == reservation.token_id,
            _position.c.key_epoch == reservation.key_epoch,
            _position.c.release_requested_at_s.is_(None),
            _position.c.hold_confirmed_expires_at_s > now_s + rules.hold_margin_s,
            free_usdc >= reservation.ceiling_usdc,
            fresh,
        )
        .values(drawn_usdc=_position.c.drawn_usdc + reservation.ceiling_usdc)
        .returning(
            _position.c.hold_usdc - _position.c.hold_unconfirmed_usdc - _position.c.drawn_usdc
        )
    ).scalar_one_or_none()
    if admitted is None:
        connection.execute(_usage.delete().where(_usage.c.request_id == reservation.request_id))
        raise explain_refusal(connection, reservation, rules, now_s=now_s)
    return int(admitted)


def _repeat_reserve(connection: Connection, reservation: Reservation) -> int:
    stored = _get_usage(connection, reservation.request_id)
    if any(stored[name] != value for name, value in asdict(reservation).items()):
        raise RequestIdConflict(f"request {reservation.request_id} has another content")
    if stored["state"] != "reserved":
        raise UsageResolved(reservation.request_id, stored["state"])
    return _hold_left_usdc(connection, reservation.token_id)


def explain_refusal(
    connection: Connection, reservation: Reservation, rules: AdmissionRules, *, now_s: int
) -> ReserveRefused:
    """Return why a reservation does not fit; the first reason of ``RefusalReason`` that applies.

    Only reads.
    """
    row = (
        connection.execute(select(_position).where(_position.c.token_id == reservation.token_id))
        .mappings()
        .one_or_none()
    )
    if row is None:
        return ReserveRefused(RefusalReason.POSITION_NOT_FOUND)
    mirror = connection.execute(select(_mirror)).mappings().one_or_none()
    chain_now_s = max(now_s, 0 if mirror is None else mirror["block_timestamp_s"])
    facts = build_facts(row, required_usdc=reservation.ceiling_usdc, now_s=chain_now_s)
    reason = _decide_reason(row, reservation, now_s=chain_now_s)
    stale = mirror is None or mirror["observed_at_s"] < now_s - rules.max_staleness_s
    if reason is RefusalReason.HOLD_PENDING and stale:
        reason = RefusalReason.CHAIN_STATE_STALE
    return ReserveRefused(reason, facts)


def _decide_reason(row: RowMapping, reservation: Reservation, *, now_s: int) -> RefusalReason:
    if row["key_epoch"] != reservation.key_epoch:
        return RefusalReason.KEY_REVOKED
    if row["credited_usdc"] == 0:
        return RefusalReason.NEVER_HARVESTED
    allowance = get_allowance(load_state_from_row(row), now_s=now_s)
    required_usdc = row["drawn_usdc"] + reservation.ceiling_usdc
    if required_usdc > allowance.unspent_usdc:
        return RefusalReason.ALLOWANCE_SPENT
    if required_usdc > allowance.day_cap_usdc - allowance.day_spent_usdc:
        # Tomorrow's cap would admit it: the unspent credit is there.
        return RefusalReason.DAILY_CAP_REACHED
    return RefusalReason.HOLD_PENDING


def build_facts(row: RowMapping, *, required_usdc: int, now_s: int) -> AllowanceFacts:
    """Return the numbers that a refusal or a status shows, from a position's row."""
    allowance = get_allowance(load_state_from_row(row), now_s=now_s)
    today_usdc = min(allowance.unspent_usdc, allowance.day_cap_usdc - allowance.day_spent_usdc)
    return AllowanceFacts(
        required_usdc=required_usdc,
        available_usdc=max(0, today_usdc - row["drawn_usdc"]),
        held_usdc=max(0, allowance.held_usdc - row["hold_unconfirmed_usdc"]),
        drawn_usdc=row["drawn_usdc"],
        resets_at_s=next_utc_day_s(now_s),
        next_harvest_at_s=row["last_harvest_at_s"] + row["harvest_interval_s"],
    )


def note_demand(connection: Connection, *, token_id: int, required_usdc: int, now_s: int) -> None:
    """Tell the keeper that a position wants a hold of at least ``required_usdc`` (1e-6 USDC)."""
    values = {"token_id": token_id, "required_usdc": required_usdc, "wanted_at_s": now_s}
    if insert_or_ignore(connection, _demand, values):
        return
    connection.execute(
        update(_demand)
        .where(_demand.c.token_id == token_id, _demand.c.required_usdc < required_usdc)
        .values(required_usdc=required_usdc)
    )
    connection.execute(
        update(_demand).where(_demand.c.token_id == token_id).values(wanted_at_s=now_s)
    )


def post(
    connection: Connection,
    request_id: str,
    *,
    cost_usdc: int,
    prompt_tokens: int,
    completion_tokens: int,
    now_s: int,
) -> Posted:
    """Turn a reservation into a charge of ``cost_usdc`` (1e-6 USDC), freeing the rest of it.

    The same post again is harmless. Raises ``UnknownUsage``, ``UsageResolved`` where the
    reservation was voided or posted otherwise, ``ValueError`` for a cost above the ceiling.
    """
    usage = _get_usage(connection, request_id)
    figures = {
        "cost_usdc": cost_usdc,
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
    }
    if usage["state"] in ("posted", "settling", "settled"):
        if any(usage[name] != value for name, value in figures.items()):
            raise UsageResolved(request_id, usage["state"])
        return Posted(cost_usdc, _hold_left_usdc(connection, usage["token_id"]))
    if not 0 <= cost_usdc <= usage["ceiling_usdc"]:
        raise ValueError(f"cost {cost_usdc} is above the ceiling {usage['ceiling_usdc']}")
    _resolve(connection, request_id, {"state": "posted", "resolved_at_s": now_s, **figures})
    left_usdc = _draw_less(connection, usage["token_id"], usage["ceiling_usdc"] - cost_usdc)
    return Posted(cost_usdc, left_usdc)


def void(connection: Connection, request_id: str, *, reason: str, now_s: int) -> None:
    """Give a whole reservation back. Again is harmless.

    Raises ``UnknownUsage``, and ``UsageResolved`` where the usage was posted.
    """
    usage = _get_usage(connection, request_id)
    if usage["state"] == "voided":
        return
    changes = {"state": "voided", "resolved_at_s": now_s, "void_reason": reason}
    _resolve(connection, request_id, changes)
    _draw_less(connection, usage["token_id"], usage["ceiling_usdc"])


def renew(connection: Connection, request_id: str, *, lease_expires_at_s: int) -> None:
    """Extend a live reservation's lease. Raises ``UsageResolved`` where it is no longer live."""
    changed = connection.execute(
        update(_usage)
        .where(_usage.c.request_id == request_id, _usage.c.state == "reserved")
        .values(lease_expires_at_s=lease_expires_at_s)
    ).rowcount
    if changed == 0:
        raise UsageResolved(request_id, _get_usage(connection, request_id)["state"])


def sweep_leases(connection: Connection, *, now_s: int, limit: int = 1_000) -> int:
    """Void at most ``limit`` reservations whose lease ran out; return how many.

    Their process is dead: a live one renews its lease or resolves within it.
    """
    expired = connection.execute(
        select(_usage.c.request_id)
        .where(_usage.c.state == "reserved", _usage.c.lease_expires_at_s <= now_s)
        .limit(limit)
    ).scalars()
    request_ids = list(expired)
    for request_id in request_ids:
        void(connection, request_id, reason="lease_expired", now_s=now_s)
    return len(request_ids)


def _resolve(connection: Connection, request_id: str, changes: dict[str, Any]) -> None:
    # The state in the WHERE clause makes the transition happen once, whoever races.
    changed = connection.execute(
        update(_usage)
        .where(_usage.c.request_id == request_id, _usage.c.state == "reserved")
        .values(changes)
    ).rowcount
    if changed == 0:
        raise UsageResolved(request_id, _get_usage(connection, request_id)["state"])


def _draw_less(connection: Connection, token_id: int, amount_usdc: int) -> int:
    """Lower ``drawn_usdc``; return what is then left of the confirmed hold.

    A position whose mint a reorg took away has no row; the one that may come back starts from what
    its usage adds up to.
    """
    left_usdc = connection.execute(
        update(_position)
        .where(_position.c.token_id == token_id)
        .values(drawn_usdc=_position.c.drawn_usdc - amount_usdc)
        .returning(
            _position.c.hold_usdc - _position.c.hold_unconfirmed_usdc - _position.c.drawn_usdc
        )
    ).scalar_one_or_none()
    return 0 if left_usdc is None else max(0, int(left_usdc))


def _hold_left_usdc(connection: Connection, token_id: int) -> int:
    return _draw_less(connection, token_id, 0)


def _get_usage(connection: Connection, request_id: str) -> RowMapping:
    row = (
        connection.execute(select(_usage).where(_usage.c.request_id == request_id))
        .mappings()
        .one_or_none()
    )
    if row is None:
        raise UnknownUsage(f"no request {request_id}")
    return row
