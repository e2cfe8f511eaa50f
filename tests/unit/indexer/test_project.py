"""``indexer.project``: what each event does to a position, across days and expiries."""

from dataclasses import replace

import pytest

from contracts.events import ChainEvent, Value
from contracts.units import SECONDS_PER_DAY
from indexer.project import (
    EventMissing,
    UnexpectedEvent,
    project,
    project_all,
    project_range,
)
from ledger.chain.positions import PositionState, get_allowance

NOON_S = 20_000 * SECONDS_PER_DAY + 12 * 3600
OWNER = "0x" + "11" * 20
VAULT = "0x" + "22" * 20


def event(name: str, at_s: int = NOON_S, *, token_id: int = 0, **args: Value) -> ChainEvent:
    return ChainEvent(
        contract="position",
        name=name,
        args={"tokenId": token_id, **args},
        block_number=1,
        block_hash="0x01",
        block_timestamp_s=at_s,
        tx_hash="0x02",
        log_index=0,
    )


def minted(bps: int = 10_000) -> list[ChainEvent]:
    return [
        event("Transfer", sender="0x" + "00" * 20, receiver=OWNER),
        event("Locked"),
        event("PositionMinted", owner=OWNER, modelTier=2, dailySmoothingBps=bps),
        event("VaultCreated", owner=OWNER, vault=VAULT, harvestIntervalMinutes=30),
    ]


def fold(*events: ChainEvent, bps: int = 10_000) -> PositionState:
    state = project_all([*minted(bps), *events])
    assert state is not None
    return state


def test_project__mint_and_vault__complete_row() -> None:
    assert fold() == PositionState(
        token_id=0,
        owner=OWNER,
        model_tier=2,
        daily_smoothing_bps=10_000,
        vault=VAULT,
        harvest_interval_s=1_800,
        last_harvest_at_s=NOON_S,
        day=20_000,
    )


def test_project__not_minted__raises() -> None:
    with pytest.raises(UnexpectedEvent):
        project(None, event("KeyEpochBumped", keyEpoch=1))


def test_project__deposit_harvest_withdraw__principal_and_shares() -> None:
    deposited = event("Deposited", owner=OWNER, assets=5, shares=7, principalAfter=5, sharesAfter=7)
    state = fold(deposited)
    assert (state.principal_usdc, state.shares) == (5, 7)
    later_s = NOON_S + 60
    state = fold(
        deposited,
        event("Harvested", later_s, caller=OWNER, credited=1, sharesBurned=2, sharesAfter=5),
    )
    assert (state.principal_usdc, state.shares, state.last_harvest_at_s) == (5, 5, later_s)
    state = fold(deposited, event("ExitedInKind", owner=OWNER, shares=7, principalForgone=5))
    assert (state.principal_usdc, state.shares) == (0, 0)


def test_project__credit_hold_settle__same_day() -> None:
    state = fold(
        event("YieldCredited", amount=1_000, creditedAfter=1_000),
        event("HoldPlaced", requested=400, granted=400, expiresAt=NOON_S + 7200, keyEpoch=0),
        event("Settled", NOON_S + 10, batchId="0x01", cost=150, spentAfter=150),
    )
    assert (state.credited_usdc, state.spent_usdc, state.hold_usdc) == (1_000, 150, 250)
    assert (state.day_base_usdc, state.day_spent_usdc) == (1_000, 150)
    allowance = get_allowance(state, now_s=NOON_S + 20)
    assert (allowance.held_usdc, allowance.remaining_usdc) == (250, 850)
    assert allowance.withdrawable_usdc == 600


def test_project__gifts__credit_counts_as_yield_and_principal_once() -> None:
    giver = "0x" + "99" * 20
    state = fold(
        event("PositionGiven", giver=giver, owner=OWNER),
        event("Deposited", owner=OWNER, assets=70, shares=69, principalAfter=70, sharesAfter=69),
        event("DepositGiven", giver=giver, assets=70),
        event("YieldCredited", amount=1_000, creditedAfter=1_000),
        event("CreditGiven", giver=giver, amount=500, creditedAfter=1_500),
        bps=1_000,
    )
    assert (state.owner, state.principal_usdc, state.shares) == (OWNER, 70, 69)
    assert (state.credited_usdc, state.day_base_usdc) == (1_500, 1_500)
    assert get_allowance(state, now_s=NOON_S).day_cap_usdc == 150


def test_project__new_day__opening_is_the_unspent_credit() -> None:
    tomorrow_s = NOON_S + SECONDS_PER_DAY
    state = fold(
        event("YieldCredited", amount=1_000, creditedAfter=1_000),
        event("HoldPlaced", requested=100, granted=100, expiresAt=NOON_S + 7200, keyEpoch=0),
        event("Settled", NOON_S + 10, batchId="0x01", cost=100, spentAfter=100),
        event("YieldCredited", tomorrow_s, amount=50, creditedAfter=1_050),
        bps=1_000,
    )
    assert (state.day, state.day_base_usdc, state.day_spent_usdc) == (20_001, 950, 0)
    assert get_allowance(state, now_s=tomorrow_s).day_cap_usdc == 95


def test_allowance__hold_expires__counts_to_the_last_second() -> None:
    state = fold(
        event("YieldCredited", amount=1_000, creditedAfter=1_000),
        event("HoldPlaced", requested=400, granted=400, expiresAt=NOON_S + 100, keyEpoch=0),
    )
    assert get_allowance(state, now_s=NOON_S + 99).held_usdc == 400
    assert get_allowance(state, now_s=NOON_S + 100).held_usdc == 0


def test_allowance__hold_over_midnight_above_the_new_cap__is_not_cut() -> None:
    late_s = 20_001 * SECONDS_PER_DAY - 60
    state = fold(
        event("YieldCredited", amount=1_000, creditedAfter=1_000),
        event(
            "HoldPlaced", late_s, requested=100, granted=100, expiresAt=late_s + 7200, keyEpoch=0
        ),
        event("UnspentYieldWithdrawn", late_s, owner=OWNER, assets=900, withdrawnAfter=900),
        bps=1_000,
    )
    allowance = get_allowance(state, now_s=late_s + 120)
    assert (allowance.day_cap_usdc, allowance.held_usdc, allowance.grantable_usdc) == (
        100,
        100,
        100,
    )


def test_project__release__cleared_by_a_hold_of_nothing_only() -> None:
    asked = event("ReleaseRequested", owner=OWNER)
    assert fold(asked).release_requested_at_s == NOON_S
    raised = event("HoldPlaced", requested=5, granted=5, expiresAt=NOON_S + 100, keyEpoch=0)
    assert fold(asked, raised).release_requested_at_s == NOON_S
    freed = event("HoldPlaced", requested=0, granted=0, expiresAt=0, keyEpoch=0)
    assert fold(asked, freed).release_requested_at_s is None


def test_project__epoch_bump__keeps_the_hold() -> None:
    state = fold(
        event("YieldCredited", amount=10, creditedAfter=10),
        event("HoldPlaced", requested=5, granted=5, expiresAt=NOON_S + 100, keyEpoch=0),
        event("KeyEpochBumped", keyEpoch=1),
    )
    assert (state.key_epoch, state.hold_usdc) == (1, 5)


CREDITED = event("YieldCredited", amount=1_000, creditedAfter=1_000)
HELD = event("HoldPlaced", requested=400, granted=400, expiresAt=NOON_S + 7200, keyEpoch=0)


@pytest.mark.parametrize(
    "takes_out",
    [
        event("Settled", batchId="0x01", cost=400, spentAfter=400),
        event("UnspentYieldWithdrawn", owner=OWNER, assets=301, withdrawnAfter=301),
    ],
)
def test_project__more_taken_out_than_credited__an_event_is_missing(takes_out: ChainEvent) -> None:
    held = event("HoldPlaced", requested=400, granted=400, expiresAt=NOON_S + 7200, keyEpoch=0)
    credited = event("YieldCredited", amount=300, creditedAfter=300)
    with pytest.raises(EventMissing, match="too much"):
        fold(credited, held, takes_out)


@pytest.mark.parametrize(
    "after_a_gap",
    [
        event("YieldCredited", amount=5, creditedAfter=1_006),
        event("CreditGiven", giver=OWNER, amount=5, creditedAfter=1_006),
        event("Settled", batchId="0x01", cost=100, spentAfter=101),
        event("Settled", batchId="0x01", cost=401, spentAfter=401),
        event("UnspentYieldWithdrawn", owner=OWNER, assets=5, withdrawnAfter=6),
        event("KeyEpochBumped", keyEpoch=2),
    ],
)
def test_project__total_that_does_not_follow__an_event_is_missing(after_a_gap: ChainEvent) -> None:
    with pytest.raises(EventMissing, match=after_a_gap.name):
        fold(CREDITED, HELD, after_a_gap)


def test_project__a_state__is_left_as_it_was() -> None:
    state = fold(CREDITED)
    before = replace(state)
    after = project(state, HELD)
    assert after is not None
    assert (state, after.hold_usdc) == (before, 400)


def test_project_range__several_positions__as_one_by_one() -> None:
    minted_too = [
        event("PositionMinted", token_id=1, owner=OWNER, modelTier=1, dailySmoothingBps=1),
        event("KeyEpochBumped", token_id=1, keyEpoch=1),
    ]
    states = {0: fold(CREDITED), 7: replace(fold(), token_id=7)}
    before = {token_id: replace(state) for token_id, state in states.items()}
    swept = event("Swept", treasury=OWNER, amount=3)._replace(args={"treasury": OWNER, "amount": 3})
    changed = project_range(states, [HELD, minted_too[0], swept, minted_too[1]])
    assert changed == {0: project(states[0], HELD), 1: project_all(minted_too)}
    assert states == before
