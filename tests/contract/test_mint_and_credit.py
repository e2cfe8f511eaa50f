"""``YieldFundedPosition.mint`` and ``creditYield``: what only the adapter may do."""

import ape
import pytest

from tests.contract.world import DAY, NOON, USDC, World, returned

ZERO = "0x" + "00" * 20


def test_mint__by_adapter__token_and_events(world: World) -> None:
    receipt = world.position.mint(world.owner, 7, 2_500, sender=world.as_adapter)
    (transfer,) = receipt.decode_logs(world.position.Transfer)
    (locked,) = receipt.decode_logs(world.position.Locked)
    (minted,) = receipt.decode_logs(world.position.PositionMinted)
    assert transfer.event_arguments == {
        "sender": ZERO,
        "receiver": world.owner.address,
        "tokenId": 0,
    }
    assert locked.event_arguments == {"tokenId": 0}
    assert minted.event_arguments == {
        "tokenId": 0,
        "owner": world.owner.address,
        "modelTier": 7,
        "dailySmoothingBps": 2_500,
    }
    assert returned(receipt) == 0
    assert returned(world.position.mint(world.owner, 7, 1, sender=world.as_adapter)) == 1
    assert world.position.ownerOf(1) == world.owner.address
    assert world.position.balanceOf(world.owner) == 2
    assert world.position.totalSupply() == 2
    assert world.account(1) == (0, 0, 0, 0, 0, 0, 0, 0)
    assert (world.position.modelTier(0), world.position.dailySmoothingBps(0)) == (7, 2_500)


@pytest.mark.parametrize("bps", [0, 10_001])
def test_mint__smoothing_out_of_range__reverts(world: World, bps: int) -> None:
    with ape.reverts("position: smoothing out of range"):
        world.position.mint(world.owner, 0, bps, sender=world.as_adapter)


def test_mint__largest_tier_and_smoothing__kept(world: World) -> None:
    world.position.mint(world.owner, 255, 10_000, sender=world.as_adapter)
    kept = (world.position.modelTier(0), world.position.dailySmoothingBps(0))
    assert kept == (255, 10_000)
    assert world.account(0).key_epoch == 0


def test_mint__to_nobody__reverts(world: World) -> None:
    with ape.reverts("position: mint to zero address"):
        world.position.mint(ZERO, 0, 1, sender=world.as_adapter)


def test_mint__not_adapter__reverts(world: World) -> None:
    for sender in (world.admin, world.settler, world.outsider):
        with ape.reverts("position: not adapter"):
            world.position.mint(world.owner, 0, 1, sender=sender)


def test_credit_yield__paid_in__credited(world: World) -> None:
    token_id = world.create()
    world.credit(token_id, 2 * USDC)
    receipt = world.credit(token_id, 3 * USDC)
    (event,) = receipt.decode_logs(world.position.YieldCredited)
    assert event.event_arguments == {
        "tokenId": token_id,
        "amount": 3 * USDC,
        "creditedAfter": 5 * USDC,
    }
    assert world.position.liabilities() == 5 * USDC
    assert world.position.remainingAllowance(token_id) == 5 * USDC


def test_credit_yield__during_the_day__raises_the_cap(world: World) -> None:
    token_id = world.create_with_credit(10 * USDC, bps=1_000)
    assert world.account(token_id).day_cap == USDC
    world.warp(NOON + DAY)
    world.credit(token_id, 10 * USDC)
    assert world.account(token_id).day_cap == 2 * USDC


def test_credit_yield__not_paid_in__reverts(world: World) -> None:
    token_id = world.create_with_credit(5 * USDC)
    world.fund(world.position, USDC)
    with ape.reverts("position: yield not received"):
        world.position.creditYield(token_id, USDC + 1, sender=world.as_adapter)
    world.position.creditYield(token_id, USDC, sender=world.as_adapter)


def test_credit_yield__beyond_63_bits__reverts(world: World) -> None:
    token_id = world.create()
    world.credit(token_id, 2**63 - 2)
    world.fund(world.position, 2)
    with ape.reverts("position: amount too large"):
        world.position.creditYield(token_id, 2, sender=world.as_adapter)
    world.position.creditYield(token_id, 1, sender=world.as_adapter)
    assert world.account(token_id).credited == 2**63 - 1


def test_credit_yield__unknown_token__reverts(world: World) -> None:
    with ape.reverts("position: unknown token"):
        world.position.creditYield(0, 0, sender=world.as_adapter)


def test_credit_yield__not_adapter__reverts(world: World) -> None:
    token_id = world.create()
    with ape.reverts("position: not adapter"):
        world.position.creditYield(token_id, 0, sender=world.admin)
