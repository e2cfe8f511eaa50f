"""``YieldFundedPosition.sweep``: settled money goes to the treasury, whoever calls."""

import ape

from tests.contract.world import USDC, World, returned


def spend(world: World, amount: int) -> int:
    token_id = world.create_with_credit(10 * USDC)
    world.hold(token_id, amount)
    world.settle((token_id, amount))
    return token_id


def test_sweep__owed__pays_treasury(world: World) -> None:
    spend(world, 3 * USDC)
    receipt = world.position.sweep(sender=world.outsider)
    (event,) = receipt.decode_logs(world.position.Swept)
    assert event.event_arguments == {"treasury": world.payouts.address, "amount": 3 * USDC}
    assert returned(receipt) == 3 * USDC
    assert world.balance(world.payouts) == 3 * USDC
    assert (world.position.owed(), world.position.liabilities()) == (0, 7 * USDC)
    assert world.balance(world.position) == 7 * USDC


def test_sweep__nothing_owed__changes_nothing(world: World) -> None:
    world.create_with_credit(10 * USDC)
    receipt = world.position.sweep(sender=world.outsider)
    assert returned(receipt) == 0
    assert receipt.decode_logs(world.position.Swept) == []


def test_sweep__treasury_blacklisted__settling_goes_on_and_nothing_is_lost(world: World) -> None:
    token_id = spend(world, 3 * USDC)
    world.usdc.blacklist(world.payouts, True, sender=world.admin)
    with ape.reverts("usdc: blacklisted"):
        world.position.sweep(sender=world.outsider)
    world.hold(token_id, USDC)
    world.settle((token_id, USDC))
    world.usdc.blacklist(world.payouts, False, sender=world.admin)
    assert returned(world.position.sweep(sender=world.outsider)) == 4 * USDC


def test_sweep__usdc_paused__hold_and_settle_go_on(world: World) -> None:
    token_id = world.create_with_credit(10 * USDC)
    world.usdc.pause(sender=world.admin)
    world.hold(token_id, USDC)
    world.settle((token_id, USDC))
    with ape.reverts("usdc: paused"):
        world.position.sweep(sender=world.outsider)
    world.usdc.unpause(sender=world.admin)
    assert returned(world.position.sweep(sender=world.outsider)) == USDC
