"""``YieldFundedPosition.withdrawUnspentYield``

::

    withdrawUnspentYield
    ├── not the owner ................ reverts, admin and settler too
    ├── nothing free ................. reverts
    └── unspent above the live hold .. pays it to the owner
"""

import ape

from tests.contract.world import HOUR, USDC, World, returned


def test_withdraw_unspent_yield__no_hold__pays_all(world: World) -> None:
    token_id = world.create_with_credit(10 * USDC)
    receipt = world.position.withdrawUnspentYield(token_id, sender=world.owner)
    (event,) = receipt.decode_logs(world.position.UnspentYieldWithdrawn)
    assert event.event_arguments == {
        "tokenId": token_id,
        "owner": world.owner.address,
        "assets": 10 * USDC,
        "withdrawnAfter": 10 * USDC,
    }
    assert returned(receipt) == 10 * USDC
    assert world.balance(world.owner) == 10 * USDC
    assert world.position.liabilities() == 0


def test_withdraw_unspent_yield__live_hold__leaves_it(world: World) -> None:
    token_id = world.create_with_credit(10 * USDC)
    world.hold(token_id, 4 * USDC, expires_in=HOUR)
    assert returned(world.position.withdrawUnspentYield(token_id, sender=world.owner)) == 6 * USDC
    with ape.reverts("position: held, request release"):
        world.position.withdrawUnspentYield(token_id, sender=world.owner)
    world.settle((token_id, USDC))
    world.wait(HOUR)
    assert returned(world.position.withdrawUnspentYield(token_id, sender=world.owner)) == 3 * USDC


def test_withdraw_unspent_yield__all_of_it_held__says_so(world: World) -> None:
    token_id = world.create_with_credit(10 * USDC)
    world.hold(token_id, 10 * USDC)
    assert world.position.withdrawableYield(token_id) == 0
    with ape.reverts("position: held, request release"):
        world.position.withdrawUnspentYield(token_id, sender=world.owner)


def test_withdraw_unspent_yield__never_credited__reverts(world: World) -> None:
    token_id = world.create()
    with ape.reverts("position: nothing to withdraw"):
        world.position.withdrawUnspentYield(token_id, sender=world.owner)


def test_withdraw_unspent_yield__not_owner__reverts(world: World) -> None:
    token_id = world.create_with_credit(10 * USDC)
    for sender in (world.outsider, world.settler, world.admin, world.second_owner):
        with ape.reverts("position: not owner"):
            world.position.withdrawUnspentYield(token_id, sender=sender)


def test_withdraw_unspent_yield__owner_blacklisted__resumes_later(world: World) -> None:
    token_id = world.create_with_credit(10 * USDC)
    world.usdc.blacklist(world.owner, True, sender=world.admin)
    with ape.reverts("usdc: blacklisted"):
        world.position.withdrawUnspentYield(token_id, sender=world.owner)
    world.usdc.blacklist(world.owner, False, sender=world.admin)
    world.position.withdrawUnspentYield(token_id, sender=world.owner)
    assert world.balance(world.owner) == 10 * USDC
