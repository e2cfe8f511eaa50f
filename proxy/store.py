"""What the proxy only reads from the ledger. Each function takes a read snapshot."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from sqlalchemy import Connection, RowMapping, exists, select

from ledger.chain.event_rows import load_last_events
from ledger.chain.mirror import MirrorState, load_mirror
from ledger.chain.position_rows import load_state_from_row
from ledger.chain.positions import PositionState, get_allowance
from ledger.errors import AllowanceFacts
from ledger.spending.admission import build_facts, get_chain_now_s
from ledger.spending.batch_receipts import load_batch_receipts
from ledger.spending.keys import load_child
from ledger.spending.receipt_building import build_settlement, build_view
from ledger.tables import Batch, Position, Usage, table_of
from proxy.errors import format_time
from proxy.keys.tokens import KeyClaims

_batch = table_of(Batch)
_position = table_of(Position)
_usage = table_of(Usage)


@dataclass(frozen=True, slots=True)
class KeyStanding:
    """Whether a key may be used: its position's epoch, owner and the mirror they are from."""

    key_epoch: int
    owner: str
    mirror: MirrorState | None


def load_standing(connection: Connection, token_id: int) -> KeyStanding | None:
    """Return a position's standing, or None where the mirror has no such position."""
    row = connection.execute(
        select(_position.c.key_epoch, _position.c.owner).where(_position.c.token_id == token_id)
    ).one_or_none()
    return None if row is None else KeyStanding(int(row[0]), str(row[1]), load_mirror(connection))


def has_paid(connection: Connection, token_id: int) -> bool:
    """Tell whether a position was ever charged: on the chain, or by usage that is not voided."""
    is_charged = (
        (_usage.c.token_id == token_id)
        & _usage.c.state.in_(["posted", "settling", "settled"])
        & (_usage.c.cost_usdc > 0)
    )
    has_spent = (_position.c.token_id == token_id) & (_position.c.spent_usdc > 0)
    query = select(exists().where(has_spent) | exists().where(is_charged))
    return bool(connection.execute(query).scalar_one())


def load_revoked_at_s(connection: Connection, token_id: int) -> int:
    """Return the time of the block that last revoked a position's keys, Unix seconds; 0 = none."""
    bumps = load_last_events(connection, token_id=token_id, names=["KeyEpochBumped"], limit=1)
    return bumps[0].block_timestamp_s if bumps else 0


def load_key_epochs(connection: Connection, token_ids: Iterable[int]) -> dict[int, int]:
    """Return the key epochs of those positions that the mirror has."""
    rows = connection.execute(
        select(_position.c.token_id, _position.c.key_epoch).where(
            _position.c.token_id.in_(sorted(token_ids))
        )
    )
    return {int(token_id): int(key_epoch) for token_id, key_epoch in rows}


OWNED_MAX: Final = 1_000
"""How many positions of a wallet are listed."""


def load_owned(connection: Connection, owner: str) -> list[dict[str, int]]:
    """Return a wallet's positions, by number. Amounts in 1e-6 USDC; ``owner`` in lower case."""
    unspent = _position.c.credited_usdc - _position.c.spent_usdc - _position.c.withdrawn_usdc
    rows = connection.execute(
        select(_position.c.token_id, _position.c.principal_usdc, unspent.label("unspent_usdc"))
        .where(_position.c.owner == owner)
        .order_by(_position.c.token_id)
        .limit(OWNED_MAX)
    ).mappings()
    return [dict(row) for row in rows]


def load_models(connection: Connection, key: KeyClaims) -> list[str] | None:
    """Return the models that a child key may use; None = any."""
    child = load_child(connection, key.key_id, token_id=key.token_id)
    if child is None or child["models"] is None:
        return None
    models: list[str] = orjson.loads(child["models"])
    return models


@dataclass(frozen=True, slots=True)
class PositionReading:
    """A position as the ledger has it."""

    view: dict[str, Any]
    """The public view, amounts in 1e-6 USDC; ``harvest`` is still without the next one."""
    facts: AllowanceFacts


def load_position(connection: Connection, token_id: int, *, now_s: int) -> PositionReading | None:
    """Return what is public of a position, or None. ``now_s``: this host's clock."""
    row = _load_position(connection, token_id)
    if row is None:
        return None
    state = load_state_from_row(row)
    mirror = load_mirror(connection)
    chain_now_s = get_chain_now_s(now_s, None if mirror is None else mirror.block_timestamp_s)
    facts = build_facts(row, required_usdc=0, now_s=chain_now_s)
    view = {
        "token_id": state.token_id,
        "owner": state.owner,
        "key_epoch": state.key_epoch,
        "model_tier": state.model_tier,
        "daily_smoothing_bps": state.daily_smoothing_bps,
        "vault": state.vault,
        "principal_usdc": state.principal_usdc,
        "allowance": _describe_allowance(state, facts),
        "harvest": {
            "interval_s": state.harvest_interval_s,
            "last_at": format_time(state.last_harvest_at_s) if state.last_harvest_at_s else None,
        },
        "mirror": None if mirror is None else _describe_mirror(mirror, now_s=now_s),
    }
    return PositionReading(view, facts)


def _describe_allowance(state: PositionState, facts: AllowanceFacts) -> dict[str, Any]:
    allowance = get_allowance(state, now_s=facts.as_of_s)
    return {
        "credited_usdc": state.credited_usdc,
        "spent_usdc": state.spent_usdc,
        "withdrawn_usdc": state.withdrawn_usdc,
        "unspent_usdc": allowance.unspent_usdc,
        "held_usdc": facts.held_usdc,
        "in_flight_usdc": facts.drawn_usdc,
        "remaining_today_usdc": facts.available_usdc,
        "day_cap_usdc": allowance.day_cap_usdc,
        "day_spent_usdc": allowance.day_spent_usdc,
        "resets_at": format_time(facts.resets_at_s),
    }


def _describe_mirror(mirror: MirrorState, *, now_s: int) -> dict[str, Any]:
    return {
        "block_number": mirror.block_number,
        "block_hash": mirror.block_hash,
        "lag_blocks": max(0, mirror.head_number - mirror.block_number),
        "age_s": mirror.age_s(now_s=now_s),
    }


def load_receipt_view(
    connection: Connection, request_id: str, *, token_id: int, key_id: str | None
) -> dict[str, Any] | None:
    """Return a request's receipt, with its proof once it is in a batch.

    None where the request is unknown or another position's, or another key's where one is given:
    these look the same to a caller.
    """
    usage = (
        connection.execute(
            select(_usage).where(_usage.c.request_id == request_id, _usage.c.token_id == token_id)
        )
        .mappings()
        .one_or_none()
    )
    if usage is None or key_id not in (None, usage["key_id"]):
        return None
    return build_view(usage, _load_settlement(connection, usage))


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """Which requests to list: one position's, newest first, reserved within [from_s, to_s)."""

    token_id: int
    from_s: int
    to_s: int
    before: tuple[int, str] | None
    """Continue after this (reserved_at_s, request_id)."""
    limit: int
    key_id: str | None = None
    """Only requests of this key: a child key sees no others."""


def load_usage(connection: Connection, query: UsageQuery) -> list[dict[str, Any]]:
    """Return a page of requests. Amounts in 1e-6 USDC."""
    statement = select(*(_usage.c[name] for name in USAGE_FIELDS)).where(
        _usage.c.token_id == query.token_id,
        _usage.c.reserved_at_s >= query.from_s,
        _usage.c.reserved_at_s < query.to_s,
    )
    if query.key_id is not None:
        statement = statement.where(_usage.c.key_id == query.key_id)
    if query.before is not None:
        at_s, request_id = query.before
        statement = statement.where(
            (_usage.c.reserved_at_s < at_s)
            | ((_usage.c.reserved_at_s == at_s) & (_usage.c.request_id < request_id))
        )
    ordered = statement.order_by(_usage.c.reserved_at_s.desc(), _usage.c.request_id.desc())
    rows = connection.execute(ordered.limit(query.limit)).mappings()
    return [dict(row) for row in rows]


USAGE_FIELDS: Final = (
    "request_id",
    "reserved_at_s",
    "state",
    "key_id",
    "model",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "input_usdc_per_mtok",
    "output_usdc_per_mtok",
    "ceiling_usdc",
    "cost_usdc",
    "batch_id",
)
"""What a list of requests says of each."""


def _load_settlement(connection: Connection, usage: RowMapping) -> Mapping[str, Any] | None:
    """Return the batch that charges a request and the proof that the request is in it."""
    if usage["batch_id"] is None:
        return None
    batch = (
        connection.execute(select(_batch).where(_batch.c.batch_id == usage["batch_id"]))
        .mappings()
        .one()
    )
    receipts = load_batch_receipts(connection, usage["batch_id"])
    return build_settlement(usage["request_id"], batch, receipts, state=batch["state"])


def _load_position(connection: Connection, token_id: int) -> RowMapping | None:
    return (
        connection.execute(select(_position).where(_position.c.token_id == token_id))
        .mappings()
        .one_or_none()
    )
