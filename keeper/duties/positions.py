"""The positions that may need a settlement or a hold: what both duties know and go by.

Settle and hold decide from the same facts, and each changes the live hold that the other one
counts with.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from pydantic import Field
from sqlalchemy import Connection, case, func, select

from keeper.duties.moment import DutyRules, Moment
from ledger.chain.position_rows import load_states
from ledger.chain.positions import PositionState
from ledger.tables import Block, Demand, Event, Position, Usage, table_of

_block = table_of(Block)
_demand = table_of(Demand)
_event = table_of(Event)
_position = table_of(Position)
_usage = table_of(Usage)

SETTLE = "settle"
HOLD = "hold"

Facts = tuple["PositionFacts", ...]


class PositionRules(DutyRules):
    """What a position in use is, and how its hold lives."""

    hold_lifetime_s: int = Field(
        default=7_200, ge=60, le=24 * 3_600, description="how long a hold lives, seconds"
    )
    settle_in_use_before_s: int = Field(
        default=600,
        ge=1,
        description="usage on a hold in use is settled when less is left: its renewal failed",
    )
    active_window_s: int = Field(
        default=3_600, ge=1, description="how long a position counts as in use after a request"
    )
    release_grace_s: int = Field(
        default=300, ge=0, description="no new hold for so long after the owner asked for release"
    )


@dataclass(frozen=True, slots=True)
class PositionFacts:
    """One position that has demand, usage that is not settled, or a release to answer."""

    state: PositionState
    drawn_usdc: int
    """Everything promised against the hold and not settled yet."""
    drawn_current_usdc: int = 0
    """The part of it that was authorised under the current key epoch."""
    posted_usdc: int = 0
    """The part of it that can be settled now."""
    posted_since_s: int | None = None
    required_usdc: int = 0
    """The largest reservation that found no room lately."""
    wanted_at_s: int | None = None
    """When a key was last issued or used, or None."""
    released_at_s: int | None = None
    """When the owner last asked for the hold to be freed, answered or not, or None."""

    @property
    def token_id(self) -> int:
        return self.state.token_id


class PositionsReader:
    """Reads the positions once in a round, for both duties. Not shared between threads."""

    def __init__(self, rules: PositionRules) -> None:
        self._rules = rules
        self._moment: Moment | None = None
        self._found: Facts = ()

    def load(self, connection: Connection, moment: Moment) -> Facts:
        """Return the positions that may need a hold or a settlement."""
        if moment is not self._moment:
            self._found = load_positions(
                connection, self._rules, now_s=moment.wall_s, chain_s=moment.now_s
            )
            self._moment = moment
        return self._found


def is_wanted(facts: PositionFacts, rules: PositionRules, *, now_s: int) -> bool:
    """Tell whether a key is in use, and its owner did not just take the credit back.

    The owner needs some blocks after a release to withdraw, before a request may hold it again.
    """
    if facts.wanted_at_s is None or now_s - facts.wanted_at_s > rules.active_window_s:
        return False
    if facts.state.release_requested_at_s is not None:
        return False
    released_at_s = facts.released_at_s
    return released_at_s is None or now_s - released_at_s >= rules.release_grace_s


def keep_free(positions: Facts, moment: Moment, *, kind: str) -> Iterable[PositionFacts]:
    """Return the positions of which nothing is on its way, and that do not rest for ``kind``.

    A settlement and a hold both change the live hold, so the outcome of either must be mirrored
    before ``kind`` is decided.
    """
    left_alone = {subject for other, subject in moment.resting if other == kind}
    left_alone.update(token_id for other, token_id in moment.in_flight if other in (SETTLE, HOLD))
    return (facts for facts in positions if facts.token_id not in left_alone)


class _Ranked(Protocol):
    @property
    def reason(self) -> str: ...

    @property
    def token_id(self) -> int: ...


RankedT = TypeVar("RankedT", bound=_Ranked)


def rank(items: Iterable[RankedT | None], urgency: Sequence[str]) -> list[RankedT]:
    """Return the items, without None, by the urgency of their reason, then by token id."""
    return sorted(
        (item for item in items if item is not None),
        key=lambda item: (urgency.index(item.reason), item.token_id),
    )


# ----------------------------------------------------------------------------- the ledger's rows


@dataclass(slots=True)
class _OpenUsage:
    """A position's usage that is not settled yet, in 1e-6 USDC."""

    posted_usdc: int = 0
    posted_since_s: int | None = None
    drawn_by_epoch: dict[int, int] = field(default_factory=dict)


def load_positions(
    connection: Connection, rules: PositionRules, *, now_s: int, chain_s: int
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

    def on_chain(moment_s: int | None) -> int | None:
        """Return a wall clock's stamp by the chain's clock, which may be ahead; never later."""
        return None if moment_s is None else min(moment_s + chain_s - now_s, chain_s)

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
                posted_since_s=on_chain(found.posted_since_s),
                required_usdc=required_usdc,
                wanted_at_s=on_chain(wanted_at_s),
                released_at_s=released.get(token_id),
            )
        )
    return tuple(facts)


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
