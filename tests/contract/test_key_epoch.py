"""``YieldFundedPosition.bumpKeyEpoch`` and ``requestRelease``: the owner's two brakes."""

import ape

from tests.contract.world import USDC, World, returned


def test_bump_key_epoch__owner__one_more_and_hold_stays(world: World) -> None:
    token_id = world.create_with_credit(10 * USDC, bps=5_000)
    world.hold(token_id, 4 * USDC)
    before = world.account(token_id)
    assert before.key_epoch == 0
    receipt = world.position.bumpKeyEpoch(token_id, sender=world.owner)
    (event,) = receipt.decode_logs(world.position.KeyEpochBumped)
    assert event.event_arguments == {"tokenId": token_id, "keyEpoch": 1}
    assert returned(receipt) == 1
    assert world.account(token_id) == before._replace(key_epoch=1)
    world.position.bumpKeyEpoch(token_id, sender=world.owner)
    assert world.position.keyEpoch(token_id) == 2
    assert world.position.modelTier(token_id) == 1
    assert world.position.dailySmoothingBps(token_id) == 5_000


def test_bump_key_epoch__before_anything_was_earned__tier_and_smoothing_stay(world: World) -> None:
    """The account is written by its first touch; a revocation may come before it."""
    token_id = world.position.mint(world.owner, 255, 5_000, sender=world.as_adapter).return_value
    world.position.bumpKeyEpoch(token_id, sender=world.owner)
    world.credit(token_id, 10 * USDC)
    world.hold(token_id, 9 * USDC, key_epoch=1)
    assert world.position.modelTier(token_id) == 255
    assert world.position.dailySmoothingBps(token_id) == 5_000
    account = world.account(token_id)
    assert (account.key_epoch, account.held, account.day_cap) == (1, 5 * USDC, 5 * USDC)


def test_bump_key_epoch__not_owner__reverts(world: World) -> None:
    token_id = world.create()
    for sender in (world.outsider, world.settler, world.admin):
        with ape.reverts("position: not owner"):
            world.position.bumpKeyEpoch(token_id, sender=sender)


def test_bump_key_epoch__unknown_token__reverts(world: World) -> None:
    with ape.reverts("position: unknown token"):
        world.position.bumpKeyEpoch(0, sender=world.owner)


def test_request_release__owner__only_an_event(world: World) -> None:
    token_id = world.create_with_credit(10 * USDC)
    world.hold(token_id, 4 * USDC)
    before = world.account(token_id)
    receipt = world.position.requestRelease(token_id, sender=world.owner)
    (event,) = receipt.decode_logs(world.position.ReleaseRequested)
    assert event.event_arguments == {"tokenId": token_id, "owner": world.owner.address}
    assert world.account(token_id) == before


def test_request_release__not_owner__reverts(world: World) -> None:
    token_id = world.create()
    with ape.reverts("position: not owner"):
        world.position.requestRelease(token_id, sender=world.outsider)
