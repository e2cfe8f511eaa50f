"""``Payouts``: ``pay``, ``claim``, ``withdraw``

::

    pay
    ├── not a payer, other lengths, paid before (Y1) ... reverts
    ├── more than is available (Y2) .................... reverts
    ├── the zero address, USDC or one of ours as payee . reverts
    ├── a payee whom USDC refuses ...................... credited, the others paid
    └── otherwise ...................................... paid
"""

import ape
import pytest

from tests.contract.world import USDC, World, batch_bytes, returned

ZERO = "0x" + "00" * 20


@pytest.fixture(autouse=True)
def funded(world: World) -> None:
    """Give the treasury 100 USDC."""
    world.fund(world.payouts, 100 * USDC)


def pay(world: World, *amounts: int, number: int = 1) -> ape.api.ReceiptAPI:
    payees = [world.payee, world.second_payee][: len(amounts)]
    return world.payouts.pay(batch_bytes(number), payees, list(amounts), sender=world.payer)


def test_pay__covered__everyone_paid(world: World) -> None:
    receipt = pay(world, 30 * USDC, 20 * USDC)
    paid = [event.event_arguments for event in receipt.decode_logs(world.payouts.Paid)]
    assert paid == [
        {"batchId": batch_bytes(1), "payee": world.payee.address, "amount": 30 * USDC},
        {"batchId": batch_bytes(1), "payee": world.second_payee.address, "amount": 20 * USDC},
    ]
    (batch,) = receipt.decode_logs(world.payouts.BatchPaid)
    assert batch.event_arguments == {"batchId": batch_bytes(1), "total": 50 * USDC, "count": 2}
    assert world.balance(world.payee) == 30 * USDC
    assert world.payouts.available() == 50 * USDC
    assert world.payouts.batchPaid(batch_bytes(1))


def test_pay__twice__reverts(world: World) -> None:
    pay(world, USDC)
    with ape.reverts("payouts: batch already paid"):
        pay(world, USDC)
    assert world.balance(world.payee) == USDC


def test_pay__one_blacklisted__credited_and_claimed_elsewhere(world: World) -> None:
    world.usdc.blacklist(world.payee, True, sender=world.admin)
    receipt = pay(world, 30 * USDC, 20 * USDC)
    (credited,) = receipt.decode_logs(world.payouts.PayoutCredited)
    assert credited.event_arguments == {
        "batchId": batch_bytes(1),
        "payee": world.payee.address,
        "amount": 30 * USDC,
    }
    assert world.balance(world.second_payee) == 20 * USDC
    assert world.payouts.credited(world.payee) == world.payouts.totalCredited() == 30 * USDC
    assert world.payouts.available() == 50 * USDC

    world.usdc.blacklist(world.payee, False, sender=world.admin)
    claimed = world.payouts.claim(world.outsider, sender=world.payee)
    (event,) = claimed.decode_logs(world.payouts.Claimed)
    assert event.event_arguments == {
        "payee": world.payee.address,
        "to": world.outsider.address,
        "amount": 30 * USDC,
    }
    assert returned(claimed) == world.balance(world.outsider) == 30 * USDC
    assert world.payouts.totalCredited() == 0


def test_pay__usdc_paused__waits_and_then_pays_everybody(world: World) -> None:
    world.usdc.pause(sender=world.admin)
    with ape.reverts("payouts: usdc paused"):
        pay(world, 30 * USDC, 20 * USDC)
    assert world.payouts.totalCredited() == 0
    assert not world.payouts.batchPaid(batch_bytes(1))

    world.usdc.unpause(sender=world.admin)
    pay(world, 30 * USDC, 20 * USDC)
    assert world.balance(world.payee) == 30 * USDC
    assert world.balance(world.second_payee) == 20 * USDC
    assert world.payouts.totalCredited() == 0


def test_pay__refused_twice__both_credited_and_claimed_once(world: World) -> None:
    world.usdc.blacklist(world.payee, True, sender=world.admin)
    pay(world, 30 * USDC)
    pay(world, 20 * USDC, number=2)
    assert world.payouts.credited(world.payee) == world.payouts.totalCredited() == 50 * USDC
    claimed = world.payouts.claim(world.outsider, sender=world.payee)
    assert returned(claimed) == world.balance(world.outsider) == 50 * USDC
    with ape.reverts("payouts: nothing to claim"):
        world.payouts.claim(world.outsider, sender=world.payee)


def test_pay__above_available__reverts(world: World) -> None:
    with ape.reverts("payouts: insufficient funds"):
        pay(world, 100 * USDC, 1)
    pay(world, 100 * USDC)


def test_pay__credits_of_others__are_not_available(world: World) -> None:
    world.usdc.blacklist(world.payee, True, sender=world.admin)
    pay(world, 60 * USDC)
    with ape.reverts("payouts: insufficient funds"):
        pay(world, 0, 40 * USDC + 1, number=2)
    with ape.reverts("payouts: above available"):
        world.payouts.withdraw(world.admin, 40 * USDC + 1, sender=world.admin)


def test_pay__lengths_differ__reverts(world: World) -> None:
    with ape.reverts("payouts: lengths differ"):
        world.payouts.pay(batch_bytes(1), [world.payee], [], sender=world.payer)


def test_pay__who_could_never_take_it_out__reverts(world: World) -> None:
    for payee in (ZERO, world.payouts, world.position, world.adapter):
        with ape.reverts("payouts: payee not allowed"):
            world.payouts.pay(batch_bytes(1), [payee], [1], sender=world.payer)


def test_pay__not_payer__reverts(world: World) -> None:
    for sender in (world.admin, world.outsider):
        with ape.reverts("payouts: not payer"):
            world.payouts.pay(batch_bytes(1), [], [], sender=sender)


def test_claim__nothing__reverts(world: World) -> None:
    with ape.reverts("payouts: nothing to claim"):
        world.payouts.claim(world.payee, sender=world.payee)


def test_withdraw__margin__paid(world: World) -> None:
    pay(world, 30 * USDC)
    receipt = world.payouts.withdraw(world.outsider, 70 * USDC, sender=world.admin)
    (event,) = receipt.decode_logs(world.payouts.Withdrawn)
    assert event.event_arguments == {"to": world.outsider.address, "amount": 70 * USDC}
    assert world.balance(world.outsider) == 70 * USDC


def test_withdraw__not_admin__reverts(world: World) -> None:
    for sender in (world.payer, world.outsider):
        with ape.reverts("owner: not owner"):
            world.payouts.withdraw(sender, 1, sender=sender)


def test_withdraw__to_who_could_never_take_it_out__reverts(world: World) -> None:
    for to in (ZERO, world.payouts, world.position, world.adapter, world.usdc):
        with ape.reverts("payouts: payee not allowed"):
            world.payouts.withdraw(to, USDC, sender=world.admin)


def test_claim__to_who_could_never_take_it_out__reverts_and_stays(world: World) -> None:
    world.usdc.blacklist(world.payee, True, sender=world.admin)
    world.payouts.pay(batch_bytes(1), [world.payee], [USDC], sender=world.payer)
    for to in (ZERO, world.payouts, world.position, world.adapter, world.usdc):
        with ape.reverts("payouts: payee not allowed"):
            world.payouts.claim(to, sender=world.payee)
    assert world.payouts.credited(world.payee) == USDC


def test_pay__usdc_itself_as_payee__reverts(world: World) -> None:
    # Circle's USDC blacklists itself, so that is whom the amount would be credited to.
    world.fund(world.payouts, USDC)
    world.usdc.blacklist(world.usdc, True, sender=world.admin)
    with ape.reverts("payouts: payee not allowed"):
        world.payouts.pay(batch_bytes(1), [world.usdc], [USDC], sender=world.payer)
    assert world.payouts.available() == 101 * USDC
