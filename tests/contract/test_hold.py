"""``YieldFundedPosition.hold``

::

    hold
    ├── not a settler ................................ reverts
    ├── unknown token ................................ reverts
    ├── amount > 0
    │   ├── expiry now or before ..................... reverts
    │   ├── expiry more than 25 hours ahead .......... reverts
    │   ├── current key epoch
    │   │   ├── up to what is available .............. grants the amount
    │   │   ├── more than that ....................... grants what is available
    │   │   └── live hold above what is available .... grants up to the live hold
    │   └── another key epoch
    │       ├── no live hold ......................... grants 0
    │       └── live hold ............................ grants no more than it, for no longer
    ├── amount 0 ..................................... frees, under any key epoch
    └── placed again ................................. replaces
"""

import ape
import pytest

from tests.contract.world import DAY, HOUR, NOON, USDC, World


def test_hold__available__grants_amount(world: World) -> None:
    token_id = world.create_with_credit(10 * USDC)
    receipt = world.hold(token_id, 4 * USDC)
    (event,) = receipt.decode_logs(world.position.HoldPlaced)
    account = world.account(token_id)
    assert event.event_arguments == {
        "tokenId": token_id,
        "requested": 4 * USDC,
        "granted": 4 * USDC,
        "expiresAt": account.hold_expires_at,
        "keyEpoch": 0,
    }
    assert account.held == 4 * USDC
    assert account.day_cap == 10 * USDC
    assert account.day_spent == 0
    assert world.position.remainingAllowance(token_id) == 10 * USDC
    assert world.position.withdrawableYield(token_id) == 6 * USDC


def test_hold__more_than_available__grants_available(world: World) -> None:
    token_id = world.create_with_credit(10 * USDC, bps=2_500)
    world.hold(token_id, 10 * USDC)
    assert world.account(token_id).held == 2_500_000
    assert world.position.remainingAllowance(token_id) == 2_500_000
    assert world.position.withdrawableYield(token_id) == 7_500_000


def test_hold__again__replaces(world: World) -> None:
    token_id = world.create_with_credit(10 * USDC)
    world.hold(token_id, 8 * USDC)
    world.hold(token_id, 3 * USDC, expires_in=HOUR)
    assert world.account(token_id).held == 3 * USDC
    world.hold(token_id, 10 * USDC)
    assert world.account(token_id).held == 10 * USDC


def test_hold__zero__frees(world: World) -> None:
    token_id = world.create_with_credit(10 * USDC)
    world.hold(token_id, 8 * USDC)
    receipt = world.position.hold([(token_id, 0, 0, 0)], sender=world.settler)
    (event,) = receipt.decode_logs(world.position.HoldPlaced)
    assert (event.granted, event.expiresAt) == (0, 0)
    account = world.account(token_id)
    assert (account.held, account.hold_expires_at) == (0, 0)


def test_hold__several__each_on_its_own(world: World) -> None:
    rich = world.create_with_credit(10 * USDC)
    poor = world.create_with_credit(1 * USDC)
    empty = world.create()
    expiry = world.now + HOUR
    receipt = world.position.hold(
        [(token_id, 5 * USDC, expiry, 0) for token_id in (rich, poor, empty)], sender=world.settler
    )
    granted = [event.granted for event in receipt.decode_logs(world.position.HoldPlaced)]
    assert granted == [5 * USDC, 1 * USDC, 0]


def test_hold__stale_key_epoch__grants_nothing(world: World) -> None:
    token_id = world.create_with_credit(10 * USDC)
    world.position.bumpKeyEpoch(token_id, sender=world.owner)
    receipt = world.hold(token_id, 1 * USDC, key_epoch=0)
    (event,) = receipt.decode_logs(world.position.HoldPlaced)
    assert (event.requested, event.granted, event.keyEpoch) == (1 * USDC, 0, 0)
    assert world.account(token_id).held == 0
    world.hold(token_id, 1 * USDC, key_epoch=1)
    assert world.account(token_id).held == 1 * USDC


@pytest.mark.parametrize("key_epoch", [0, 2])
@pytest.mark.parametrize(
    ("asked", "asked_hours", "granted", "hours"),
    [(9, 1, 4, 1), (4, 20, 4, 2), (9, 20, 4, 2), (3, 1, 3, 1), (3, 20, 3, 2)],
)
@pytest.mark.sampled(3)
def test_hold__another_epoch_over_a_live_hold__no_more_than_it_and_no_longer(
    world: World, key_epoch: int, asked: int, asked_hours: int, granted: int, hours: int
) -> None:
    """What a revocation overtakes opens nothing, and takes back nothing that was promised."""
    token_id = world.create_with_credit(10 * USDC)
    placed_at = world.now
    world.position.hold([(token_id, 4 * USDC, placed_at + 2 * HOUR, 0)], sender=world.settler)
    world.position.bumpKeyEpoch(token_id, sender=world.owner)
    request = (token_id, asked * USDC, placed_at + asked_hours * HOUR, key_epoch)
    receipt = world.position.hold([request], sender=world.settler)
    (event,) = receipt.decode_logs(world.position.HoldPlaced)
    assert (event.requested, event.granted) == (asked * USDC, granted * USDC)
    account = world.account(token_id)
    assert account.held == granted * USDC
    assert account.hold_expires_at == event.expiresAt == placed_at + hours * HOUR


def test_hold__another_epoch_and_zero__frees(world: World) -> None:
    token_id = world.create_with_credit(10 * USDC)
    world.hold(token_id, 4 * USDC)
    world.position.bumpKeyEpoch(token_id, sender=world.owner)
    world.position.hold([(token_id, 0, 0, 0)], sender=world.settler)
    assert world.account(token_id).held == 0


def test_hold__another_epoch_after_the_expiry__grants_nothing(world: World) -> None:
    token_id = world.create_with_credit(10 * USDC)
    world.hold(token_id, 4 * USDC, expires_in=HOUR)
    world.position.bumpKeyEpoch(token_id, sender=world.owner)
    world.warp(world.account(token_id).hold_expires_at)
    world.hold(token_id, 4 * USDC, key_epoch=0)
    account = world.account(token_id)
    assert (account.held, account.hold_expires_at) == (0, 0)


def test_hold__owner_revokes_before_each_placement__what_was_served_is_settled(
    world: World,
) -> None:
    """Five rounds of an owner who bumps just before the keeper's placement lands, and withdraws."""
    token_id = world.create_with_credit(25 * USDC)
    served = 0
    for epoch in range(5):
        world.hold(token_id, 5 * USDC, key_epoch=epoch)
        held = world.account(token_id).held
        world.position.bumpKeyEpoch(token_id, sender=world.owner)
        world.hold(token_id, 5 * USDC, key_epoch=epoch)  # decided before the bump
        if world.position.withdrawableYield(token_id) != 0:
            world.position.withdrawUnspentYield(token_id, sender=world.owner)
        world.settle((token_id, held))
        served += held
    account = world.account(token_id)
    assert served == account.spent > 0


def test_hold__longest_expiry__accepted_one_more_refused(world: World) -> None:
    token_id = world.create_with_credit(10 * USDC)
    placed_at = NOON + HOUR
    world.next_at(placed_at)
    request = (token_id, USDC, placed_at + 25 * HOUR, 0)
    world.position.hold([request], sender=world.settler)
    world.next_at(placed_at + 10)
    with ape.reverts("position: hold too long"):
        late = (token_id, USDC, placed_at + 10 + 25 * HOUR + 1, 0)
        world.position.hold([late], sender=world.settler)


def test_hold__expiry_now__reverts(world: World) -> None:
    token_id = world.create_with_credit(10 * USDC)
    world.next_at(NOON + HOUR)
    with ape.reverts("position: hold already expired"):
        world.position.hold([(token_id, USDC, NOON + HOUR, 0)], sender=world.settler)


def test_hold__lapses_at_expiry__without_transaction(world: World) -> None:
    token_id = world.create_with_credit(10 * USDC)
    world.hold(token_id, 4 * USDC, expires_in=HOUR)
    expiry = world.account(token_id).hold_expires_at
    world.warp(expiry - 1)
    assert world.account(token_id).held == 4 * USDC
    world.warp(expiry)
    account = world.account(token_id)
    assert (account.held, account.hold_expires_at) == (0, 0)
    assert world.position.remainingAllowance(token_id) == 10 * USDC


def test_hold__by_outsider__reverts(world: World) -> None:
    token_id = world.create_with_credit(10 * USDC)
    for sender in (world.outsider, world.owner, world.admin):
        with ape.reverts("position: not settler"):
            world.position.hold([(token_id, 1, world.now + HOUR, 0)], sender=sender)


def test_hold__unknown_token__reverts_whole_batch(world: World) -> None:
    token_id = world.create_with_credit(10 * USDC)
    expiry = world.now + HOUR
    with ape.reverts("position: unknown token"):
        world.position.hold(
            [(token_id, 1, expiry, 0), (token_id + 1, 0, 0, 0)], sender=world.settler
        )
    assert world.account(token_id).held == 0


@pytest.mark.parametrize("spent", [0, 1, 2_499_999, 2_500_000])
def test_hold__smoothed__never_above_cap(world: World, spent: int) -> None:
    token_id = world.create_with_credit(10 * USDC, bps=2_500)
    world.hold(token_id, 10 * USDC)
    world.settle((token_id, spent))
    world.hold(token_id, 10 * USDC)
    account = world.account(token_id)
    assert account.day_spent == spent
    assert account.held == 2_500_000 - spent
    assert account.day_spent + account.held <= account.day_cap


def test_hold__next_day__cap_from_new_opening(world: World) -> None:
    token_id = world.create_with_credit(10 * USDC, bps=5_000)
    world.hold(token_id, 5 * USDC)
    world.settle((token_id, 5 * USDC))
    assert world.position.remainingAllowance(token_id) == 0
    world.warp(NOON + DAY // 2)
    assert world.position.remainingAllowance(token_id) == 2_500_000
    account = world.account(token_id)
    assert (account.day_cap, account.day_spent) == (2_500_000, 0)


def test_hold__over_midnight__keeps_its_promise(world: World) -> None:
    """Yesterday's hold stays whole, even above today's formula, and nothing is granted beyond."""
    token_id = world.create_with_credit(10 * USDC, bps=5_000)
    world.hold(token_id, 5 * USDC, expires_in=24 * HOUR)
    world.position.withdrawUnspentYield(token_id, sender=world.owner)
    world.warp(NOON + DAY // 2)
    account = world.account(token_id)
    assert (account.held, account.day_cap, account.day_spent) == (5 * USDC, 5 * USDC, 0)
    world.settle((token_id, 3 * USDC))
    account = world.account(token_id)
    assert (account.held, account.day_spent, account.day_cap) == (2 * USDC, 3 * USDC, 5 * USDC)
    for asked, granted in ((10, 2), (1, 1), (2, 1)):
        world.hold(token_id, asked * USDC)
        assert world.account(token_id).held == granted * USDC


def test_hold__key_epoch_to_come__grants_nothing(world: World) -> None:
    token_id = world.create_with_credit(10 * USDC)
    world.hold(token_id, 1 * USDC, key_epoch=1)
    assert world.account(token_id).held == 0


def test_hold__around_midnight__days_are_of_utc(world: World) -> None:
    token_id = world.create_with_credit(10 * USDC, bps=5_000)
    world.hold(token_id, 5 * USDC, expires_in=HOUR)
    world.settle((token_id, 5 * USDC))
    midnight = NOON + DAY // 2
    for at, granted in ((midnight - 1, 0), (midnight, 2_500_000)):
        world.next_at(at)
        world.position.hold([(token_id, USDC * 10, at + HOUR, 0)], sender=world.settler)
        assert world.account(token_id).held == granted


def test_hold__in_the_year_2200__as_today(world: World) -> None:
    token_id = world.create_with_credit(10 * USDC, bps=5_000)
    placed_at = 84_006 * DAY
    world.next_at(placed_at)
    world.position.hold([(token_id, USDC, placed_at + HOUR, 0)], sender=world.settler)
    world.settle((token_id, USDC))
    account = world.account(token_id)
    assert account.hold_expires_at == placed_at + HOUR
    assert (account.day_cap, account.day_spent) == (5 * USDC, USDC)
