"""What each event does to a position's mirrored numbers. Pure.

``project`` folds one event into one state; folding a position's events in chain order from nothing
gives its row. The arithmetic of holds and days follows ``contracts/account.vy``.

Events that state a total say what it is after them. A total that does not follow from the one
before is the trace of an event that the node did not send; the fold stops there.

What happens to a position is written down below as changes of a draft: a copy that this module
made and nobody else holds. A fold of many events makes one copy of each position, not one for each
event.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

from contracts.errors import Fatal, Retryable
from contracts.events import ChainEvent
from contracts.units import utc_day
from ledger.chain.positions import NEVER, PositionState

SECONDS_PER_MINUTE: Final = 60
_REPEATED: Final = frozenset({"Transfer", "Locked", "PositionGiven", "DepositGiven"})
"""Events whose figures another event states as well.

Soulbound: the mint is the only transfer, and ``PositionMinted`` repeats it. Who gave a position or
a deposit is said by its own event; what it is, by ``VaultCreated`` and ``Deposited``.
"""


class UnexpectedEvent(Fatal):
    """An event that the contracts cannot emit at this point of a position's life."""


class EventMissing(Retryable):
    """An event's total does not follow from the one before: a node left out an event between."""


def project(state: PositionState | None, event: ChainEvent) -> PositionState | None:
    """Return a position's state after ``event``; None before its ``PositionMinted``.

    Raises ``UnexpectedEvent`` for an event of a position that was never minted, ``EventMissing``
    where ``state`` lacks an event before this one.
    """
    return _change(None if state is None else replace(state), event)


def project_all(events: Iterable[ChainEvent]) -> PositionState | None:
    """Return the state after all ``events`` of one position, in chain order."""
    draft: PositionState | None = None
    for event in events:
        draft = _change(draft, event)
    return draft


def project_range(
    states: Mapping[int, PositionState], events: Iterable[ChainEvent]
) -> dict[int, PositionState]:
    """Return the states of the positions that ``events`` change, after all of them.

    ``states`` are those before; the events are of any positions, in chain order.
    """
    drafts: dict[int, PositionState] = {}
    for event in events:
        token_id = event.token_id
        if token_id is None:
            continue
        draft = drafts.get(token_id)
        if draft is None and token_id in states:
            draft = replace(states[token_id])
        changed = _change(draft, event)
        if changed is not None:
            drafts[token_id] = changed
    return drafts


def live_hold_usdc(state: PositionState, *, now_s: int) -> int:
    """Return the hold as it counts at ``now_s``: nothing from its expiry on."""
    return state.hold_usdc if now_s < state.hold_expires_at_s else 0


def _change(draft: PositionState | None, event: ChainEvent) -> PositionState | None:
    """Apply ``event`` to the draft and return it; a mint returns a new one."""
    if event.name in _REPEATED:
        return draft
    if event.name == "PositionMinted":
        return PositionState(
            token_id=event.integer("tokenId"),
            owner=event.text("owner"),
            model_tier=event.integer("modelTier"),
            daily_smoothing_bps=event.integer("dailySmoothingBps"),
            day=utc_day(event.block_timestamp_s),
        )
    if draft is None:
        raise UnexpectedEvent(f"{_place(event)}, which is not minted")
    _CHANGES[event.name](draft, event)
    return draft


def _touch(draft: PositionState, event: ChainEvent) -> None:
    """Lapse an expired hold and open the event's UTC day, before the event itself counts."""
    now_s = event.block_timestamp_s
    if now_s >= draft.hold_expires_at_s:
        draft.hold_usdc, draft.hold_expires_at_s = 0, NEVER
    today = utc_day(now_s)
    if today != draft.day:
        draft.day, draft.day_base_usdc, draft.day_spent_usdc = today, draft.unspent_usdc, 0


def _vault_created(draft: PositionState, event: ChainEvent) -> None:
    draft.vault = event.text("vault")
    draft.last_harvest_at_s = event.block_timestamp_s
    _harvest_interval_set(draft, event)


def _harvest_interval_set(draft: PositionState, event: ChainEvent) -> None:
    draft.harvest_interval_s = event.integer("harvestIntervalMinutes") * SECONDS_PER_MINUTE


def _principal_changed(draft: PositionState, event: ChainEvent) -> None:
    draft.principal_usdc = event.integer("principalAfter")
    draft.shares = event.integer("sharesAfter")


def _harvested(draft: PositionState, event: ChainEvent) -> None:
    draft.shares = event.integer("sharesAfter")
    draft.last_harvest_at_s = event.block_timestamp_s


def _exited_in_kind(draft: PositionState, _event: ChainEvent) -> None:
    draft.principal_usdc = draft.shares = 0


def _credited(draft: PositionState, event: ChainEvent) -> None:
    _touch(draft, event)
    amount_usdc = event.integer("amount")
    draft.credited_usdc += amount_usdc
    draft.day_base_usdc += amount_usdc
    _check_total(event, "creditedAfter", draft.credited_usdc)


def _hold_placed(draft: PositionState, event: ChainEvent) -> None:
    _touch(draft, event)
    draft.hold_usdc = event.integer("granted")
    if draft.hold_usdc > 0:
        draft.hold_expires_at_s = event.integer("expiresAt")
    else:
        draft.hold_expires_at_s = NEVER
        draft.release_requested_at_s = None


def _settled(draft: PositionState, event: ChainEvent) -> None:
    _touch(draft, event)
    cost_usdc = event.integer("cost")
    if cost_usdc > draft.hold_usdc:
        raise EventMissing(f"{_place(event)} is paid from a hold that no event before it placed")
    draft.hold_usdc -= cost_usdc
    draft.spent_usdc += cost_usdc
    draft.day_spent_usdc += cost_usdc
    _check_total(event, "spentAfter", draft.spent_usdc)
    _check_solvent(draft, event)


def _release_requested(draft: PositionState, event: ChainEvent) -> None:
    draft.release_requested_at_s = event.block_timestamp_s


def _unspent_withdrawn(draft: PositionState, event: ChainEvent) -> None:
    _touch(draft, event)
    draft.withdrawn_usdc += event.integer("assets")
    _check_total(event, "withdrawnAfter", draft.withdrawn_usdc)
    _check_solvent(draft, event)


def _key_epoch_bumped(draft: PositionState, event: ChainEvent) -> None:
    draft.key_epoch += 1
    _check_total(event, "keyEpoch", draft.key_epoch)


def _check_total(event: ChainEvent, name: str, expected: int) -> None:
    stated = event.integer(name)
    if stated != expected:
        raise EventMissing(
            f"{_place(event)} says that {name} is {stated}; the events before it make {expected}"
        )


def _check_solvent(draft: PositionState, event: ChainEvent) -> None:
    if draft.unspent_usdc < 0:
        raise EventMissing(
            f"{_place(event)} takes more than what the events before it credited:"
            f" {-draft.unspent_usdc} too much"
        )


def _place(event: ChainEvent) -> str:
    return f"{event.name} of position {event.token_id} in block {event.block_number}"


_CHANGES: Final[dict[str, Callable[[PositionState, ChainEvent], None]]] = {
    "VaultCreated": _vault_created,
    "HarvestIntervalSet": _harvest_interval_set,
    "Deposited": _principal_changed,
    "PrincipalWithdrawn": _principal_changed,
    "Harvested": _harvested,
    "ExitedInKind": _exited_in_kind,
    "YieldCredited": _credited,
    "CreditGiven": _credited,
    "HoldPlaced": _hold_placed,
    "Settled": _settled,
    "ReleaseRequested": _release_requested,
    "UnspentYieldWithdrawn": _unspent_withdrawn,
    "KeyEpochBumped": _key_epoch_bumped,
}
