"""The ledger's rows that a snapshot needs: what is in use or due, never all there is."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, case, func, select

from keeper.facts import Kind, PositionFacts, Rules
from ledger.chain.position_rows import load_states
from ledger.intents.queries import load_open_intents
from ledger.intents.record import FILL, IntentState
from ledger.tables import Block, Demand, Event, Position, Usage, table_of

_block = table_of(Block)
_demand = table_of(Demand)
_event = table_of(Event)
_position = table_of(Position)
_usage = table_of(Usage)


@dataclass(slots=True)
class _OpenUsage:
    """A position's usage that is not settled yet, in 1e-6 USDC."""

    posted_usdc: int = 0
    posted_since_s: int | None = None
    drawn_by_epoch: dict[int, int] = field(default_factory=dict)


def load_in_flight(
    connection: Connection, *, mirrored_block: int
) -> tuple[frozenset[tuple[Kind, int]], frozenset[Kind]]:
    """Return what must not be decided again: intents without an outcome, or one not mirrored."""
    tokens: set[tuple[Kind, int]] = set()
    kinds: set[Kind] = set()
    for intent in load_open_intents(connection):
        if (
            intent.state is IntentState.MINED
            and intent.mined_block is not None
            and intent.mined_block <= mirrored_block
        ):
            continue
        if intent.kind == FILL:
            continue  # it stands for nothing
        kind = Kind(intent.kind)
        kinds.add(kind)
        tokens.update((kind, token_id) for token_id in intent.payload["token_ids"])
    return frozenset(tokens), frozenset(kinds)


def load_owed_since(connection: Connection) -> int | None:
    """Return the time of the oldest settlement that was not swept, or None."""
    at_contract = _event.c.token_id.is_(None)
    swept_block = connection.execute(
        select(_event.c.block_number)
        .where(at_contract, _event.c.name == "Swept")
        .order_by(_event.c.block_number.desc())
        .limit(1)
    ).scalar_one_or_none()
    since_s = connection.execute(
        select(_event.c.block_timestamp_s)
        .where(
            at_contract,
            _event.c.name == "BatchSettled",
            # A settlement after the sweep of the same block counts late rather than never.
            _event.c.block_number >= (-1 if swept_block is None else swept_block),
        )
        .order_by(_event.c.block_number)
        .limit(1)
    ).scalar_one_or_none()
    return None if since_s is None else int(since_s)


def load_positions(
    connection: Connection, rules: Rules, *, now_s: int, chain_s: int
) -> tuple[PositionFacts, ...]:
    """Return the positions that may need a hold or a settlement: a set that is in use, not all."""
    demands = {
        int(token_id): (int(required_usdc), int(wanted_at_s))
        for token_id, required_usdc, wanted_at_s in connection.execute(
            select(_demand.c.token_id, _demand.c.required_usdc, _demand.c.wanted_at_s).where(
                _demand.c.wanted_at_s >= now_s - rules.active_window_s
            )
        )
    }
    usage = _load_open_usage(connection)
    asked = connection.execute(
        select(_position.c.token_id).where(_position.c.release_requested_at_s.is_not(None))
    ).scalars()
    token_ids = set(demands) | set(usage) | {int(token_id) for token_id in asked}
    states = load_states(connection, token_ids)
    released = _load_releases(connection, demands, since_s=chain_s - rules.release_grace_s)
    # Demand is noted by the wall clock; decisions count by the chain's, which may be ahead.
    ahead_s = chain_s - now_s
    facts: list[PositionFacts] = []
    for token_id, state in states.items():
        required_usdc, wanted_at_s = demands.get(token_id, (0, None))
        found = usage.get(token_id, _OpenUsage())
        drawn = found.drawn_by_epoch
        facts.append(
            PositionFacts(
                state=state,
                drawn_usdc=sum(drawn.values()),
                drawn_current_usdc=drawn.get(state.key_epoch, 0),
                posted_usdc=found.posted_usdc,
                posted_since_s=_shift(found.posted_since_s, ahead_s),
                required_usdc=required_usdc,
                wanted_at_s=_shift(wanted_at_s, ahead_s),
                released_at_s=released.get(token_id),
            )
        )
    return tuple(facts)


def _shift(moment_s: int | None, seconds: int) -> int | None:
    return None if moment_s is None else moment_s + seconds


def _load_open_usage(connection: Connection) -> dict[int, _OpenUsage]:
    promised = case((_usage.c.state == "reserved", _usage.c.ceiling_usdc), else_=_usage.c.cost_usdc)
    rows = connection.execute(
        select(
            _usage.c.token_id,
            _usage.c.key_epoch,
            _usage.c.state,
            func.sum(promised),
            func.min(_usage.c.resolved_at_s),
        )
        .where(_usage.c.state.in_(("reserved", "posted", "settling")))
        .group_by(_usage.c.token_id, _usage.c.key_epoch, _usage.c.state)
    ).all()
    found: dict[int, _OpenUsage] = {}
    for token_id, key_epoch, state, amount, since_s in rows:
        usage = found.setdefault(int(token_id), _OpenUsage())
        epoch = int(key_epoch)
        usage.drawn_by_epoch[epoch] = usage.drawn_by_epoch.get(epoch, 0) + int(amount)
        if state == "posted":
            usage.posted_usdc += int(amount)
            earlier_s = usage.posted_since_s
            usage.posted_since_s = int(since_s if earlier_s is None else min(since_s, earlier_s))
    return found


def _load_releases(
    connection: Connection, token_ids: Mapping[int, object], *, since_s: int
) -> dict[int, int]:
    """Return when owners of ``token_ids`` last asked for release, as far as it is recent."""
    wanted = sorted(token_ids)
    found: dict[int, int] = {}
    # The window of recent blocks tells where to begin: a position in use has many older events.
    first_block = connection.execute(
        select(func.max(_block.c.number)).where(_block.c.timestamp_s <= since_s)
    ).scalar_one_or_none()
    for start in range(0, len(wanted), 500):
        rows = connection.execute(
            select(_event.c.token_id, func.max(_event.c.block_timestamp_s))
            .where(
                _event.c.token_id.in_(wanted[start : start + 500]),
                _event.c.block_number >= (0 if first_block is None else first_block),
                _event.c.name == "ReleaseRequested",
                _event.c.block_timestamp_s > since_s,
            )
            .group_by(_event.c.token_id)
        ).all()
        found.update((int(token_id), int(asked_s)) for token_id, asked_s in rows)
    return found
