"""What each event does to a position's mirrored numbers. Pure.

``project`` folds one event into one state; folding a position's events in chain order from nothing
gives its row. The arithmetic of holds and days follows ``contracts/account.vy``.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from contracts.errors import Fatal
from contracts.events import ChainEvent
from contracts.units import utc_day
from ledger.positions import NEVER, PositionState

SECONDS_PER_MINUTE: Final = 60


class UnexpectedEvent(Fatal):
    """An event that the contracts cannot emit at this point of a position's life."""


def project(state: PositionState | None, event: ChainEvent) -> PositionState | None:
    """Return a position's state after ``event``; None before its ``PositionMinted``.

    Raises ``UnexpectedEvent`` for an event of a position that was never minted.
    """
    if event.name in ("Transfer", "Locked"):
        # Soulbound: the mint is the only transfer, and ``PositionMinted`` repeats it.
        return state
    if event.name == "PositionMinted":
        return PositionState(
            token_id=event.integer("tokenId"),
            owner=event.text("owner"),
            model_tier=event.integer("modelTier"),
            daily_smoothing_bps=event.integer("dailySmoothingBps"),
            day=utc_day(event.block_timestamp_s),
        )
    if state is None:
        raise UnexpectedEvent(f"{event.name} for position {event.token_id}, which is not minted")
    return _PROJECTIONS[event.name](state, event)


def project_all(events: Iterable[ChainEvent]) -> PositionState | None:
    """Return the state after all ``events`` of one position, in chain order."""
    state: PositionState | None = None
    for event in events:
        state = project(state, event)
    return state


def live_hold_usdc(state: PositionState, *, now_s: int) -> int:
    """Return the hold as it counts at ``now_s``: nothing from its expiry on."""
    return state.hold_usdc if now_s < state.hold_expires_at_s else 0


def _touch(state: PositionState, event: ChainEvent) -> PositionState:
    """Lapse an expired hold and open the event's UTC day, before the event itself counts."""
    now_s = event.block_timestamp_s
    if now_s >= state.hold_expires_at_s:
        state = replace(state, hold_usdc=0, hold_expires_at_s=NEVER)
    if utc_day(now_s) == state.day:
        return state
    return replace(state, day=utc_day(now_s), day_base_usdc=state.unspent_usdc, day_spent_usdc=0)


def _vault_created(state: PositionState, event: ChainEvent) -> PositionState:
    return replace(
        state,
        vault=event.text("vault"),
        harvest_interval_s=event.integer("harvestIntervalMinutes") * SECONDS_PER_MINUTE,
        last_harvest_at_s=event.block_timestamp_s,
    )


def _harvest_interval_set(state: PositionState, event: ChainEvent) -> PositionState:
    interval_s = event.integer("harvestIntervalMinutes") * SECONDS_PER_MINUTE
    return replace(state, harvest_interval_s=interval_s)


def _principal_changed(state: PositionState, event: ChainEvent) -> PositionState:
    return replace(
        state,
        principal_usdc=event.integer("principalAfter"),
        shares=event.integer("sharesAfter"),
    )


def _harvested(state: PositionState, event: ChainEvent) -> PositionState:
    return replace(
        state,
        shares=event.integer("sharesAfter"),
        last_harvest_at_s=event.block_timestamp_s,
    )


def _exited_in_kind(state: PositionState, _event: ChainEvent) -> PositionState:
    return replace(state, principal_usdc=0, shares=0)


def _yield_credited(state: PositionState, event: ChainEvent) -> PositionState:
    state = _touch(state, event)
    return replace(
        state,
        credited_usdc=event.integer("creditedAfter"),
        day_base_usdc=state.day_base_usdc + event.integer("amount"),
    )


def _hold_placed(state: PositionState, event: ChainEvent) -> PositionState:
    state = _touch(state, event)
    granted_usdc = event.integer("granted")
    return replace(
        state,
        hold_usdc=granted_usdc,
        hold_expires_at_s=event.integer("expiresAt") if granted_usdc > 0 else NEVER,
        release_requested_at_s=None if granted_usdc == 0 else state.release_requested_at_s,
    )


def _settled(state: PositionState, event: ChainEvent) -> PositionState:
    state = _touch(state, event)
    cost_usdc = event.integer("cost")
    return replace(
        state,
        spent_usdc=event.integer("spentAfter"),
        day_spent_usdc=state.day_spent_usdc + cost_usdc,
        hold_usdc=state.hold_usdc - cost_usdc,
    )


def _release_requested(state: PositionState, event: ChainEvent) -> PositionState:
    return replace(state, release_requested_at_s=event.block_timestamp_s)


def _unspent_withdrawn(state: PositionState, event: ChainEvent) -> PositionState:
    state = _touch(state, event)
    return replace(state, withdrawn_usdc=event.integer("withdrawnAfter"))


def _key_epoch_bumped(state: PositionState, event: ChainEvent) -> PositionState:
    return replace(state, key_epoch=event.integer("keyEpoch"))


_PROJECTIONS: Final[dict[str, Callable[[PositionState, ChainEvent], PositionState]]] = {
    "VaultCreated": _vault_created,
    "HarvestIntervalSet": _harvest_interval_set,
    "Deposited": _principal_changed,
    "PrincipalWithdrawn": _principal_changed,
    "Harvested": _harvested,
    "ExitedInKind": _exited_in_kind,
    "YieldCredited": _yield_credited,
    "HoldPlaced": _hold_placed,
    "Settled": _settled,
    "ReleaseRequested": _release_requested,
    "UnspentYieldWithdrawn": _unspent_withdrawn,
    "KeyEpochBumped": _key_epoch_bumped,
}
