"""``LendingYieldAdapter.harvest`` and ``pendingYield``

::

    harvest
    ├── unknown position ..................... reverts
    ├── less than a cent, or no yield ........ returns 0, changes nothing
    ├── the vault does not answer ............ reverts
    ├── pays over 50 bps less than previewed . reverts
    ├── burns more than asked ................ reverts
    ├── the vault refuses .................... reverts with the vault's reason
    ├── leaves the principal uncovered ....... reverts (A3)
    └── otherwise ............................ credits what arrived
"""

import ape
import pytest

from tests.contract.world import CENT, DAY, USDC, World, returned


def test_harvest__yield__credited_to_the_position(world: World) -> None:
    token_id = world.create_with_deposit(1_000 * USDC)
    world.vault.push(10 * USDC, sender=world.outsider)
    pending = world.adapter.pendingYield(token_id)
    receipt = world.adapter.harvest(token_id, sender=world.outsider)
    booked = world.booked(token_id)
    (event,) = receipt.decode_logs(world.adapter.Harvested)
    assert event.event_arguments == {
        "tokenId": token_id,
        "caller": world.outsider.address,
        "credited": pending,
        "sharesBurned": 1_000 * USDC - booked.shares,
        "sharesAfter": booked.shares,
    }
    assert returned(receipt) == pending
    assert 10 * USDC - 4 <= pending <= 10 * USDC
    assert world.account(token_id).credited == world.balance(world.position) == pending
    assert world.balance(world.adapter) == 0
    assert booked.principal == 1_000 * USDC
    assert booked.last_harvest_at == world.now
    assert world.vault.previewWithdraw(booked.principal) <= booked.shares
    assert world.adapter.pendingYield(token_id) == 0


def test_harvest__by_the_clock__apy_is_earned(world: World) -> None:
    token_id = world.create_with_deposit(1_000 * USDC)
    world.vault.setApyBps(500, sender=world.outsider)
    world.wait(365 * DAY)
    credited = returned(world.adapter.harvest(token_id, sender=world.outsider))
    assert credited == pytest.approx(50 * USDC, rel=1e-4)


@pytest.mark.parametrize(
    ("earned", "is_harvested"), [(0, False), (CENT - 5, False), (2 * CENT, True)]
)
def test_harvest__around_a_cent__nothing_below(
    world: World, earned: int, is_harvested: bool
) -> None:
    token_id = world.create_with_deposit(1_000 * USDC)
    world.vault.push(earned, sender=world.outsider)
    before = world.booked(token_id)
    receipt = world.adapter.harvest(token_id, sender=world.outsider)
    assert (returned(receipt) > 0) is is_harvested
    assert (world.booked(token_id) != before) is is_harvested
    assert len(receipt.decode_logs(world.adapter.Harvested)) == int(is_harvested)


def test_harvest__no_deposit__nothing(world: World) -> None:
    token_id = world.create()
    assert returned(world.adapter.harvest(token_id, sender=world.outsider)) == 0


def test_harvest__loss__nothing(world: World) -> None:
    token_id = world.create_with_deposit(1_000 * USDC)
    world.vault.realiseLoss(USDC, sender=world.outsider)
    assert returned(world.adapter.harvest(token_id, sender=world.outsider)) == 0
    assert world.adapter.pendingYield(token_id) == 0


def test_harvest__pooled__only_the_own_yield(world: World) -> None:
    first = world.create_with_deposit(1_000 * USDC)
    second = world.create_with_deposit(3_000 * USDC, owner=world.second_owner)
    world.vault.push(40 * USDC, sender=world.outsider)
    assert returned(world.adapter.harvest(first, sender=world.outsider)) >= 10 * USDC - 4
    assert returned(world.adapter.harvest(first, sender=world.outsider)) == 0
    assert 30 * USDC - 4 <= world.adapter.pendingYield(second) <= 30 * USDC
    booked = world.booked(first).shares + world.booked(second).shares
    assert booked <= world.vault.balanceOf(world.adapter)


def test_harvest__exit_fee__comes_out_of_the_yield(world: World) -> None:
    token_id = world.create_with_deposit(1_000 * USDC)
    world.vault.setFees(0, 10, sender=world.outsider)
    world.vault.push(10 * USDC, sender=world.outsider)
    credited = returned(world.adapter.harvest(token_id, sender=world.outsider))
    assert 8 * USDC < credited < 9 * USDC
    booked = world.booked(token_id)
    assert world.vault.previewWithdraw(booked.principal) <= booked.shares


@pytest.mark.parametrize(
    ("misbehaviour", "reason"),
    [
        ("UNDERPAYS", "adapter: redeemed below preview"),
        ("BURNS_DOUBLE", "adapter: burned above request"),
        ("REVERTS_VIEWS", "adapter: vault does not answer"),
        ("REVERTS_EXITS", "vault: refuses"),
    ],
)
def test_harvest__vault_misbehaves__reverts_whole(
    world: World, misbehaviour: str, reason: str
) -> None:
    token_id = world.create_with_deposit(1_000 * USDC)
    world.vault.push(10 * USDC, sender=world.outsider)
    before = world.booked(token_id)
    world.vault.setMisbehaviour(world.misbehaviour(misbehaviour), sender=world.admin)
    with ape.reverts(reason):
        world.adapter.harvest(token_id, sender=world.outsider)
    assert world.booked(token_id) == before


def test_harvest__price_falls_in_the_redemption__reverts(world: World) -> None:
    token_id = world.create_with_deposit(1_000 * USDC)
    world.vault.push(10 * USDC, sender=world.outsider)
    world.vault.setMisbehaviour(world.misbehaviour("LOSES_ON_EXIT"), sender=world.admin)
    with ape.reverts("adapter: principal not covered"):
        world.adapter.harvest(token_id, sender=world.outsider)


def test_harvest__usdc_paused__reverts_and_resumes(world: World) -> None:
    token_id = world.create_with_deposit(1_000 * USDC)
    world.vault.push(10 * USDC, sender=world.outsider)
    world.usdc.pause(sender=world.admin)
    with ape.reverts("usdc: paused"):
        world.adapter.harvest(token_id, sender=world.outsider)
    world.usdc.unpause(sender=world.admin)
    assert returned(world.adapter.harvest(token_id, sender=world.outsider)) > 0


def test_harvest__unknown_position__reverts(world: World) -> None:
    with ape.reverts("adapter: unknown position"):
        world.adapter.harvest(0, sender=world.outsider)
