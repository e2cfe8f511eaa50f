"""What anyone may pay for another: ``creditFor``, ``depositFor`` and ``openFor``.

::

    creditFor
    ├── a cent or more .................... credited as a harvest is, by an event of its own
    ├── less than a cent, no position ..... reverts
    └── USDC says false, brings nothing,
        pauses, blacklists ................ reverts whole
    depositFor, openFor
    ├── an honest vault ................... principal and position are the owner's
    ├── shares worth < 99.5 % ............. reverts, unless the owner pays
    ├── below the floor, nothing .......... reverts
    └── the vault takes a part ............ the rest goes back to the giver
"""

from typing import Any

import ape
import pytest

from tests.contract.test_refusals import answer_false_to, set_code
from tests.contract.world import CENT, DAY, NO_SMOOTHING, NOON, USDC, World, returned

ZERO = "0x" + "00" * 20


def give_credit(world: World, token_id: int, amount: int, giver: Any = None) -> ape.api.ReceiptAPI:
    sender = giver or world.outsider
    world.fund(sender, amount)
    world.usdc.approve(world.position, amount, sender=sender)
    return world.position.creditFor(token_id, amount, sender=sender)


def give_deposit(
    world: World, token_id: int, assets: int, *, floor: int = 0, giver: Any = None
) -> ape.api.ReceiptAPI:
    sender = giver or world.outsider
    world.fund(sender, assets)
    world.usdc.approve(world.adapter, assets, sender=sender)
    return world.adapter.depositFor(token_id, assets, floor, sender=sender)


def give_position(
    world: World, owner: Any, assets: int, *, vault: Any = None, floor: int = 0
) -> ape.api.ReceiptAPI:
    world.fund(world.outsider, assets)
    world.usdc.approve(world.adapter, assets, sender=world.outsider)
    given = (owner, 7, 2_500, vault or world.vault, 60, assets, floor)
    return world.adapter.openFor(*given, sender=world.outsider)


def deploy_crowded_vault(world: World) -> ape.contracts.ContractInstance:
    """Deploy a vault in which others have so much that a fee stays with them."""
    vault = world.deploy_vault()
    world.create_with_deposit(10**6 * USDC, vault=vault, owner=world.second_owner)
    return vault


# ------------------------------------------------------------------------------------------- credit


def test_credit_for__a_gift__credited_as_a_harvest_is(world: World) -> None:
    token_id = world.create_with_credit(5 * USDC)
    receipt = give_credit(world, token_id, 3 * USDC)
    (event,) = receipt.decode_logs(world.position.CreditGiven)
    assert event.event_arguments == {
        "tokenId": token_id,
        "giver": world.outsider.address,
        "amount": 3 * USDC,
        "creditedAfter": 8 * USDC,
    }
    assert receipt.decode_logs(world.position.YieldCredited) == []
    assert world.account(token_id).credited == world.position.liabilities() == 8 * USDC
    assert world.balance(world.position) == 8 * USDC
    assert world.balance(world.outsider) == 0
    assert world.position.remainingAllowance(token_id) == 8 * USDC


def test_credit_for__during_the_day__raises_the_cap_by_its_part(world: World) -> None:
    token_id = world.create_with_credit(10 * USDC, bps=1_000)
    world.warp(NOON + DAY)
    give_credit(world, token_id, 10 * USDC)
    assert world.account(token_id).day_cap == 2 * USDC


def test_credit_for__a_live_hold__stays_as_it_is(world: World) -> None:
    token_id = world.create_with_credit(10 * USDC)
    world.hold(token_id, 4 * USDC)
    give_credit(world, token_id, USDC)
    account = world.account(token_id)
    assert (account.held, account.key_epoch) == (4 * USDC, 0)
    assert world.position.withdrawableYield(token_id) == 7 * USDC


def test_credit_for__owner__takes_it_out(world: World) -> None:
    token_id = world.create()
    give_credit(world, token_id, 2 * USDC)
    world.position.withdrawUnspentYield(token_id, sender=world.owner)
    assert world.balance(world.owner) == 2 * USDC
    assert world.position.liabilities() == world.balance(world.position) == 0


def test_credit_for__giver__can_take_nothing_back(world: World) -> None:
    token_id = world.create()
    give_credit(world, token_id, 2 * USDC)
    with ape.reverts("position: not owner"):
        world.position.withdrawUnspentYield(token_id, sender=world.outsider)


def test_credit_for__a_cent_is_the_least(world: World) -> None:
    token_id = world.create()
    with ape.reverts("position: gift below a cent"):
        give_credit(world, token_id, CENT - 1)
    give_credit(world, token_id, CENT)
    assert world.account(token_id).credited == CENT


def test_credit_for__no_such_position__reverts(world: World) -> None:
    with ape.reverts("position: unknown token"):
        give_credit(world, 0, USDC)
    assert world.balance(world.outsider) == USDC


def test_credit_for__not_approved__reverts(world: World) -> None:
    token_id = world.create()
    world.fund(world.outsider, USDC)
    with ape.reverts("erc20: insufficient allowance"):
        world.position.creditFor(token_id, USDC, sender=world.outsider)


def test_credit_for__beyond_63_bits__reverts(world: World) -> None:
    token_id = world.create_with_credit(2**63 - CENT)
    with ape.reverts("position: amount too large"):
        give_credit(world, token_id, CENT)
    world.fund(world.position, CENT - 1)
    world.position.creditYield(token_id, CENT - 1, sender=world.as_adapter)


def test_credit_for__usdc_answers_false__reverts(world: World) -> None:
    token_id = world.create()
    set_code(world.usdc, answer_false_to("transferFrom(address,address,uint256)"))
    with ape.reverts("position: usdc refused"):
        world.position.creditFor(token_id, CENT, sender=world.outsider)
    assert world.account(token_id).credited == 0


def test_credit_for__usdc_brings_nothing__others_usdc_is_not_credited(world: World) -> None:
    """USDC says true and moves nothing, while USDC that belongs to nobody lies here."""
    token_id = world.create()
    world.fund(world.position, 5 * USDC)
    code = bytes.fromhex("5f3560e01c6370a08231146016576001")  # balanceOf has its answer below
    code += bytes.fromhex("5f5260205ff3" + "5b" + "624c4b40" + "5f5260205ff3")
    set_code(world.usdc, code)
    assert world.balance(world.position) == 5 * USDC
    with ape.reverts("position: gift not received"):
        world.position.creditFor(token_id, USDC, sender=world.outsider)
    assert world.position.liabilities() == 0


@pytest.mark.parametrize("trouble", ["paused", "giver blacklisted", "position blacklisted"])
def test_credit_for__usdc_in_trouble__reverts_whole_and_works_later(
    world: World, trouble: str
) -> None:
    token_id = world.create_with_credit(USDC)
    world.fund(world.outsider, USDC)
    world.usdc.approve(world.position, USDC, sender=world.outsider)
    refused = world.outsider if trouble == "giver blacklisted" else world.position
    if trouble == "paused":
        world.usdc.pause(sender=world.admin)
    else:
        world.usdc.blacklist(refused, True, sender=world.admin)
    with ape.reverts("usdc: paused" if trouble == "paused" else "usdc: blacklisted"):
        world.position.creditFor(token_id, USDC, sender=world.outsider)
    assert world.account(token_id).credited == world.balance(world.outsider) == USDC
    if trouble == "paused":
        world.usdc.unpause(sender=world.admin)
    else:
        world.usdc.blacklist(refused, False, sender=world.admin)
    world.position.creditFor(token_id, USDC, sender=world.outsider)
    assert world.account(token_id).credited == 2 * USDC


# --------------------------------------------------------------------------------------- a deposit


def test_deposit_for__a_gift__principal_is_the_owners(world: World) -> None:
    token_id = world.create_with_deposit(100 * USDC)
    receipt = give_deposit(world, token_id, 50 * USDC, floor=50 * USDC)
    (deposited,) = receipt.decode_logs(world.adapter.Deposited)
    assert deposited.event_arguments == {
        "tokenId": token_id,
        "owner": world.owner.address,
        "assets": 50 * USDC,
        "shares": 50 * USDC,
        "principalAfter": 150 * USDC,
        "sharesAfter": 150 * USDC,
    }
    (given,) = receipt.decode_logs(world.adapter.DepositGiven)
    assert given.event_arguments == {
        "tokenId": token_id,
        "giver": world.outsider.address,
        "assets": 50 * USDC,
    }
    assert returned(receipt) == 50 * USDC
    assert world.usdc.allowance(world.adapter, world.vault) == 0
    with ape.reverts("adapter: not owner"):
        world.adapter.withdrawPrincipal(token_id, sender=world.outsider)
    paid = returned(world.adapter.withdrawPrincipal(token_id, sender=world.owner))
    assert paid == world.balance(world.owner) == 150 * USDC


@pytest.mark.parametrize("fees", [(50, 0), (0, 50)], ids=["entry", "exit"])
def test_deposit_for__worth_99_5_percent__accepted_and_nothing_less(
    world: World, fees: tuple[int, int]
) -> None:
    vault = deploy_crowded_vault(world)
    token_id = world.create(vault=vault)
    vault.setFees(*fees, sender=world.admin)
    give_deposit(world, token_id, 100 * USDC)
    assert world.booked(token_id).principal == 100 * USDC
    vault.setFees(*(fee + 1 if fee else 0 for fee in fees), sender=world.admin)
    with ape.reverts("adapter: shares worth too little"):
        give_deposit(world, token_id, 100 * USDC)
    world.deposit(token_id, 100 * USDC)  # the owner may


def test_deposit_for__inflated_price__refused_without_a_floor(world: World) -> None:
    token_id = world.create()
    world.fund(world.second_owner, 1)
    world.usdc.approve(world.vault, 1, sender=world.second_owner)
    world.vault.deposit(1, world.second_owner, sender=world.second_owner)
    world.fund(world.vault, 10 * USDC)
    with ape.reverts("adapter: shares worth too little"):
        give_deposit(world, token_id, 14 * USDC)
    assert world.balance(world.outsider) == 14 * USDC


def test_deposit_for__below_floor__reverts(world: World) -> None:
    token_id = world.create()
    with ape.reverts("adapter: too few shares"):
        give_deposit(world, token_id, USDC, floor=USDC + 1)


def test_deposit_for__nothing_or_nowhere__reverts(world: World) -> None:
    with ape.reverts("position: unknown token"):
        give_deposit(world, 0, USDC)
    token_id = world.create()
    with ape.reverts("adapter: nothing to deposit"):
        give_deposit(world, token_id, 0)


def test_deposit_for__vault_takes_half__rest_goes_back_to_the_giver(world: World) -> None:
    token_id = world.create()
    world.vault.setMisbehaviour(world.misbehaviour("TAKES_HALF"), sender=world.admin)
    receipt = give_deposit(world, token_id, 10 * USDC)
    (given,) = receipt.decode_logs(world.adapter.DepositGiven)
    assert given.event_arguments["assets"] == 5 * USDC
    assert world.booked(token_id)[1:3] == (5 * USDC, 5 * USDC)
    assert world.balance(world.outsider) == 5 * USDC
    assert world.balance(world.owner) == world.balance(world.adapter) == 0
    assert world.usdc.allowance(world.adapter, world.vault) == 0


def test_deposit_for__by_the_owner__as_a_deposit_at_any_worth(world: World) -> None:
    vault = world.deploy_vault()
    vault.setFees(500, 0, sender=world.admin)
    token_id = world.create(vault=vault)
    give_deposit(world, token_id, 100 * USDC, giver=world.owner)
    assert world.booked(token_id)[1:3] == (100 * USDC, 95 * USDC)


def test_deposit_for__earned_yield__keeps_all_but_half_a_percent_of_the_gift(world: World) -> None:
    vault = world.deploy_vault()
    token_id = world.create_with_deposit(100 * USDC, vault=vault)
    vault.push(10 * USDC, sender=world.admin)
    vault.setFees(50, 0, sender=world.admin)
    before = world.adapter.pendingYield(token_id)
    give_deposit(world, token_id, 100 * USDC)
    assert before - world.adapter.pendingYield(token_id) <= USDC // 2
    assert world.adapter.principalValue(token_id) == 200 * USDC


# -------------------------------------------------------------------------------------- a position


def test_open_for__a_gift__position_and_principal_are_the_owners(world: World) -> None:
    receipt = give_position(world, world.owner, 20 * USDC, floor=20 * USDC)
    assert tuple(receipt.return_value) == (0, 20 * USDC)
    (created,) = receipt.decode_logs(world.adapter.VaultCreated)
    assert created.event_arguments["owner"] == world.owner.address
    (opened,) = receipt.decode_logs(world.adapter.PositionGiven)
    assert opened.event_arguments == {
        "tokenId": 0,
        "giver": world.outsider.address,
        "owner": world.owner.address,
    }
    (given,) = receipt.decode_logs(world.adapter.DepositGiven)
    assert given.event_arguments["assets"] == 20 * USDC
    assert world.position.ownerOf(0) == world.owner.address
    assert (world.position.modelTier(0), world.position.dailySmoothingBps(0)) == (7, 2_500)
    assert world.booked(0)[:4] == (world.vault.address, 20 * USDC, 20 * USDC, 60)
    assert returned(world.adapter.withdrawPrincipal(0, sender=world.owner)) == 20 * USDC


def test_open_for__an_owner_that_can_do_nothing__reverts(world: World) -> None:
    for owner in (world.usdc, world.position, world.adapter):
        with ape.reverts("adapter: owner not allowed"):
            give_position(world, owner, USDC)
    with ape.reverts("position: mint to zero address"):
        give_position(world, ZERO, USDC)


def test_open_for__worth_too_little_or_nothing__opens_nothing(world: World) -> None:
    vault = deploy_crowded_vault(world)
    vault.setFees(51, 0, sender=world.admin)
    supply = world.position.totalSupply()
    with ape.reverts("adapter: shares worth too little"):
        give_position(world, world.owner, USDC, vault=vault)
    with ape.reverts("adapter: nothing to deposit"):
        give_position(world, world.owner, 0)
    with ape.reverts("adapter: not a usdc vault"):
        give_position(world, world.owner, USDC, vault=world.admin)
    assert world.position.totalSupply() == supply


def test_open_for__oneself__as_open(world: World) -> None:
    give_position(world, world.outsider, USDC)
    assert world.position.ownerOf(0) == world.outsider.address
    world.adapter.createVault(1, NO_SMOOTHING, world.vault, 60, sender=world.outsider)
    assert world.position.balanceOf(world.outsider) == 2
